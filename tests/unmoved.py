"""Settings for tests that run a real daemon: the machine is busy with the tests themselves."""

UNMOVED = """
foreign_cpu_busy = 1.0
foreign_cpu_clear = 0.99
steal_busy = 1.0
cpu_pressure_busy = 1.0
io_pressure_busy = 1.0
memory_pressure_busy = 1.0
memory_available_busy = 0.0001
"""
"""For the table ``[idle]``: nothing that is measured of the machine decides."""

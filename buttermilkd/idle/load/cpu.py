"""How busy the CPUs are with what is not ours: the machine's counters less our jobs', differenced by us."""

from collections.abc import Callable

import psutil

from buttermilkd.clock import Clock
from buttermilkd.idle.policy.observations import CpuSample

LATE_TICKS = 3
"""A sample that comes after so many ticks says nothing about now."""
SHORTEST = 0.5
"""Seconds: the kernel counts in hundredths of a second, so what is closer together is mostly noise."""
TOLERANCE = 0.05
"""Our jobs' time is an estimate and may exceed the machine's by this share before something is wrong."""


def machine_seconds() -> float:
    """CPU seconds that all processes and interrupts of the machine have used since it started.

    Waiting for disks is no use of a CPU, and steal is other machines'.
    """
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


class LoadSampler:
    """Takes samples of the CPUs' use by others, one a tick."""

    def __init__(
        self,
        clock: Clock,
        own_cpu: Callable[[], float | None],
        *,
        used: Callable[[], float] = machine_seconds,
        cpus: int | None = None,
    ) -> None:
        """``own_cpu`` and ``used`` give CPU seconds that only ever grow; None: none of ours ever ran."""
        self._clock = clock
        self._own_cpu = own_cpu
        self._used = used
        self._cpus = cpus or psutil.cpu_count() or 1
        self._before: tuple[float, float, float] | None = None
        self._latest = CpuSample(clock.monotonic(), None, problem="not measured yet")

    def sample(self, tick: float) -> CpuSample:
        """What happened since the last call, which was meant to be ``tick`` seconds ago.

        Called again too soon, it gives the sample before.
        """
        at = self._clock.monotonic()
        if self._before is not None and at - self._before[0] < SHORTEST:
            return self._latest
        now = (at, self._used(), self._own_cpu() or 0.0)
        if self._before is None:
            self._latest = CpuSample(at, None, problem="not measured yet")
        else:
            at_before, used_before, own_before = self._before
            self._latest = self._difference(
                at, at - at_before, now[1] - used_before, now[2] - own_before, tick
            )
        self._before = now
        return self._latest

    def _difference(self, at: float, elapsed: float, used: float, own: float, tick: float) -> CpuSample:
        if elapsed > LATE_TICKS * tick:
            return CpuSample(at, None, problem=f"measured after {elapsed:.0f} s instead of {tick:.0f} s")
        capacity = elapsed * self._cpus
        if used < 0 or own < 0 or used - own < -TOLERANCE * capacity:
            return CpuSample(at, None, problem="a counter went backwards")
        return CpuSample(at, _share(used - own, capacity), _share(own, capacity))


def _share(used: float, capacity: float) -> float:
    return min(1.0, max(0.0, used / capacity))

"""The job that every queue runs: it says that it was called, and nothing else.

A tick is 16 bytes, number and CLOCK_MONOTONIC in nanoseconds, appended with one write, which is whole under
O_APPEND, can be compared across processes, and takes about a microsecond.
"""

import os
import struct

TICK = struct.Struct("<qq")
_files: "dict[str, int]" = {}


def tick(number: int) -> None:
    """Append one to the file that BENCH_TICKS names."""
    import time  # noqa: PLC0415 - the name below is banned elsewhere, for good reasons

    path = os.environ["BENCH_TICKS"]
    file = _files.get(path)
    if file is None:
        file = _files[path] = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, TICK.pack(number, time.monotonic_ns()))


async def tick_soon(number: int) -> None:
    """The same for queues that call coroutines."""
    tick(number)

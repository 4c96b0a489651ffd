"""``python -m … ADAPTER enqueue COUNT`` or ``… ADAPTER latency COUNT SECONDS``: one JSON line on standard output.

An adapter has ``enqueue(number)``, a function or a coroutine function, and may have ``connect()``.
"""

import asyncio
import importlib
import inspect
import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.adapters.ticks import TICK

GAP = (0.02, 0.06)
"""Seconds between two jobs, so that no queue is asked in step with how it polls."""
FIRST = 1_000_000
PATIENCE = 15.0


class Producer:
    """Calls an adapter, in a loop that stays the same."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        if hasattr(module, "connect"):
            self._call(module.connect)

    def _call(self, function: Any, *arguments: Any) -> None:
        answer = function(*arguments)
        if inspect.isawaitable(answer):
            self._loop.run_until_complete(answer)

    def enqueue(self, count: int) -> "list[float]":
        """Seconds for so many."""
        began = time.perf_counter()
        for number in range(count):
            self._call(self._module.enqueue, number)
        return [time.perf_counter() - began]

    def latencies(self, count: int, seconds: float) -> "list[float]":
        """Seconds from before the call that enqueues to the job's tick; fewer where they take too long."""
        found: list[float] = []
        rng = random.Random(7)
        end = time.perf_counter() + seconds
        with Path(os.environ["BENCH_TICKS"]).open("rb") as ticks:
            ticks.seek(0, os.SEEK_END)
            while len(found) < count and time.perf_counter() < end:
                time.sleep(rng.uniform(*GAP))
                began = time.monotonic_ns()  # the clock of ticks
                self._call(self._module.enqueue, FIRST + len(found))
                found.append((ticked(ticks) - began) / 1e9)
        return found


def ticked(ticks: Any) -> int:
    """When the next job ticked, once it has.

    Raises:
        TimeoutError: it has not for long.
    """
    end = time.perf_counter() + PATIENCE
    while len(entry := ticks.read(TICK.size)) < TICK.size:
        ticks.seek(-len(entry), os.SEEK_CUR)
        if time.perf_counter() > end:
            raise TimeoutError("a job was not run")
        time.sleep(0.0002)
    return int(TICK.unpack(entry)[1])


if __name__ == "__main__":
    producer = Producer(importlib.import_module(f"tests.benchmarks.peers.adapters.{sys.argv[1]}"))
    if sys.argv[2] == "enqueue":
        answer = producer.enqueue(int(sys.argv[3]))
    else:
        answer = producer.latencies(int(sys.argv[3]), float(sys.argv[4]))
    sys.stdout.write(json.dumps(answer) + "\n")

"""Deadlines of many jobs on one clock, in one task."""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count

from buttermilkd.clock import Clock

_COMPACT_ABOVE = 256


class Timer:
    """A call that is due at some time, unless it is cancelled before."""

    __slots__ = ("_call", "_timers", "cancelled", "due")

    def __init__(self, timers: "Timers", due: float, call: Callable[[], None]) -> None:
        self._timers = timers
        self._call: Callable[[], None] | None = call
        self.due = due
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call; harmless after it was called."""
        if self._call is not None and not self.cancelled:
            self.cancelled = True
            self._timers.forget()

    def fire(self) -> None:
        call, self._call = self._call, None
        if call is not None and not self.cancelled:
            call()


class Timers:
    """Calls things when they are due, while ``run`` runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._cancelled = 0
        self._earlier = asyncio.Event()

    def after(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Call ``call`` in ``seconds`` of monotonic time."""
        timer = Timer(self, self._clock.monotonic() + seconds, call)
        heapq.heappush(self._heap, (timer.due, next(self._order), timer))
        if self._heap[0][2] is timer:
            self._earlier.set()
        return timer

    def left(self, timer: Timer) -> float:
        """Seconds until it is due."""
        return max(0.0, timer.due - self._clock.monotonic())

    def forget(self) -> None:
        """A timer was cancelled: once most of them are, drop those."""
        self._cancelled += 1
        if self._cancelled > _COMPACT_ABOVE and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if not entry[2].cancelled]
            heapq.heapify(self._heap)
            self._cancelled = 0

    async def run(self) -> None:
        """Fire what falls due, until cancelled. What a call raises ends it."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._earlier.clear()
                self._fire_due()
                waits: list[asyncio.Task[None]] = [group.create_task(self._wait_for_earlier())]
                if self._heap:
                    delay = self._heap[0][0] - self._clock.monotonic()
                    waits.append(group.create_task(self._clock.sleep(delay)))
                _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in pending:
                    wait.cancel()

    async def _wait_for_earlier(self) -> None:
        await self._earlier.wait()

    def _fire_due(self) -> None:
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            timer = heapq.heappop(self._heap)[2]
            self._cancelled -= timer.cancelled
            timer.fire()

"""Waiting for news: a bell that several parts ring and hear, and for the first of several things."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


class Bell:
    """Wakes everyone who waits at the moment it rings; unlike an ``asyncio.Event`` it does not stay rung.

    Take ``ring_count`` before looking at what may change, and wait with it afterwards: a ring in between
    is then not missed.
    """

    def __init__(self) -> None:
        self._waiters: set[asyncio.Future[None]] = set()
        self.ring_count = 0

    def ring(self) -> None:
        self.ring_count += 1
        waiters, self._waiters = self._waiters, set()
        for waiter in waiters:
            _wake(waiter)

    async def heard(self, since: int | None = None) -> None:
        """Return at the next ring; at once if it has rung since ``since``."""
        if since is None or since == self.ring_count:
            waiter = self._waiter()
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def heard_or(self, since: int, other: Coroutine[Any, Any, None]) -> None:
        """Return at the first ring after ``since``, or once ``other`` has returned, which is cancelled else.

        It is ``first_of`` in a quarter of its turns of the loop, for waits that each job passes through. Raises an ExceptionGroup of
        what ``other`` raises.
        """
        if since != self.ring_count:
            other.close()
            return
        waiter = self._waiter()
        try:
            async with asyncio.TaskGroup() as tasks:
                task = tasks.create_task(other)
                task.add_done_callback(lambda _: _wake(waiter))
                await waiter
                task.cancel()
        finally:
            self._waiters.discard(waiter)

    def _waiter(self) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        return waiter


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def first_of(waits: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Return once one of these coroutines has returned; the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(wait) for wait in waits]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()

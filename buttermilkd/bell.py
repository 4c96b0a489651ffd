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
        self._event = asyncio.Event()
        self.ring_count = 0

    def ring(self) -> None:
        self.ring_count += 1
        self._event.set()
        self._event = asyncio.Event()

    async def heard(self, since: int | None = None) -> None:
        """Return at the next ring; at once if it has rung since ``since``."""
        if since is None or since == self.ring_count:
            await self._event.wait()


async def first_of(waits: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Return once one of these coroutines has returned; the others are cancelled."""
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(wait) for wait in waits]
        await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in running:
            task.cancel()

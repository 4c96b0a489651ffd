"""What systemd is told while the daemon starts, works and stops."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from buttermilkd.bell import Bell
from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError
from buttermilkd.host.notifier import Notifier
from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.readings import Level

T = TypeVar("T")

NEWS_EVERY = 1.0
"""Seconds between two sentences of which the second says something new."""
AGES_EVERY = 10.0
"""... and of which it says the same with other numbers."""
LOOK_EVERY = 2.0
"""Seconds between two looks at whether something long gets on."""
EXTENSION = 15.0
"""Seconds that it gets each time that it has."""


class StatusLine:
    """Shows the verdict's sentence in ``systemctl status``: when it changes, and not too often."""

    def __init__(self, notifier: Notifier, clock: Clock) -> None:
        self._notifier = notifier
        self._clock = clock
        self._level: Level | None = None
        self._sentence = ""
        self._shown = ""
        self._shown_at: float | None = None
        self._shown_level: Level | None = None
        self._news = Bell()
        self._stopping = False

    def stop(self) -> None:
        """Show no more: the daemon stops, and says so."""
        self._stopping = True
        self._sentence = self._shown

    def note(self, look: Look) -> None:
        """Take in what a look says; it is shown as soon as it may be."""
        if not self._stopping and look.verdict.sentence != self._sentence:
            self._level, self._sentence = look.verdict.level, look.verdict.sentence
            self._news.ring()

    async def run(self) -> None:
        """Show it until cancelled."""
        while True:
            seen = self._news.ring_count
            if self._sentence != self._shown:
                left = self._left()
                if left <= 0:
                    self._show()
                else:
                    # Something new may be shown sooner than this.
                    await self._clock.sleep(min(left, NEWS_EVERY))
                    continue
            await self._news.heard(seen)

    def _left(self) -> float:
        """Seconds until it may be shown."""
        if self._shown_at is None:
            return 0.0
        least = AGES_EVERY if self._level is self._shown_level else NEWS_EVERY
        return least - (self._clock.monotonic() - self._shown_at)

    def _show(self) -> None:
        self._shown, self._shown_level = self._sentence, self._level
        self._shown_at = self._clock.monotonic()
        self._notifier.status(self._sentence)


class Progress:
    """Counts signs that something gets on. It may be told by any thread."""

    def __init__(self) -> None:
        self.count = 0

    def note(self) -> None:
        self.count += 1


async def extended(work: Awaitable[T], gets_on: Callable[[], object], notifier: Notifier, clock: Clock) -> T:
    """What ``work`` returns. Until then systemd is asked for more time, for as long as it gets on.

    ``gets_on`` gives something that is another at each look at which it does.

    Raises:
        ButtermilkError: what ``work`` raised.
    """
    failure: ButtermilkError | None = None
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(_ask(gets_on, notifier, clock), name="asking systemd for time")
        try:
            return await work
        except ButtermilkError as error:  # as it is, and not in a group of one
            failure = error
        finally:
            asking.cancel()
    raise failure


async def _ask(gets_on: Callable[[], object], notifier: Notifier, clock: Clock) -> None:
    before = gets_on()
    while True:
        await clock.sleep(LOOK_EVERY)
        now = gets_on()
        if now != before:
            before = now
            notifier.extend(EXTENSION)

"""Tells systemd that the daemon lives, for as long as what it consists of does."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from buttermilkd.clock import Clock
from buttermilkd.host.notifier import Notifier
from buttermilkd.idle.gate import SLOW_TICK

logger = logging.getLogger(__name__)

TICKS = 3
"""So many ticks of the gate may be missing."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What was seen of the daemon since the last look; times in seconds."""

    lateness: float
    """How much later than asked for the event loop has come back."""
    writer_answered: bool
    """The ledger's writer had its turn."""
    policy_age: float
    """Since the gate looked at the machine by itself."""


def ailment(signs: Signs, period: float) -> str | None:
    """Why the daemon is not well; None: it is. ``period``: seconds after which systemd takes it for hung."""
    if signs.lateness >= period / 4:
        return f"the event loop came back {signs.lateness:.1f} s late"
    if not signs.writer_answered:
        return "the ledger's writer does not answer"
    if signs.policy_age > max(period / 2, TICKS * SLOW_TICK):
        return f"the gate has not looked at the machine for {signs.policy_age:.0f} s"
    return None


class Watchdog:
    """Looks after half of the time that systemd grants and, while something is wrong, more often.

    Neither Pub/Sub, nor jobs, nor web servers count: a new daemon would find them as they are.
    """

    def __init__(
        self,
        notifier: Notifier,
        period: float,
        clock: Clock,
        *,
        writer: Callable[[], Awaitable[None]],
        ticked_at: Callable[[], float],
    ) -> None:
        """``writer`` returns once the ledger's writer had its turn; ``ticked_at``: the gate's last tick."""
        self._notifier = notifier
        self._period = period
        self._clock = clock
        self._writer = writer
        self._ticked_at = ticked_at
        self._told: str | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        self._notifier.alive()
        pause = self._period / 2
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(self._ask(), name="asking the writer")
            while True:
                began = self._clock.monotonic()
                await self._clock.sleep(pause)
                now = self._clock.monotonic()
                signs = Signs(now - began - pause, asked.done(), now - self._ticked_at())
                pause = self._period / (2 if self._is_well(signs) else 16)
                if asked.done():
                    asked = tasks.create_task(self._ask(), name="asking the writer")

    async def _ask(self) -> None:
        await self._writer()

    def _is_well(self, signs: Signs) -> bool:
        wrong = ailment(signs, self._period)
        if wrong is None:
            self._notifier.alive()
        elif wrong != self._told:
            logger.warning("systemd is not told that all is well: %s", wrong)
        self._told = wrong
        return wrong is None

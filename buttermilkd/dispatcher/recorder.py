"""What becomes of jobs whose attempts have ended, recorded until it is durable."""

import logging
import random
from collections.abc import Callable, Iterable

from buttermilkd.chronicle import Chronicle
from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError
from buttermilkd.jobs import TRANSITIONS, Event, Job, Outcome, Settlement, Status, Taken
from buttermilkd.journal import Kind, about
from buttermilkd.plurals import count
from buttermilkd.queues.base import Queue
from buttermilkd.retries import RetryLimits, decide

logger = logging.getLogger(__name__)

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
"""Seconds between two tries of what the ledger refuses: at first, and after many."""
TROUBLE = about(kind=Kind.STORAGE_TROUBLE)


class Recorder:
    """Decides what becomes of each job, and has the queue settle it. ``is_refused`` says which are being cancelled."""

    def __init__(
        self,
        queue: Queue,
        limits: Callable[[str], RetryLimits],
        is_refused: Callable[[Job], bool],
        chronicle: Chronicle,
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._limits = limits
        self._is_refused = is_refused
        self._chronicle = chronicle
        self._clock = clock
        self._jitter = random.Random()  # noqa: S311 - spreads retries, guards no secret
        self.trouble: str | None = None
        """Why ends cannot be recorded at present."""

    def _decide(self, taken: Taken, outcome: Outcome) -> Settlement:
        job = taken.job
        decision = decide(outcome, job, self._limits(job.flow), self._jitter.random())
        if TRANSITIONS[decision.event][1] is Status.PENDING and self._is_refused(job):
            return Settlement(taken, Event.CANCEL, outcome)
        return Settlement(taken, decision.event, outcome, decision.delay)

    async def record(self, ended: Iterable[tuple[Taken, Outcome]]) -> bool:
        """Settle, again and again until it is durable: what has run must not be forgotten. Whether it was at once."""
        settlements = [self._decide(taken, outcome) for taken, outcome in ended]
        pause = FIRST_PAUSE
        while True:
            try:
                await self._queue.settle(settlements)
            except ButtermilkError as error:
                self.trouble = f"{count(len(settlements), 'ended job')} cannot be recorded: {error}"
                logger.error("%s; trying again in %.0f s", self.trouble, pause, extra=TROUBLE)  # noqa: TRY400
                await self._clock.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
            else:
                at_once, self.trouble = self.trouble is None, None
                self._chronicle.settled(settlements)
                return at_once

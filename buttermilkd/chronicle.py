"""What the log says of single jobs: each beginning and end, with the fields by which it is found."""

import logging
from collections.abc import Iterable

from buttermilkd.budget import Budget
from buttermilkd.clock import Clock
from buttermilkd.jobs import Event, Job, Settlement
from buttermilkd.journal import Kind, about
from buttermilkd.plurals import count

logger = logging.getLogger(__name__)

RATE = 50.0
BURST = 1000.0
"""Failures told a second, and at once: a million jobs that fail must not cost the journal the rest of the story."""

_Told = tuple[int, Kind, str]
_QUIET: dict[Event, _Told] = {
    Event.COMPLETE: (logging.DEBUG, Kind.JOB_COMPLETED, "has completed"),
    Event.GIVE_BACK: (logging.DEBUG, Kind.JOB_GIVEN_BACK, "is given back, and costs no attempt"),
    Event.CANCEL: (logging.INFO, Kind.JOB_CANCELLED, "was cancelled"),
}


class Chronicle:
    """Tells of jobs. Those that go well are told in detail only (``--log-level debug``): there may be thousands a second."""

    def __init__(self, clock: Clock) -> None:
        self._budget = Budget(clock, rate=RATE, burst=BURST)
        self._untold = 0

    def begun(self, job: Job) -> None:
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s begins: attempt %d", job.job_id, job.attempt, extra=about(job, Kind.JOB_STARTED))

    def settled(self, settlements: Iterable[Settlement]) -> None:
        """These are durable."""
        for settlement in settlements:
            job = settlement.taken.job
            if settlement.event in _QUIET:
                level, kind, text = _QUIET[settlement.event]
                if logger.isEnabledFor(level):
                    logger.log(level, "%s %s", job.job_id, text, extra=about(job, kind))
            elif self._budget.allows:
                self._budget.spend()
                self._failed(settlement)
            else:
                self._untold += 1
        if self._untold and self._budget.allows:
            self.finish()

    def _failed(self, settlement: Settlement) -> None:
        job, outcome = settlement.taken.job, settlement.outcome
        reason = outcome.cause or outcome.error or outcome.ending
        if settlement.event is Event.INTERRUPT:
            text = "%s was interrupted: %s; it is pending again, and this costs no attempt"
            logger.info(text, job.job_id, reason, extra=about(job, Kind.JOB_INTERRUPTED))
            return
        if settlement.event is Event.FAIL:
            level, kind = logging.WARNING, Kind.JOB_FAILED
            rest = "it is a dead letter now"
        else:
            level, kind = logging.INFO, Kind.JOB_RETRIED
            pardon = (
                "it had been suspended, so this does not count; " if settlement.event is Event.DISTURB else ""
            )
            rest = f"{pardon}it is tried again in {settlement.delay:.0f} s"
        logger.log(
            level,
            "%s failed, attempt %d: %s; %s",
            job.job_id,
            job.attempt,
            reason,
            rest,
            extra=about(job, kind),
        )

    def finish(self) -> None:
        """Say how many were left out."""
        if self._untold:
            more = count(self._untold, "more job has failed", "more jobs have failed")
            logger.warning(
                "%s: `buttermilkctl jobs BATCH --status failed` lists them",
                more,
                extra=about(kind=Kind.FAILURES_CUT),
            )
            self._untold = 0

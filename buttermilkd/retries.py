"""The retry policy: what becomes of a job after an attempt. Pure functions."""

from dataclasses import dataclass

from buttermilkd.jobs import Ending, Event, Job, Outcome

LONGEST_WAIT = 30 * 86_400.0
"""Seconds that a job may ask to wait."""
MOST_DISTURBANCES = 3
"""Failures soon after a suspension that are not held against a job."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """A flow's limits; times in seconds."""

    max_retries: int
    """Attempts after the first, for attempts that failed."""
    max_deferrals: int
    """Attempts that may end by asking to be tried again later."""
    max_interruptions: int
    """Attempts that may end with the daemon or the launcher."""
    backoff: float
    max_backoff: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens to the job, and for a retry how long it waits, in seconds."""

    event: Event
    delay: float = 0.0


_DECIDED = {
    Ending.COMPLETED: Decision(Event.COMPLETE),
    Ending.REJECTED: Decision(Event.FAIL),
    Ending.CANCELLED: Decision(Event.CANCEL),
    Ending.GIVEN_BACK: Decision(Event.GIVE_BACK),
}
"""Whatever the limits are."""


def backoff(limits: RetryLimits, tries: int, jitter: float) -> float:
    """Seconds before the next attempt after ``tries`` of the same kind.

    It doubles from ``limits.backoff`` to ``limits.max_backoff``; ``jitter``, from 0 to 1, takes away up to
    half of it, so that jobs that failed together do not come back together.
    """
    doubled = limits.backoff * 2.0 ** min(tries - 1, 60)
    return min(limits.max_backoff, doubled) * (1.0 - jitter / 2)


def decide(outcome: Outcome, job: Job, limits: RetryLimits, jitter: float) -> Decision:
    """What becomes of ``job`` after this outcome.

    A failure is retried up to ``max_retries`` times. A deferral (exit status 75, ``Retry``) is no failure:
    it is retried up to ``max_deferrals`` times, after as long as the job asked for. What fails when it has just
    been suspended, as by a lost connection, is tried again without a loss, but not for ever; so is what has been
    interrupted, as it may be what ends the launcher.
    """
    if (decided := _DECIDED.get(outcome.ending)) is not None:
        return decided
    if outcome.ending is Ending.INTERRUPTED:
        return Decision(Event.INTERRUPT if job.interruptions < limits.max_interruptions else Event.FAIL)
    if outcome.ending is Ending.DEFERRED:
        deferrals = job.deferrals + 1
        if deferrals > limits.max_deferrals:
            return Decision(Event.FAIL)
        asked = outcome.retry_after
        if asked is None or not asked >= 0.0:  # NaN compares false
            return Decision(Event.RETRY, backoff(limits, deferrals, jitter))
        return Decision(Event.RETRY, min(asked, LONGEST_WAIT))
    if outcome.disturbed and job.disturbances < MOST_DISTURBANCES:
        return Decision(Event.DISTURB, backoff(limits, job.disturbances + 1, jitter))
    failures = job.attempt - job.deferrals
    if failures > limits.max_retries:
        return Decision(Event.FAIL)
    return Decision(Event.RETRY, backoff(limits, failures, jitter))

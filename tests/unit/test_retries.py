"""The retry policy, a pure function."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.jobs import Ending, Event, Job, Outcome
from buttermilkd.retries import Decision, RetryLimits, backoff, decide

LIMITS = RetryLimits(max_retries=2, max_deferrals=3, max_interruptions=5, backoff=10.0, max_backoff=60.0)


def job(attempt: int = 1, deferrals: int = 0, disturbances: int = 0) -> Job:
    return Job("b.1", "b", "f", "r", {}, attempt, deferrals, disturbances)


@pytest.mark.parametrize(
    ("ending", "event"),
    [
        (Ending.COMPLETED, Event.COMPLETE),
        (Ending.REJECTED, Event.FAIL),
        (Ending.CANCELLED, Event.CANCEL),
        (Ending.GIVEN_BACK, Event.GIVE_BACK),
    ],
)
def test_some_endings_decide_by_themselves(ending: Ending, event: Event) -> None:
    assert decide(Outcome(ending), job(attempt=99), LIMITS, 0.5) == Decision(event)


@pytest.mark.parametrize(
    ("attempt", "deferrals", "event", "delay"),
    [
        (1, 0, Event.RETRY, 10.0),
        (2, 0, Event.RETRY, 20.0),
        (3, 0, Event.FAIL, 0.0),
        (3, 2, Event.RETRY, 10.0),
        (5, 2, Event.FAIL, 0.0),
    ],
)
def test_failures_are_retried_until_max_retries_and_deferrals_do_not_count_among_them(
    attempt: int, deferrals: int, event: Event, delay: float
) -> None:
    assert decide(Outcome(Ending.FAILED), job(attempt, deferrals), LIMITS, 0.0) == Decision(event, delay)


def test_without_retries_the_first_failure_is_the_last() -> None:
    none = RetryLimits(max_retries=0, max_deferrals=0, max_interruptions=5, backoff=1.0, max_backoff=1.0)
    assert decide(Outcome(Ending.FAILED), job(), none, 0.0).event is Event.FAIL


def test_a_deferral_waits_as_long_as_the_job_asked_for() -> None:
    outcome = Outcome(Ending.DEFERRED, retry_after=300.0)
    assert decide(outcome, job(), LIMITS, 0.9) == Decision(Event.RETRY, 300.0)


def test_deferrals_are_retried_until_max_deferrals() -> None:
    outcome = Outcome(Ending.DEFERRED)
    assert decide(outcome, job(3, 2), LIMITS, 0.0) == Decision(Event.RETRY, 40.0)
    assert decide(outcome, job(4, 3), LIMITS, 0.0) == Decision(Event.FAIL)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_wait_doubles_within_bounds_and_jitter_takes_away_at_most_half(tries: int, jitter: float) -> None:
    wait = backoff(LIMITS, tries, jitter)
    whole = backoff(LIMITS, tries, 0.0)
    assert whole / 2 <= wait <= whole <= LIMITS.max_backoff
    assert whole >= backoff(LIMITS, max(1, tries - 1), 0.0)


@pytest.mark.parametrize(
    ("asked", "waits"),
    [(1.764e12, 30 * 86_400.0), (float("inf"), 30 * 86_400.0), (-5.0, 10.0), (float("nan"), 10.0)],
)
def test_what_a_job_may_ask_to_wait_is_bounded(asked: float, waits: float) -> None:
    outcome = Outcome(Ending.DEFERRED, retry_after=asked)
    assert decide(outcome, job(), LIMITS, 0.0) == Decision(Event.RETRY, waits)


@pytest.mark.parametrize(
    ("disturbances", "event", "delay"),
    [(0, Event.DISTURB, 10.0), (2, Event.DISTURB, 40.0), (3, Event.FAIL, 0.0)],
)
def test_what_fails_just_after_a_suspension_costs_no_attempt_up_to_three_times(
    disturbances: int, event: Event, delay: float
) -> None:
    outcome = Outcome(Ending.FAILED, disturbed=True)
    assert decide(outcome, job(attempt=3, disturbances=disturbances), LIMITS, 0.0) == Decision(event, delay)


@pytest.mark.parametrize(
    ("interruptions", "event"), [(0, Event.INTERRUPT), (4, Event.INTERRUPT), (5, Event.FAIL)]
)
def test_an_interruption_costs_no_attempt_until_there_were_too_many(interruptions: int, event: Event) -> None:
    interrupted = replace(job(attempt=3), interruptions=interruptions)
    assert decide(Outcome(Ending.INTERRUPTED), interrupted, LIMITS, 0.0) == Decision(event)


def test_a_rejection_is_final_also_after_a_suspension() -> None:
    assert decide(Outcome(Ending.REJECTED, disturbed=True), job(), LIMITS, 0.0) == Decision(Event.FAIL)

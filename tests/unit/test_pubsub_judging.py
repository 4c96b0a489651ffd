"""What becomes of a message that asks for a job, and which of two things that are told of a job counts."""

from dataclasses import replace

import pytest

from buttermilkd.jobs import Status
from buttermilkd.ledger.judging import FRESH, Fate, Judgement, Known, judge, precedence
from buttermilkd.messages import JobUpdate

NOW = 1_000_000.0
WAITING = Known(
    Status.PENDING, 0, is_here=False, is_executing=False, heard_at=None, cancelled=False, room=None
)


def fate(known: Known, generation: int = 0, not_before: float | None = None) -> Judgement:
    return judge(known, generation, not_before, NOW)


def test_a_job_that_waits_is_taken() -> None:
    assert fate(WAITING) == Judgement(Fate.TAKE)


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_what_has_ended_is_not_run_again(status: Status) -> None:
    assert fate(replace(WAITING, status=status)) == Judgement(Fate.DROP)


def test_a_request_that_has_been_replaced_by_a_later_one_is_dropped() -> None:
    assert fate(replace(WAITING, generation=2), generation=1) == Judgement(Fate.DROP)


def test_what_has_ended_runs_again_where_it_was_requeued_since() -> None:
    assert fate(replace(WAITING, status=Status.FAILED), generation=1) == Judgement(Fate.TAKE)


def test_a_redelivery_of_what_runs_here_takes_over_its_lease() -> None:
    assert fate(replace(WAITING, status=Status.RUNNING, is_here=True)) == Judgement(Fate.ADOPT)


def test_what_runs_elsewhere_waits_as_long_as_that_host_tells_of_it() -> None:
    known = replace(WAITING, status=Status.RUNNING, heard_at=NOW - FRESH + 1)
    assert fate(known).fate is Fate.DEFER
    assert fate(replace(known, heard_at=NOW - FRESH)) == Judgement(Fate.TAKE)


def test_what_is_not_due_yet_goes_back_until_it_is() -> None:
    assert fate(WAITING, not_before=NOW + 30) == Judgement(Fate.DEFER, 30.0)
    assert fate(WAITING, not_before=NOW + 86_400) == Judgement(Fate.DEFER, 86_400.0)
    assert fate(WAITING, not_before=NOW) == Judgement(Fate.TAKE)


def test_a_job_of_a_batch_that_was_cancelled_without_the_knowledge_of_who_asks_for_it_is_cancelled() -> None:
    cancelled = replace(WAITING, cancelled=True)
    assert fate(cancelled) == Judgement(Fate.CANCEL)
    assert fate(cancelled, generation=1) == Judgement(Fate.CANCEL)
    assert fate(replace(cancelled, status=Status.COMPLETED)) == Judgement(Fate.DROP)


def test_a_job_whose_last_execution_is_still_being_ended_here_waits_for_that() -> None:
    assert fate(replace(WAITING, is_executing=True), generation=1).fate is Fate.DEFER


def test_a_job_of_a_batch_that_runs_as_many_as_it_may_waits() -> None:
    assert fate(replace(WAITING, room=0)).fate is Fate.DEFER
    assert fate(replace(WAITING, room=1)) == Judgement(Fate.TAKE)


def test_an_end_counts_over_everything_that_is_said_of_the_same_execution() -> None:
    assert precedence(0, Status.COMPLETED, 1) > precedence(0, Status.RUNNING, 9)
    assert precedence(0, Status.COMPLETED, 1) > precedence(0, Status.FAILED, 9)
    assert precedence(1, Status.PENDING, 1) > precedence(0, Status.COMPLETED, 9)


@pytest.mark.parametrize("status", Status)
def test_what_is_known_and_what_is_told_are_compared_in_the_same_way(status: Status) -> None:
    told = JobUpdate(batch_id="b", record_id="r", status=status, generation=3, sequence=7)
    assert told.precedence == precedence(3, status, 7)

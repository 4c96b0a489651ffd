"""The checker finds what it is there for, and nothing where all is well."""

from dataclasses import replace

import pytest

from tests.chaos.checker import Evidence, Row, check, repeats

WELL = (
    "begun b.1 1 100",
    "ended b.1 1 100 0",
    "recorded b.1 completed 10.0",
    "begun b.2 1 101",
    "inflight b.2",
    "begun b.2 1 102",
    "ended b.2 1 102 0",
    "recorded b.2 completed 20.0",
)
AGAIN = ("begun b.1 1 103", "ended b.1 1 103 0", "recorded b.1 completed 30.0")
TWO = {"b.1": Row("completed", 10.0), "b.2": Row("completed", 20.0)}
GOOD = Evidence(lines=WELL, expected={"b": 2}, ledger=TWO, counters={"b": {"completed": 2, "failed": 0}})


def kinds(evidence: Evidence) -> list[str]:
    return [finding.kind for finding in check(evidence)]


def told(job: str, status: str, ended_at: str, sequence: int = 1, generation: int = 0) -> dict[str, object]:
    return {
        "type": "job_status",
        "job_id": job,
        "status": status,
        "ended_at": ended_at,
        "sequence": sequence,
        "generation": generation,
    }


def test_nothing_is_found_where_a_job_in_flight_at_a_kill_ran_again() -> None:
    assert kinds(GOOD) == []
    assert repeats(WELL) == (1, 1)


@pytest.mark.parametrize(
    "ledger",
    [
        pytest.param({"b.1": TWO["b.1"]}, id="the ledger does not know it"),
        pytest.param(TWO | {"b.2": Row("pending", None)}, id="it waits for ever"),
        pytest.param(TWO | {"b.2": Row("running", None)}, id="it runs by the ledger alone"),
    ],
)
def test_a_lost_job_is_found(ledger: dict[str, Row]) -> None:
    assert kinds(replace(GOOD, ledger=ledger, counters={})) == ["lost"]


def test_a_job_that_is_recorded_as_completed_and_never_ran_is_lost() -> None:
    assert kinds(replace(GOOD, lines=WELL[:3])) == ["lost"]


def test_a_failure_that_never_was_is_found() -> None:
    assert kinds(replace(GOOD, ledger=TWO | {"b.2": Row("failed", 20.0)}, counters={})) == ["lost"]


def test_a_job_that_ended_twice_is_found_by_its_second_end() -> None:
    assert kinds(replace(GOOD, lines=(*WELL, "recorded b.1 completed 11.0"))) == ["ended twice"]


def test_a_job_that_ended_twice_is_found_by_the_batchs_counters() -> None:
    assert kinds(replace(GOOD, counters={"b": {"completed": 3}})) == ["ended twice"]


def test_a_job_that_ended_twice_is_found_by_what_other_hosts_are_told() -> None:
    twice = (told("b.1", "completed", "t1"), told("b.1", "completed", "t2", 2))
    assert kinds(replace(GOOD, told=twice)) == ["ended twice"]
    again = (told("b.1", "completed", "t1"), told("b.1", "completed", "t1", 2))
    assert kinds(replace(GOOD, told=again)) == []


def test_an_execution_after_a_recorded_end_is_found() -> None:
    lines = (*WELL, "inflight b.1", "begun b.1 1 103")
    assert kinds(replace(GOOD, lines=lines)) == ["after its end"]


def test_a_retry_that_was_asked_for_is_no_execution_after_the_end() -> None:
    lines = (*WELL[3:], "begun b.1 1 1", "ended b.1 1 1 65", "recorded b.1 failed 5.0")
    ledger = TWO | {"b.1": Row("completed", 30.0)}
    assert kinds(replace(GOOD, lines=(*lines, "retried b.1", *AGAIN), ledger=ledger)) == []


@pytest.mark.parametrize("asked", ["retried b", "retried b.1"])
def test_a_retry_is_none_of_jobs_that_had_completed(asked: str) -> None:
    ledger = TWO | {"b.1": Row("completed", 30.0)}
    assert kinds(replace(GOOD, lines=(*WELL, asked, *AGAIN), ledger=ledger)) == [
        "after its end",
        "ended twice",
        "repeated",
    ]


def test_a_job_that_completed_after_somebody_asked_for_a_retry_may_not_run_again() -> None:
    lines = (*WELL[:2], "retried b", *WELL[2:], *AGAIN[:2])
    assert kinds(replace(GOOD, lines=lines)) == ["after its end", "repeated"]


def test_a_job_that_failed_just_when_somebody_asked_for_a_retry_may_run_again_once() -> None:
    lines = (*WELL[3:], "begun b.1 1 1", "ended b.1 1 1 65", "retried b", "recorded b.1 failed 5.0", *AGAIN)
    late = replace(GOOD, lines=lines, ledger=TWO | {"b.1": Row("completed", 30.0)})
    assert kinds(late) == []
    unseen = [line for line in lines if line != "recorded b.1 failed 5.0"]
    assert kinds(replace(late, lines=unseen)) == []
    assert kinds(replace(late, lines=(*lines, *AGAIN[:2]))) == ["after its end", "repeated"]


def test_a_job_that_was_to_run_again_and_is_cancelled_first_has_one_end_of_each() -> None:
    lines = (
        *WELL,
        "begun b.3 1 9",
        "ended b.3 1 9 65",
        "recorded b.3 failed 5.0",
        "retried b",
        "cancelled b",
    )
    three = TWO | {"b.3": Row("cancelled", 6.0)}
    evidence = replace(GOOD, lines=(*lines, "recorded b.3 cancelled 6.0"), expected={"b": 3}, ledger=three)
    assert kinds(replace(evidence, counters={})) == []


def test_a_job_that_completes_by_the_ledger_alone_after_a_retry_is_lost() -> None:
    lines = (*WELL, "recorded b.3 cancelled 5.0", "retried b", "recorded b.3 completed 6.0")
    ran = ("begun b.3 1 9", "ended b.3 1 9 0")
    three = replace(GOOD, expected={"b": 3}, ledger=TWO | {"b.3": Row("completed", 6.0)}, counters={})
    assert kinds(replace(three, lines=lines)) == ["lost"]
    assert kinds(replace(three, lines=(*lines[:-1], *ran, lines[-1]))) == []


@pytest.mark.parametrize("between", [(), ("inflight b.1",), ("ended b.1 1 1 0",)])
def test_another_attempt_of_what_has_not_failed_is_a_repeat(between: tuple[str, ...]) -> None:
    lines = (*WELL[3:], "begun b.1 1 1", *between, "begun b.1 2 2", "ended b.1 2 2 0")
    assert kinds(replace(GOOD, lines=lines)) == ["repeated"]


def test_more_repeats_than_were_in_flight_at_kills_are_found() -> None:
    lines = [line for line in WELL if not line.startswith("inflight")]
    assert kinds(replace(GOOD, lines=lines)) == ["repeated"]
    assert kinds(replace(GOOD, lines=["inflight b.1", *lines])) == ["repeated"]


def test_a_second_attempt_after_a_failure_is_no_repeat() -> None:
    lines = ("begun b.1 1 1", "ended b.1 1 1 1", "begun b.1 2 2", "ended b.1 2 2 0")
    one = replace(GOOD, lines=lines, expected={"b": 1}, ledger={"b.1": TWO["b.1"]}, counters={})
    assert kinds(one) == []


def test_an_orphan_is_found() -> None:
    assert kinds(replace(GOOD, survivors=[4321])) == ["orphan"]


def test_a_cancel_that_nobody_asked_for_is_found() -> None:
    cancelled = replace(GOOD, ledger=TWO | {"b.2": Row("cancelled", 20.0)}, counters={})
    assert kinds(cancelled) == ["unasked"]
    assert kinds(replace(cancelled, lines=(*WELL, "cancelled b"))) == []


def test_the_cancel_of_a_batch_is_told_once_for_all_jobs_that_wait() -> None:
    ledger = TWO | {"b.2": Row("cancelled", 20.0)}
    lines = (*WELL[:3], "cancelled b")
    told_one = (told("b.1", "completed", "t1"), told("b.2", "pending", ""))
    cancelled = replace(GOOD, lines=lines, ledger=ledger, counters={}, told=told_one, told_all=True)
    assert kinds(cancelled) == ["disagreement"]
    cancel = {"type": "batch_status", "event": "cancelled", "batch_id": "b"}
    assert kinds(replace(cancelled, told=(*told_one, cancel))) == []


def test_what_the_api_and_the_status_topic_say_otherwise_is_found() -> None:
    assert kinds(replace(GOOD, api={"b.1": "pending"})) == ["disagreement"]
    assert kinds(replace(GOOD, api_counters={"b": {"completed": 1}})) == ["disagreement"]
    said = (told("b.1", "completed", "t1"), told("b.2", "running", ""))
    assert kinds(replace(GOOD, told=said, told_all=True)) == ["disagreement"]

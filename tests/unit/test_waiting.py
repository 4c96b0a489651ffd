"""Why a batch waits, in one sentence."""

from dataclasses import replace
from typing import Any, cast

import pytest

from buttermilkd.messages import BatchView
from buttermilkd.waiting import Situation, waiting_for

READY = Situation(
    idle=True,
    why="other CPU 3 %",
    holds=(),
    flows=["f"],
    running=0,
    suspended={},
    concurrency=2,
    queue="local",
    draining=False,
    trouble=None,
)


def batch(pending: int = 1, running: int = 0) -> BatchView:
    return cast(
        BatchView, {"batch_id": "b", "flow": "f", "queue": "local", "pending": pending, "running": running}
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({}, None),
        (
            {"idle": False, "why": "last request 6 s ago; new jobs start in 4 s"},
            "last request 6 s ago; new jobs start in 4 s",
        ),
        ({"holds": ["f"], "idle": False}, "flow f is paused"),
        ({"holds": ["*", "f"]}, "all flows are paused"),
        ({"holds": ["other"]}, None),
        ({"flows": []}, "flow f is not configured on this host"),
        ({"running": 2}, "2 other jobs are running (daemon.concurrency = 2)"),
        ({"running": 1, "concurrency": 1}, "1 other job is running (daemon.concurrency = 1)"),
        (
            {"queue": "pubsub"},
            'its jobs wait in the other queue: this daemon works with queue = "pubsub" now',
        ),
        ({"draining": True, "idle": False}, "the daemon is stopping"),
        (
            {"trouble": "3 ended jobs cannot be recorded: disk full"},
            "3 ended jobs cannot be recorded: disk full",
        ),
    ],
)
def test_the_first_thing_in_the_way_is_named(change: dict[str, Any], sentence: str | None) -> None:
    assert waiting_for(batch(), replace(READY, **change)) == sentence


def test_a_batch_of_which_some_jobs_run_tells_of_a_fault_that_keeps_the_others_waiting() -> None:
    down = replace(READY, trouble="cannot pull from jobs-sub: no answer in time")
    assert waiting_for(batch(pending=2, running=1), down) == "cannot pull from jobs-sub: no answer in time"
    assert waiting_for(batch(pending=2, running=1), replace(down, queue="pubsub")) is None
    assert waiting_for(batch(pending=0, running=1), down) is None


def test_a_batch_whose_id_is_also_anothers_says_so_and_how_to_mend_it() -> None:
    clashing = cast(BatchView, {**batch(), "rival": "lab-2"})
    assert waiting_for(clashing, replace(READY, idle=False)) == (
        "its id is also that of another batch, created on lab-2: cancel it, and create both again under other ids"
    )


def test_what_runs_or_has_nothing_left_waits_for_nothing() -> None:
    busy = replace(READY, idle=False, why="1 request in flight")
    assert waiting_for(batch(running=1), busy) is None
    assert waiting_for(batch(pending=0), busy) is None


def test_a_batch_whose_running_jobs_are_all_suspended_waits_for_what_suspended_them() -> None:
    busy = replace(READY, idle=False, why="1 request in flight for 0.4 s", suspended={"b": 2})
    assert waiting_for(batch(running=2), busy) == "2 jobs are suspended: 1 request in flight for 0.4 s"
    assert waiting_for(batch(pending=0, running=1), replace(busy, suspended={"b": 1})) == (
        "1 job is suspended: 1 request in flight for 0.4 s"
    )
    assert waiting_for(batch(running=3), busy) is None
    assert waiting_for(batch(running=2), replace(busy, suspended={"other": 2})) is None

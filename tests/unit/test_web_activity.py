"""Requests that are counted by the tasks that do them."""

import pytest

from buttermilkd.web.activity import Bell, TaskActivity


class Task:
    """Of asyncio's, as far as it matters."""

    is_done = False

    def done(self) -> bool:
        return self.is_done


@pytest.fixture
def rung() -> list[str]:
    return []


@pytest.fixture
def bell(rung: list[str]) -> Bell:
    bell = Bell(lambda: rung.append("rung"))
    bell.at_begin = False
    return bell


def test_a_request_is_in_flight_until_its_task_is_gone(bell: Bell) -> None:
    activity = TaskActivity(bell)
    first, second = Task(), Task()
    for task in (first, second):
        activity.begin_by(task)
    del task
    assert (activity.requests, activity.total) == (2, 2)
    before = activity.active_at
    del first
    assert (activity.requests, activity.total) == (1, 2)
    assert activity.active_at > before
    del second
    assert activity.counts()[:3] == (0, 0, 2)


def test_a_task_that_is_done_and_kept_is_found_when_the_counts_are_read(bell: Bell) -> None:
    activity = TaskActivity(bell)
    kept, works = Task(), Task()
    activity.begin_by(kept)
    activity.begin_by(works)
    assert activity.counts().requests == 2
    kept.is_done = True
    counts = activity.counts()
    assert counts.requests == 1
    del kept
    assert activity.counts() == counts


def test_the_bell_is_rung_by_a_beginning_and_by_the_last_end(bell: Bell, rung: list[str]) -> None:
    activity = TaskActivity(bell)
    bell.at_begin, bell.at_end = True, True
    first, second = Task(), Task()
    activity.begin_by(first)
    assert len(rung) == 1
    bell.at_begin = False
    activity.begin_by(second)
    del first
    assert len(rung) == 1
    del second
    assert len(rung) == 2


def test_a_forked_process_has_nothing_in_flight(bell: Bell) -> None:
    activity = TaskActivity(bell)
    of_parent = Task()
    activity.begin_by(of_parent)
    activity.reset()
    before = activity.counts()
    assert before[:3] == (0, 0, 0)
    del of_parent
    assert activity.counts() == before

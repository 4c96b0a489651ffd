"""Ids, statuses, variants and the one table of transitions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.errors import ConflictError, InvalidRequestError
from buttermilkd.jobs import (
    BATCH_ID,
    TRANSITIONS,
    Event,
    Status,
    batch_status,
    check_batch_id,
    expand_variants,
    job_id,
    new_batch_id,
    split_job_id,
    transition,
)


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("status", Status)
def test_a_transition_leads_where_the_table_says_or_is_refused_with_the_reason(
    status: Status, event: Event
) -> None:
    sources, target = TRANSITIONS[event]
    if status in sources:
        assert transition(status, event) is target
    else:
        with pytest.raises(
            ConflictError, match=f"cannot {event} a job that is {status}: it would have to be "
        ):
            transition(status, event)


def test_no_event_leads_out_of_completed() -> None:
    assert not [event for event, (sources, _) in TRANSITIONS.items() if Status.COMPLETED in sources]


def test_only_a_requeue_leads_out_of_an_ended_status() -> None:
    leading_out = {
        event for event, (sources, _) in TRANSITIONS.items() if any(status.ended for status in sources)
    }
    assert leading_out == {Event.REQUEUE}


def test_a_new_batch_id_is_batch_and_eight_hexadecimal_digits() -> None:
    made = new_batch_id()
    assert made.startswith("batch-")
    assert len(made) == 14
    assert int(made[6:], 16) >= 0
    assert made == made.lower()
    assert check_batch_id(made) == made


@given(st.from_regex(BATCH_ID, fullmatch=True), st.integers(1, 10**11))
def test_a_job_id_can_be_taken_apart_again(batch: str, number: int) -> None:
    assert split_job_id(job_id(batch, number)) == (batch, number)


@pytest.mark.parametrize(
    "text", ["", "b", "b.", "b.0", "b.01", "b.x", ".1", "b.1.2", "../b.1", "b.1\n", "b.٣"]
)
def test_what_is_no_job_id_is_not_taken_for_one(text: str) -> None:
    assert split_job_id(text) is None


@pytest.mark.parametrize("text", ["", ".", "a/b", "a b", "-a", "a.1", "ä", "a" * 65, "a\n"])
def test_a_batch_id_is_safe_in_a_path_or_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot use"):
        check_batch_id(text)


@pytest.mark.parametrize(
    ("parameters", "variants"),
    [
        ({}, [{}]),
        ({"model": "small"}, [{"model": "small"}]),
        ({"a": [1, 2], "b": "x"}, [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}]),
        (
            {"a": [1, 2], "b": [3, 4]},
            [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}],
        ),
        ({"range": [[0, 1]]}, [{"range": [0, 1]}]),
    ],
)
def test_lists_expand_to_their_product(parameters: dict[str, Any], variants: list[dict[str, Any]]) -> None:
    assert list(expand_variants(parameters)) == variants


def test_an_empty_list_of_values_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="'model': its list of values is empty"):
        expand_variants({"model": []})


def test_so_many_variants_that_no_one_can_have_meant_them_are_refused_before_they_are_made() -> None:
    with pytest.raises(InvalidRequestError, match="1,000,000,000 variants"):
        expand_variants({name: list(range(1000)) for name in "abc"})


@pytest.mark.parametrize(
    ("pending", "running", "completed", "failed", "cancelled", "started", "was_cancelled", "status"),
    [
        (3, 0, 0, 0, 0, False, False, Status.PENDING),
        (2, 1, 0, 0, 0, True, False, Status.RUNNING),
        (2, 0, 1, 0, 0, True, False, Status.RUNNING),
        (0, 1, 2, 0, 0, True, True, Status.RUNNING),
        (0, 0, 3, 0, 0, True, False, Status.COMPLETED),
        (0, 0, 2, 1, 0, True, False, Status.FAILED),
        (0, 0, 1, 1, 1, True, True, Status.CANCELLED),
        (0, 0, 2, 0, 1, True, False, Status.COMPLETED),
        (0, 0, 0, 0, 3, False, False, Status.CANCELLED),
    ],
)
def test_a_batchs_status_follows_from_its_counters(
    pending: int,
    running: int,
    completed: int,
    failed: int,
    cancelled: int,
    started: bool,
    was_cancelled: bool,
    status: Status,
) -> None:
    counts = dict(zip(Status, (pending, running, completed, failed, cancelled), strict=True))
    assert batch_status(counts, started=started, cancelled=was_cancelled) is status

"""What the status topic carries: jobs and batches, ours and the original's."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.errors import NotAnUpdateError, UnreadableError
from buttermilkd.jobs import BATCH_ID, BatchSpec, Status
from buttermilkd.messages import (
    BatchCreated,
    BatchEnded,
    BatchEvent,
    BatchRecords,
    HostAsks,
    JobRequest,
    JobUpdate,
    parse_update,
)

# What each version's publish_status_update writes; it has not changed.
RUNNING = b'{"type": "job_status", "batch_id": "batch-aBcD2345", "record_id": "r", "status": "running"}'
FAILED = b'{"type": "job_status", "batch_id": "batch-aBcD2345", "record_id": "r", "status": "FAILED", "error": "no \\u00fc"}'
NAMELESS = b'{"type": "job_status", "batch_id": "N/A", "record_id": "N/A", "status": "completed"}'


def parse(data: bytes | dict[str, Any], **attributes: str) -> JobUpdate | BatchEvent | HostAsks:
    return parse_update(data if isinstance(data, bytes) else json.dumps(data).encode(), attributes)


def parse_job(data: bytes | dict[str, Any]) -> JobUpdate:
    update = parse(data)
    assert isinstance(update, JobUpdate)
    return update


def why_unreadable(document: dict[str, Any]) -> str:
    with pytest.raises(UnreadableError) as caught:
        parse(document)
    return str(caught.value)


def an_update(**fields: Any) -> dict[str, Any]:
    ours = {
        "job_id": "b.7",
        "flow": "f",
        "host": "h",
        "at": "2026-01-01T00:00:00Z",
        "sequence": 9,
        "schema": 1,
    }
    return {"type": "job_status", "batch_id": "b", "record_id": "r", "status": "running", **ours, **fields}


def an_event(event: str, **fields: Any) -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    return {
        "type": "batch_status",
        "event": event,
        "batch_id": "b",
        "host": "h",
        "at": at,
        "sequence": 9,
        **fields,
    }


def read_by_the_original(data: bytes) -> tuple[Any, ...]:
    """As its code reads a status message: a dictionary, of which it takes these."""
    message = json.loads(data.decode("utf-8"))
    return tuple(message.get(name) for name in ("type", "batch_id", "record_id", "status", "error"))


def test_an_update_of_the_originals_says_which_record_and_what_became_of_it() -> None:
    update = parse_job(RUNNING)
    assert (update.batch_id, update.record_id, update.status) == ("batch-aBcD2345", "r", Status.RUNNING)
    assert (update.job_id, update.host, update.at, update.sequence, update.error) == (
        None,
        None,
        None,
        0,
        None,
    )


def test_a_status_of_the_originals_is_understood_in_any_case() -> None:
    update = parse_job(FAILED)
    assert (update.status, update.error) == (Status.FAILED, "no ü")


def test_an_update_of_the_originals_for_a_job_without_names_is_read_and_names_no_batch_of_anybodys() -> None:
    update = parse_job(NAMELESS)
    assert BATCH_ID.fullmatch(update.batch_id)
    assert (update.original_batch_id, update.record_id) == ("N/A", "N/A")


@pytest.mark.parametrize(("batch_id", "record_id"), [("My batch: März", 0), ("x" * 80, "r"), (17, "ü\u2028")])
def test_an_answer_names_batch_and_record_exactly_as_the_original_wrote_them(
    batch_id: Any, record_id: Any
) -> None:
    data = json.dumps({"flow": "f", "batch_id": batch_id, "inputs": {"record_id": record_id}}).encode()
    request = JobRequest.parse(data, {}, "m", 0.0)
    update = JobUpdate(
        batch_id=request.batch_id,
        record_id=request.record_id,
        status=Status.COMPLETED,
        job_id=request.job_id,
        flow=request.flow,
        host="h",
        at=1.0,
        sequence=1,
        parameters=request.parameters,
        original_batch_id=request.original_batch_id,
        original_record_id=request.original_record_id,
    )
    assert read_by_the_original(update.encode()) == ("job_status", batch_id, record_id, "completed", None)
    assert parse_job(update.encode()) == update


def test_an_update_of_the_originals_is_of_the_batch_that_its_request_is_of() -> None:
    request = JobRequest.parse(b'{"flow": "f", "batch_id": "My batch", "record_id": "r"}', {}, "m", 0.0)
    update = parse_job({"type": "job_status", "batch_id": "My batch", "record_id": "r", "status": "running"})
    assert (update.batch_id, update.record_id) == (request.batch_id, request.record_id)


def test_what_ended_better_goes_before_what_came_later_and_a_requeue_before_both() -> None:
    running = parse_job(an_update(sequence=5))
    cancelled = dataclasses.replace(running, status=Status.CANCELLED, sequence=1)
    failed = dataclasses.replace(running, status=Status.FAILED, sequence=1)
    completed = dataclasses.replace(running, status=Status.COMPLETED, sequence=1)
    requeued = dataclasses.replace(running, status=Status.PENDING, generation=1, sequence=0)
    pending = dataclasses.replace(running, status=Status.PENDING, sequence=6)
    rising = [running, pending, cancelled, failed, completed, requeued]
    assert sorted(rising, key=lambda update: update.precedence) == rising


def test_updates_with_fields_of_a_later_version_are_read() -> None:
    assert parse_job(an_update(colour="red")).job_id == "b.7"
    later = parse(an_event("cancelled", colour="red"))
    assert isinstance(later, BatchEvent)
    assert later.batch_id == "b"


def test_halves_of_surrogate_pairs_in_texts_become_escapes_that_a_ledger_can_hold() -> None:
    update = parse_job(an_update(error="a\ud800", cause="\udfff", result='"\ud800"'))
    assert (update.error, update.cause, update.result) == ("a\\ud800", "\\udfff", '"\\ud800"')


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": 2}, "a newer one has sent it"),
        ({"status": "odd"}, "field 'status' must be one of pending, running, completed, failed, cancelled"),
        ({"status": None}, "field 'status' is missing"),
        ({"job_id": "b"}, "field 'job_id' must be BATCH.NUMBER, and is 'b'"),
        ({"job_id": 5}, "field 'job_id' must be text"),
        ({"sequence": None}, "field 'sequence' is missing"),
        ({"sequence": -1}, "field 'sequence' must be a whole number from 0"),
        ({"host": None}, "field 'host' is missing"),
        ({"at": None}, "field 'at' is missing"),
        ({"due": "soon"}, "field 'due' must be a time in ISO 8601"),
        ({"result": "{"}, "field 'result' must be JSON in a string, and is not"),
        ({"result": "[" * 500_000}, "field 'result' must be JSON in a string, and is not"),
        ({"result": {}}, "field 'result' must be text, and is an object"),
        ({"parameters": []}, "field 'parameters' must be an object, and is a list"),
        ({"record_id": ""}, "field 'record_id' is missing"),
        ({"type": None}, "field 'type' is missing"),
    ],
)
def test_an_update_with_a_field_that_cannot_be_is_refused(fields: dict[str, Any], reason: str) -> None:
    assert reason in why_unreadable(an_update(**fields))


CREATED = {"flow": "f", "variants": [{}], "records": 2, "owner_uid": 0, "created_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (
            an_event("painted"),
            "field 'event' must be one of created, records, ended, cancelled, stopped, reopened",
        ),
        (an_event("cancelled", schema=2), "a newer one has sent it"),
        (an_event("cancelled", batch_id="a b"), "field 'batch_id' must be up to 64 letters"),
        (an_event("cancelled", host=None), "field 'host' is missing"),
        (an_event("created", **CREATED | {"variants": []}), "field 'variants' must be a list of objects"),
        (an_event("created", **CREATED | {"variants": [1]}), "field 'variants' must be a list of objects"),
        (an_event("created", **CREATED | {"records": ["r"]}), "field 'records' must be a whole number"),
        (
            an_event("created", **CREATED | {"error_policy": "x"}),
            "field 'error_policy' must be continue or stop",
        ),
        (an_event("created", **CREATED | {"created_at": None}), "field 'created_at' is missing"),
        (
            an_event("records", first=0, records=["a", ""]),
            "field 'records' must be a list of texts, each of 1 to",
        ),
        (an_event("records", first=0, records=["\ud800"]), "none of them NUL or half of a surrogate pair"),
        (an_event("records", records=[]), "field 'first' is missing"),
        (an_event("ended"), "field 'counts' is missing"),
        (an_event("ended", counts={"failed": -1}), "field 'failed' must be a whole number from 0"),
    ],
)
def test_a_batchs_event_with_a_field_that_cannot_be_is_refused(document: dict[str, Any], reason: str) -> None:
    assert reason in why_unreadable(document)


def test_a_job_request_on_a_topic_that_serves_for_both_is_told_from_what_cannot_be_read() -> None:
    with pytest.raises(NotAnUpdateError, match="job_request"):
        parse({"type": "job_request", "flow": "f"})
    with pytest.raises(NotAnUpdateError, match="job_request"):
        parse({"flow": "f"}, type="job_request")


TIMES = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
COUNTS = st.integers(0, 2**63 - 1)
BATCHES = st.from_regex(BATCH_ID, fullmatch=True)
FLOWS = st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True)
WRITABLE = st.characters(exclude_categories=["Cs"])
TEXTS = st.text(WRITABLE)
RECORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), JSON, max_size=3)


@st.composite
def updates(draw: st.DrawFn) -> JobUpdate:
    batch_id = draw(BATCHES)
    record_id, number = draw(st.tuples(RECORDS, st.none()) | st.integers().map(lambda one: (str(one), one)))
    return JobUpdate(
        batch_id=batch_id,
        record_id=record_id,
        original_record_id=number,
        original_batch_id=draw(st.none() | RECORDS.filter(lambda one: one != batch_id)),
        status=draw(st.sampled_from(Status)),
        job_id=f"{batch_id}.{draw(st.integers(1, 10**12 - 1))}",
        flow=draw(FLOWS),
        attempt=draw(COUNTS),
        host=draw(TEXTS),
        at=draw(TIMES),
        sequence=draw(COUNTS),
        generation=draw(COUNTS),
        deferrals=draw(COUNTS),
        disturbances=draw(COUNTS),
        interruptions=draw(COUNTS),
        error=draw(st.none() | TEXTS),
        cause=draw(st.none() | TEXTS),
        due=draw(st.none() | TIMES),
        started_at=draw(st.none() | TIMES),
        ended_at=draw(st.none() | TIMES),
        result=draw(st.none() | JSON.map(json.dumps)),
        parameters=draw(st.none() | OBJECTS),
        created_at=draw(st.none() | TIMES),
    )


@st.composite
def specs(draw: st.DrawFn) -> BatchSpec:
    return BatchSpec(
        batch_id=draw(BATCHES),
        flow=draw(FLOWS),
        flow_version=draw(TEXTS),
        variants=tuple(draw(st.lists(OBJECTS, min_size=1, max_size=3))),
        records=draw(st.integers(0, 2**31)),
        owner_uid=draw(st.integers(0, 2**32 - 1)),
        seed=draw(st.none() | COUNTS),
        priority=draw(st.integers(-1_000_000, 1_000_000)),
        concurrency=draw(st.none() | st.integers(1, 100)),
        error_policy=draw(st.sampled_from(["continue", "stop"])),
        duplicates=draw(COUNTS),
    )


@st.composite
def events(draw: st.DrawFn) -> BatchEvent:
    host, at, sequence = draw(TEXTS), draw(TIMES), draw(COUNTS)
    name = draw(st.sampled_from(["created", "records", "ended", "cancelled", "reopened"]))
    if name == "created":
        spec = draw(specs())
        return BatchCreated(
            batch_id=spec.batch_id, host=host, at=at, sequence=sequence, spec=spec, created_at=draw(TIMES)
        )
    common: dict[str, Any] = {"batch_id": draw(BATCHES), "host": host, "at": at, "sequence": sequence}
    if name == "records":
        return BatchRecords(**common, first=draw(COUNTS), records=tuple(draw(st.lists(RECORDS, max_size=3))))
    if name == "ended":
        return BatchEnded(**common, counts={status: draw(COUNTS) for status in Status})
    return BatchEvent(event=name, **common)


@given(updates() | events())
def test_what_is_written_is_read_again(update: JobUpdate | BatchEvent) -> None:
    assert parse_update(update.encode(), update.attributes()) == update


@given(updates())
def test_the_originals_code_reads_one_of_ours(update: JobUpdate) -> None:
    kind, batch_id, record_id, status, error = read_by_the_original(update.encode())
    assert (kind, status, error) == ("job_status", update.status.value, update.error)
    assert batch_id in (update.original_batch_id, update.batch_id)
    assert str(record_id) == update.record_id


def test_attributes_are_those_that_a_subscription_may_filter_by() -> None:
    assert parse_job(an_update()).attributes() == {
        "type": "job_status",
        "batch_id": "b",
        "job_id": "b.7",
        "flow": "f",
        "attempt": "1",
        "status": "running",
        "host": "h",
        "schema": "1",
    }
    assert parse(an_event("cancelled")).attributes() == {
        "type": "batch_status",
        "event": "cancelled",
        "batch_id": "b",
        "host": "h",
        "schema": "1",
    }


FIELDS = st.sampled_from(
    [*an_update(), *an_event("created", **CREATED), "counts", "first", "error", "result"]
)
LIKELY = st.sampled_from(
    ["job_status", "batch_status", "created", "b", "b.1", "running", 1, "2026-01-01", "\ud800"]
)
WHOLE = st.sampled_from(
    [an_update(), *(an_event(name, **CREATED, first=0) for name in ("created", "records", "ended"))]
)


def outcome(data: bytes) -> str:
    try:
        return type(parse_update(data, {})).__name__
    except UnreadableError as error:
        return str(error)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    assert outcome(data)


@given(WHOLE, st.dictionaries(FIELDS, JSON | LIKELY, max_size=4))
def test_any_object_is_read_or_refused_and_nothing_else(
    document: dict[str, Any], spoilt: dict[str, Any]
) -> None:
    assert outcome(json.dumps({**document, **spoilt}).encode())

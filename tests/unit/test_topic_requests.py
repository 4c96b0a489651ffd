"""Jobs on the jobs topic: ours, and those of every version of the original."""

import dataclasses
import json
import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buttermilkd.clock import iso
from buttermilkd.errors import NotAJobError, UnreadableError
from buttermilkd.jobs import BATCH_ID, JOB_ID, MAX_RECORD_ID
from buttermilkd.messages import JobRequest
from buttermilkd.messages.original import NUMBERS, our_batch_id, single_batch_id

PUBLISHED_AT = 1_764_000_000.0

# What each version's publish_job writes: RunRequest.model_dump() and a type.
FIRST = b"""{
    "flow": "trans", "prompt": "", "record_id": "jenner_criticises_khalif_dailymail", "uri": "", "records": [],
    "parameters": {"criteria": "glaad"}, "batch_id": "batch-aBcD2345", "status": "pending",
    "created_at": "2025-04-27T02:10:11.123456+00:00", "started_at": null, "completed_at": null, "error": null,
    "result_uri": null, "source": [], "mime_type": null, "data": null, "type": "job_request"
}"""
MERGED = b"""{
    "ui_type": "batch", "session_id": "3f0c7d9a2b4e4f1c8a6d5e4f3a2b1c0d", "flow": "tox", "prompt": "Is it?",
    "record_id": "r/7 \\u00fc", "uri": "", "records": [], "parameters": {}, "batch_id": "batch-Zz9yXw8v",
    "status": "pending", "created_at": "2025-05-20T09:00:00+00:00", "type": "job_request"
}"""
ACKED_ON_PULL = b"""{
    "flow": "tox", "record_id": "", "uri": "https://example.org/a?b=c", "parameters": {"criteria": "ordinary"},
    "batch_id": "batch-Zz9yXw8v", "callback_to_ui": null, "type": "job_request"
}"""
INPUTS = b"""{
    "flow": "judge", "batch_id": "KwSysDpxcBU9FNhGkn2dCf", "session_id": "s-1",
    "inputs": {"record_id": "rec-1", "dataset_key": "osb", "prompt": "", "status": "draft", "threshold": 0},
    "parameters": {"model": "small", "dataset_key": "mine"}, "created_at": "2025-11-02T00:00:00Z", "type": "job_request"
}"""
INLINE = b"""{
    "flow": "tox", "inputs": {"criteria": "criteria_ordinary", "records": [{"content": "text"}]}, "type": "job_request"
}"""


def parse(data: bytes | dict[str, Any], message_id: str = "m-1", **attributes: str) -> JobRequest:
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    return JobRequest.parse(body, attributes, message_id, PUBLISHED_AT)


def why_unreadable(data: bytes | dict[str, Any]) -> str:
    with pytest.raises(UnreadableError) as caught:
        parse(data)
    return str(caught.value)


def an_original(**fields: Any) -> dict[str, Any]:
    return {"type": "job_request", "flow": "tox", "batch_id": "batch-1", "record_id": "r", **fields}


def one_of_ours(**fields: Any) -> dict[str, Any]:
    return {**an_original(), "job_id": "batch-1.7", "schema": 1, "parameters": {}, **fields}


def test_a_job_of_the_first_version_runs() -> None:
    request = parse(FIRST)
    assert (request.flow, request.batch_id) == ("trans", "batch-aBcD2345")
    assert request.record_id == "jenner_criticises_khalif_dailymail"
    assert request.parameters == {"criteria": "glaad"}
    assert iso(request.created_at) == "2025-04-27T02:10:11.123Z"
    assert (request.foreign, request.attempt, request.generation, request.total) == (True, 1, 0, None)
    assert request.original_batch_id is None


def test_what_the_run_keeps_about_itself_is_no_parameter_and_the_prompt_is_one() -> None:
    request = parse(MERGED)
    assert request.parameters == {"prompt": "Is it?"}
    assert request.record_id == "r/7 ü"


def test_a_job_without_record_id_is_named_by_its_uri() -> None:
    request = parse(ACKED_ON_PULL)
    assert request.record_id == "https://example.org/a?b=c"
    assert request.parameters == {"criteria": "ordinary", "uri": "https://example.org/a?b=c"}


def test_a_job_of_the_last_version_has_its_record_among_its_inputs_and_a_bare_batch_id() -> None:
    request = parse(INPUTS)
    assert (request.batch_id, request.record_id) == ("KwSysDpxcBU9FNhGkn2dCf", "rec-1")
    # Parameters go first; what a flow is given besides keeps its own name, whatever that is and whether false or not.
    assert request.parameters == {
        "model": "small",
        "dataset_key": "mine",
        "prompt": "",
        "status": "draft",
        "threshold": 0,
    }


def test_a_job_with_its_record_inside_is_named_by_its_message() -> None:
    request = parse(INLINE, message_id="9812345")
    assert request.record_id == "9812345"
    assert request.parameters == {"criteria": "criteria_ordinary", "records": [{"content": "text"}]}
    assert request.batch_id == single_batch_id("tox")


@pytest.mark.parametrize("data", [FIRST, MERGED, ACKED_ON_PULL, INPUTS, INLINE])
def test_a_message_delivered_again_is_the_same_job(data: bytes) -> None:
    first, again = parse(data), parse(data)
    assert first == again
    assert JOB_ID.fullmatch(first.job_id)
    assert first.job_id == f"{first.batch_id}.{first.number}"


def test_the_same_ids_are_made_on_every_host_and_by_every_version_of_this_code() -> None:
    # They are in ledgers and in messages that wait: a change of these numbers runs everything again.
    assert parse(FIRST).job_id == "batch-aBcD2345.231433130440"
    assert parse(INLINE, message_id="9812345").job_id == "single-tox-8670cd4bc817.525159198372"


def test_variants_of_a_record_are_jobs_of_their_own() -> None:
    variants = [an_original(parameters={"model": model}) for model in ("small", "large")]
    assert len({parse(variant).job_id for variant in variants}) == 2


def test_the_order_of_parameters_makes_no_other_job() -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert parse(an_original(parameters=one)).job_id == parse(an_original(parameters=other)).job_id


def test_a_record_published_twice_in_a_batch_is_one_job() -> None:
    assert parse(an_original(), "m-1").job_id == parse(an_original(), "m-2").job_id


@pytest.mark.parametrize("batch_id", [None, ""])
def test_without_a_batch_each_message_is_a_job_in_one_batch_for_its_flow(batch_id: str | None) -> None:
    first, second = (parse(an_original(batch_id=batch_id), message_id) for message_id in ("m-1", "m-2"))
    assert first.batch_id == second.batch_id == single_batch_id("tox")
    assert first.job_id != second.job_id
    assert first.original_batch_id is None


@pytest.mark.parametrize("written", ["My batch: März", "a" * 65, "-x", "ü", "batch/1", "x" * 4096, "_"])
def test_a_batch_id_that_cannot_be_ours_becomes_a_readable_one_and_is_kept(written: str) -> None:
    request = parse(an_original(batch_id=written))
    assert BATCH_ID.fullmatch(request.batch_id)
    assert request.original_batch_id == written
    assert request.batch_id == our_batch_id(written) != our_batch_id(written + "x")


def test_a_made_batch_id_shows_what_can_be_shown_of_the_original() -> None:
    assert our_batch_id("My batch: März").startswith("My-batch-M-rz-")
    assert single_batch_id("summarise").startswith("single-summarise-")


def test_ids_written_as_numbers_are_understood_and_kept() -> None:
    request = parse({"flow": "f", "batch_id": 17, "inputs": {"record_id": 0}})
    assert (request.batch_id, request.original_batch_id) == ("17", 17)
    assert (request.record_id, request.original_record_id) == ("0", 0)


def test_the_same_fields_are_found_under_inputs() -> None:
    request = parse(
        {
            "inputs": {"flow": "f", "batch_id": "b", "record_id": "r", "parameters": {"x": 1, "y": 1}},
            "parameters": {"y": 2},
        }
    )
    assert (request.flow, request.batch_id, request.record_id) == ("f", "b", "r")
    assert request.parameters == {"x": 1, "y": 2}


def test_fields_that_nobody_knows_reach_the_flows_code_unless_a_parameter_has_the_name() -> None:
    document = an_original(
        q="why?",
        data="aGk=",
        top_k=0,
        empty=[],
        inputs=["a"],
        schema="v3",
        extra={"a": [1]},
        parameters={"q": 2},
    )
    assert parse(document).parameters == {
        "q": 2,
        "data": "aGk=",
        "top_k": 0,
        "inputs": ["a"],
        "schema": "v3",
        "extra": {"a": [1]},
    }


def test_priority_and_the_time_to_wait_for_are_understood_in_a_message_without_our_other_fields() -> None:
    request = parse(an_original(priority=5, not_before="2026-01-01T00:00:00Z"))
    assert (request.priority, request.not_before, request.parameters) == (5, 1_767_225_600.0, {})


def test_an_id_of_the_originals_own_making_is_not_taken_for_ours() -> None:
    request = parse(an_original(job_id="batch-1:r"))
    assert request.foreign
    assert request.parameters == {}


@pytest.mark.parametrize("created_at", ["yesterday", None, 5, "0001-01-01T00:00:00+14:00"])
def test_a_job_is_not_lost_for_the_time_it_was_made_at(created_at: Any) -> None:
    assert parse(an_original(created_at=created_at)).created_at == PUBLISHED_AT


def test_a_uri_too_long_for_an_id_names_no_record() -> None:
    request = parse({"flow": "f", "uri": "data:" + "x" * MAX_RECORD_ID}, message_id="m-9")
    assert request.record_id == "m-9"


def test_a_message_without_type_is_a_job_where_it_names_a_flow() -> None:
    assert parse({"flow": "f", "record_id": "r"}).flow == "f"
    assert why_unreadable({"record_id": "r"}) == "field 'flow' is missing"


def test_messages_of_other_types_ask_for_no_job() -> None:
    status = {"type": "job_status", "batch_id": "b", "record_id": "r", "status": "running"}
    with pytest.raises(NotAJobError, match="job_status"):
        parse(status)
    with pytest.raises(NotAJobError, match="batch_status"):
        parse({"flow": "f"}, type="batch_status")
    with pytest.raises(NotAJobError, match="host_status"):
        parse({"type": "HOST_STATUS"})


@pytest.mark.parametrize("written", ["JOB_REQUEST", "Job_Request"])
def test_a_type_is_known_in_any_case(written: str) -> None:
    assert parse({"type": written, "flow": "f", "record_id": "r"}).flow == "f"
    assert parse({"flow": "f", "record_id": "r"}, type=written).flow == "f"


def test_a_message_of_a_type_that_nobody_knows_is_unreadable_so_that_it_does_not_vanish() -> None:
    why = why_unreadable({"type": "mystery", "flow": "f", "record_id": "r"})
    assert why == "field 'type' must be job_request on the jobs topic, and is 'mystery'"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the message is empty"),
        (b"\xff{}", "the message is not UTF-8: byte 0 is 0xff"),
        (b'{"flow": ', "the message is not JSON: Expecting value at line 1, column 10"),
        (b"[1]", "the message is no JSON object, but a list"),
        (b'{"flow": "f", "parameters": {"x": NaN}}', "the message holds NaN, which is no JSON"),
        (b'{"flow": "f", "parameters": {"x": -Infinity}}', "the message holds -Infinity, which is no JSON"),
        (b'{"flow": "f", "parameters": {"x": 1e999}}', "the message holds a number that is too large"),
        (
            b'{"flow": "f", "x": ' + b"9" * 5000 + b"}",
            "the message holds a number of more digits than can be read",
        ),
        (b'{"flow": "f", "x": ' + b"[" * 101 + b"]" * 101 + b"}", "nested too deep"),
        (b'{"flow": "f", "x": ' + b"[" * 500_000, "nested too deep"),
        (b'{"flow": "f", "record_id": "\\ud800"}', "field 'record_id' must be 1 to 4,096 characters"),
        (b'{"flow": "f", "record_id": "a\\u0000"}', "none of them NUL or half of a surrogate pair"),
    ],
)
def test_each_reason_says_what_is_wrong_and_where(data: bytes, reason: str) -> None:
    assert reason in why_unreadable(data)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"flow": ""}, "field 'flow' is missing"),
        ({"flow": "my flow"}, "field 'flow' must be a flow's name"),
        ({"flow": 3}, "field 'flow' must be text, and is a number, 3"),
        ({"record_id": "x" * 4097}, "field 'record_id' must be 1 to 4,096 characters"),
        ({"record_id": ["a"]}, "field 'record_id' must be text, and is a list"),
        ({"record_id": True}, "field 'record_id' must be text, and is true or false"),
        ({"batch_id": "x" * 4097}, "field 'batch_id' must be 1 to 4,096 characters"),
        ({"parameters": [1]}, "field 'parameters' must be an object, and is a list"),
        ({"inputs": {"parameters": "x"}}, "field 'parameters' must be an object, and is text"),
        (
            {"priority": "high"},
            "field 'priority' must be a whole number from -1000000 to 1000000, and is text 'high'",
        ),
        ({"type": 5}, "field 'type' must be text, and is a number"),
    ],
)
def test_an_original_with_a_field_that_cannot_be_is_refused(fields: dict[str, Any], reason: str) -> None:
    assert reason in why_unreadable(an_original(**fields))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"schema": 2}, "field 'schema' is 2, and this version reads up to 1: a newer one has sent it"),
        ({"job_id": "other.7"}, "field 'job_id' must be batch-1.NUMBER, and is 'other.7'"),
        ({"job_id": "batch-1.0"}, "field 'job_id' must be batch-1.NUMBER"),
        ({"job_id": 7}, "field 'job_id' must be text, and is a number, 7"),
        (
            {"batch_id": "a b"},
            "field 'batch_id' must be up to 64 letters, digits, '-' and '_', and is text 'a b'",
        ),
        ({"record_id": ""}, "field 'record_id' is missing"),
        ({"parameters": "x"}, "field 'parameters' must be an object, and is text 'x'"),
        ({"attempt": 0}, "field 'attempt' must be a whole number from 1, and is a number, 0"),
        ({"attempt": True}, "field 'attempt' must be a whole number from 1, and is true or false"),
        ({"generation": 2**63}, "field 'generation' must be a whole number from 0"),
        ({"not_before": "soon"}, "field 'not_before' must be a time in ISO 8601, and is text 'soon'"),
        ({"foreign": 1}, "field 'foreign' must be true or false, and is a number, 1"),
    ],
)
def test_one_of_ours_with_a_field_that_cannot_be_is_refused(fields: dict[str, Any], reason: str) -> None:
    assert reason in why_unreadable(one_of_ours(**fields))


def test_one_of_ours_with_fields_of_a_later_version_is_read() -> None:
    request = parse(one_of_ours(colour="red", inputs={"x": 1}))
    assert (request.job_id, request.number, request.parameters, request.foreign) == (
        "batch-1.7",
        7,
        {},
        False,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
HALVES = st.text(st.characters(categories=["Cs", "L"]))
TIMES = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
COUNTS = st.integers(0, 2**63 - 1)
BATCHES = st.from_regex(BATCH_ID, fullmatch=True)
RECORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@st.composite
def requests(draw: st.DrawFn) -> JobRequest:
    batch_id, number = draw(BATCHES), draw(st.integers(1, NUMBERS))
    return JobRequest(
        job_id=f"{batch_id}.{number}",
        batch_id=batch_id,
        number=number,
        flow=draw(st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True)),
        record_id=draw(RECORDS),
        parameters=draw(st.dictionaries(st.text() | HALVES, JSON | HALVES, max_size=3)),
        attempt=draw(st.integers(1, 2**63 - 1)),
        deferrals=draw(COUNTS),
        disturbances=draw(COUNTS),
        interruptions=draw(COUNTS),
        generation=draw(COUNTS),
        not_before=draw(st.none() | TIMES),
        priority=draw(st.integers(-1_000_000, 1_000_000)),
        concurrency=draw(st.none() | st.integers(1, 100)),
        created_at=draw(TIMES),
        total=draw(st.none() | COUNTS),
        foreign=draw(st.booleans()),
        original_batch_id=draw(st.none() | RECORDS | st.integers()),
        original_record_id=draw(st.none() | st.integers()),
    )


@given(requests())
def test_what_is_written_is_read_again(request: JobRequest) -> None:
    assert JobRequest.parse(request.encode(), request.attributes(), "m", 0.0) == request


@given(requests())
def test_attributes_are_short_enough_for_pubsub(request: JobRequest) -> None:
    attributes = request.attributes()
    assert set(attributes) == {"type", "batch_id", "job_id", "flow", "attempt", "schema"}
    assert all(0 < len(value.encode()) <= 1024 for value in attributes.values())


@pytest.mark.parametrize("data", [FIRST, MERGED, ACKED_ON_PULL, INPUTS, INLINE])
def test_a_job_of_the_originals_published_again_for_a_retry_stays_the_same_job(data: bytes) -> None:
    request = dataclasses.replace(
        parse(data), attempt=2, generation=1, not_before=PUBLISHED_AT, created_at=1.5
    )
    assert JobRequest.parse(request.encode(), request.attributes(), "another message", 0.0) == request


@given(requests())
def test_the_originals_code_reads_one_of_ours(request: JobRequest) -> None:
    incoming = {name: value for name, value in json.loads(request.encode().decode("utf-8")).items() if value}
    assert incoming["type"] == "job_request"
    assert isinstance(incoming.get("parameters", {}), dict)
    names = ("flow", "batch_id", "record_id")
    assert [incoming[name] for name in names] == [getattr(request, name) for name in names]


FIELDS = st.sampled_from(
    [
        *(
            "type",
            "flow",
            "batch_id",
            "record_id",
            "parameters",
            "inputs",
            "uri",
            "job_id",
            "attempt",
            "not_before",
        ),
        *("priority", "schema", "created_at", "generation", "total", "foreign", "original_batch_id", "other"),
    ]
)
LIKELY = st.sampled_from(
    ["job_request", "f", "b", "b.1", 1, "", "2026-01-01", "\ud800", "0001-01-01T00:00+14:00"]
)


def outcome(data: bytes) -> str:
    try:
        return JobRequest.parse(data, {}, "m", 0.0).job_id
    except (UnreadableError, NotAJobError) as error:
        return str(error)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    assert outcome(data)


@given(st.dictionaries(FIELDS, JSON | LIKELY | st.dictionaries(FIELDS, JSON | LIKELY)))
@example({"flow": "f", "inputs": {"record_id": 10**4200}})
@example({"flow": "f", "batch_id": 1.5})
def test_any_object_is_read_or_refused_and_nothing_else(document: dict[str, Any]) -> None:
    assert outcome(json.dumps(document).encode())


@given(JSON)
def test_any_original_that_can_be_read_can_be_published_again(parameters: Any) -> None:
    request = parse(an_original(parameters={"p": parameters}, extra=parameters, inputs=parameters))
    assert JobRequest.parse(request.encode(), {}, "m", 0.0).job_id == request.job_id


def test_whatever_depth_of_an_original_is_read_can_be_published_again() -> None:
    def nested(levels: int) -> dict[str, Any]:
        return an_original(extra=json.loads("[" * levels + "]" * levels))

    request = parse(nested(98))
    assert JobRequest.parse(request.encode(), {}, "m", 0.0).parameters == request.parameters
    assert "nested too deep" in why_unreadable(nested(99))


def test_nothing_is_written_that_nobody_would_read() -> None:
    request = parse(an_original())
    for parameters in ({"x": float("nan")}, {"x": json.loads("[" * 99 + "]" * 99)}):
        with pytest.raises(ValueError, match=r"JSON compliant|nested too deep"):
            dataclasses.replace(request, parameters=parameters).encode()


def test_depth_is_judged_alike_however_deep_the_caller_is() -> None:
    def deeper(levels: int) -> str:
        return (
            deeper(levels - 1) if levels else outcome(b'{"flow": "f", "x": ' + b"[" * 98 + b"]" * 98 + b"}")
        )

    assert deeper(0) == deeper(sys.getrecursionlimit() // 2)
    assert JOB_ID.fullmatch(deeper(0))

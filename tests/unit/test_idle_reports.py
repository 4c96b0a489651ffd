"""The lines of the activity socket."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.reports import Hello, Snapshot, decode, encode

HELLO = {"v": 1, "t": "hello", "app": "api", "pid": 811, "worker": "w1", "kind": "asgi", "beat_ms": 1000}
SNAPSHOT = {"v": 1, "t": "s", "seq": 42, "req": 3, "ws": 2, "total": 9913, "idle_ms": 0}


def line(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_the_documented_lines_are_read() -> None:
    assert decode(line(HELLO)) == Hello(app="api", pid=811, worker="w1", kind="asgi", beat_ms=1000)
    assert decode(line(SNAPSHOT)) == Snapshot(seq=42, req=3, ws=2, total=9913, idle_ms=0)


@pytest.mark.parametrize("report", [Hello("api", 811, "w1", "asgi", 250), Snapshot(1, 0, 0, 7, 12.5)])
def test_what_is_written_is_read_back(report: Hello | Snapshot) -> None:
    assert encode(report).endswith(b"\n")
    assert decode(encode(report)) == report


def test_fields_of_a_later_version_are_ignored() -> None:
    assert decode(line({**SNAPSHOT, "p99_ms": 12})) == decode(line(SNAPSHOT))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({**SNAPSHOT, "req": -1}, '"req" must be a whole number from 0'),
        ({**SNAPSHOT, "ws": 1.5}, '"ws" must be a whole number'),
        ({**SNAPSHOT, "total": "7"}, '"total" must be a whole number'),
        ({**SNAPSHOT, "req": True}, '"req" must be a whole number'),
        ({**SNAPSHOT, "req": 2**63}, '"req" must be a whole number'),
        ({**SNAPSHOT, "seq": None}, '"seq" must be a whole number'),
        ({**SNAPSHOT, "idle_ms": float("nan")}, '"idle_ms" must be a number'),
        ({**SNAPSHOT, "idle_ms": float("inf")}, '"idle_ms" must be a number'),
        ({**SNAPSHOT, "idle_ms": -0.1}, '"idle_ms" must be a number'),
        ({**SNAPSHOT, "idle_ms": 10**400}, '"idle_ms" must be a number'),
        ({**SNAPSHOT, "v": 2}, '"v" must be'),
        ({**SNAPSHOT, "v": True}, '"v" must be'),
        ({**SNAPSHOT, "t": "x"}, '"t" must be'),
        ({**SNAPSHOT, "t": []}, '"t" must be'),
        ({**HELLO, "app": ""}, '"app" must be 1 to 100 printable characters'),
        ({**HELLO, "app": "a" * 101}, '"app" must be'),
        ({**HELLO, "app": "api\x1b[2J"}, '"app" must be'),
        ({**HELLO, "worker": "\ud800"}, '"worker" must be'),
        ({**HELLO, "beat_ms": 0}, '"beat_ms" must be'),
        ({**HELLO, "beat_ms": 3_600_000}, '"beat_ms" must be'),
        ([SNAPSHOT], "not a JSON object"),
    ],
)
def test_a_line_that_makes_no_sense_is_refused_with_the_reason(document: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        decode(line(document))


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"\xff\xfe{}", b"[" * 4000, b"9" * 4090, line(SNAPSHOT).decode().encode("utf-16")]
)
def test_bytes_that_are_no_json_are_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="not a"):
        decode(raw)


@given(st.binary(max_size=200) | st.dictionaries(st.text(), st.none() | st.integers() | st.text()).map(line))
def test_no_bytes_do_worse_than_to_be_refused(raw: bytes) -> None:
    try:
        report: object = decode(raw)
    except ValueError as error:
        report = error
    assert isinstance(report, Hello | Snapshot) or str(report).isprintable()

"""The client against a stand-in for the daemon, over a real socket."""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from buttermilkd.client import Client
from buttermilkd.errors import (
    ButtermilkError,
    ConflictError,
    InvalidRequestError,
    MisconfiguredError,
    NotFoundError,
    NotPermittedError,
    NotRunningError,
    TimedOutError,
    UnavailableError,
)
from tests.integration.stand_in import (
    Answer,
    Hang,
    HangUp,
    StandIn,
    batch,
    dead_job,
    ended_batch,
    job,
    problem,
)

NDJSON = "application/x-ndjson"
BATCH = "batch-1a2b3c4d"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path / "control.sock")
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def client(daemon: StandIn) -> Client:
    return Client(daemon.socket)


@pytest.fixture
def no_root() -> Iterator[None]:
    """Be nobody for a while, where the tests run as root, who may connect to any socket."""
    if os.geteuid() != 0:
        yield
        return
    import_module("grp")  # nobody may be unable to read where the interpreter keeps it
    os.seteuid(65534)
    yield
    os.seteuid(0)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (problem(404, "not-found", "cannot find it"), NotFoundError, "cannot find it"),
        (problem(409, "conflict", "cannot: ambiguous", matches=["x"]), ConflictError, "cannot: ambiguous"),
        (problem(422, "misconfigured", "cannot run", problems=["f:1: a"]), MisconfiguredError, "cannot run"),
        (problem(500, "from-the-future", "cannot yet"), ButtermilkError, "cannot yet"),
        (Answer(b"<html>", 502, "text/html"), ButtermilkError, "<html>"),
        (Answer(b"", 400), InvalidRequestError, "the daemon answered with status 400"),
        (Answer(b"no json"), UnavailableError, "not JSON"),
        (Answer({"cut": "short"}, cut=True), UnavailableError, "the connection broke"),
        (HangUp(), UnavailableError, "the connection broke"),
    ],
)
def test_what_goes_wrong_is_raised_as_the_error_that_it_is(
    daemon: StandIn, client: Client, answer: Any, error: type[ButtermilkError], message: str
) -> None:
    daemon.on("GET /v1/status", answer)

    with pytest.raises(error) as raised:
        client.status()
    assert message in str(raised.value)


def test_an_error_keeps_its_hint_and_its_details(daemon: StandIn, client: Client) -> None:
    daemon.on("GET /v1/flows", problem(422, "misconfigured", "cannot", hint="mend it", problems=["f:1: a"]))
    with pytest.raises(MisconfiguredError) as raised:
        client.flows()
    assert (raised.value.hint, raised.value.problems) == ("mend it", ("f:1: a",))

    daemon.on("GET /v1/flows", problem(409, "conflict", "cannot", matches=["x", "y"]))
    with pytest.raises(ConflictError) as conflict:
        client.flows()
    assert conflict.value.details == {"matches": ["x", "y"]}


def test_a_daemon_that_is_not_running_is_told_from_one_that_may_not_be_asked(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError, match="there is no such socket") as raised:
        Client(tmp_path / "none.sock").status()
    assert "systemctl start buttermilkd" in str(raised.value.hint)

    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(tmp_path / "left.sock"))
    with pytest.raises(NotRunningError, match="nobody listens"):
        Client(tmp_path / "left.sock").status()

    with pytest.raises(NotRunningError, match="path too long"):
        Client(tmp_path / ("x" * 200)).status()


def test_a_socket_of_somebody_else_says_which_group_to_join(daemon: StandIn, no_root: None) -> None:
    del no_root
    client = Client(daemon.socket)
    with suppress(PermissionError):
        daemon.socket.chmod(0)

    with pytest.raises(NotPermittedError, match="may not connect") as raised:
        client.status()
    assert "buttermilk" in str(raised.value.hint)


def test_a_silent_daemon_is_not_waited_for_without_end(daemon: StandIn) -> None:
    daemon.on("GET /v1/status", Hang())

    with pytest.raises(TimedOutError, match="said nothing for"):
        Client(daemon.socket, timeout=0.05).status()


def test_every_call_asks_its_route(daemon: StandIn, client: Client) -> None:
    daemon.on("GET /v1/batches", {"batches": [batch()], "next": "c"})
    daemon.on(f"GET /v1/batches/{BATCH}/jobs", {"jobs": [job()], "next": None})
    daemon.on(f"GET /v1/jobs/{BATCH}.7", job())
    daemon.on(f"POST /v1/batches/{BATCH}/cancel", {"id": BATCH})
    daemon.on(f"POST /v1/jobs/{BATCH}.7/retry", {"id": f"{BATCH}.7", "requeued": 1})
    daemon.on("POST /v1/pause", {"paused": ["f"]})
    daemon.on("POST /v1/resume", {"paused": []})
    daemon.on("GET /v1/info", {"api": 1, "min_api": 1, "version": "x"})
    daemon.on("GET /v1/idle", {"idle": True})
    daemon.on("GET /v1/resolve", {"matches": [BATCH]})
    daemon.on("GET /v1/dead", {"dead": [], "next": None})
    daemon.on(f"GET /v1/dead/{BATCH}.7", dead_job())
    daemon.on("POST /v1/dead/requeue", {"outcomes": []})
    daemon.on("POST /v1/dead/drop", {"outcomes": []})

    assert client.batches(flow="f", include_ended=True, cursor="b")["next"] == "c"
    assert client.jobs(BATCH, status="failed", limit=5)["jobs"][0]["attempt"] == 4
    assert client.job(f"{BATCH}.7")["host"] == "study-1"
    assert client.cancel(BATCH, now=True)["id"] == BATCH
    assert client.retry(f"{BATCH}.7", failed=True)["requeued"] == 1
    assert client.pause("f") == {"paused": ["f"]}
    assert client.resume() == {"paused": []}
    assert client.info()["api"] == 1
    assert client.idle()["idle"]
    assert client.resolve("ba") == [BATCH]
    assert client.get("/v1/resolve", {"prefix": "é &"}) == {"matches": [BATCH]}
    assert client.dead(flow="f", limit=5, cursor="c")["dead"] == []
    assert client.dead_letter(f"{BATCH}.7")["attempt"] == 4
    assert client.requeue_dead([f"{BATCH}.7", "message-1"]) == {"outcomes": []}
    assert client.drop_dead(iter(["message-1"])) == {"outcomes": []}

    asked = [(request.query, request.body) for request in daemon.requests]
    assert asked == [
        ({"flow": "f", "all": "1", "cursor": "b"}, b""),
        ({"status": "failed", "limit": "5"}, b""),
        ({}, b""),
        ({}, b'{"now": true}'),
        ({}, b'{"failed": true}'),
        ({}, b'{"flow": "f"}'),
        ({}, b'{"flow": null}'),
        ({}, b""),
        ({}, b""),
        ({"prefix": "ba"}, b""),
        ({"prefix": "é &"}, b""),
        ({"flow": "f", "limit": "5", "cursor": "c"}, b""),
        ({}, b""),
        ({}, b'{"ids": ["batch-1a2b3c4d.7", "message-1"]}'),
        ({}, b'{"ids": ["message-1"]}'),
    ]


def test_one_id_is_not_taken_for_the_ids_of_its_letters(daemon: StandIn, client: Client) -> None:
    for act in (client.requeue_dead, client.drop_dead):
        with pytest.raises(InvalidRequestError, match="ids must be a list"):
            act("b.1")
    assert daemon.requests == []


def test_an_id_cannot_leave_its_place_in_the_path(daemon: StandIn, client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.batch("../status?x=1#")

    # The dots make it look like a job's id.
    assert daemon.requests[0].path == "/v1/jobs/..%2Fstatus%3Fx%3D1%23"


def test_a_long_wait_is_several_requests_and_ends_with_the_batch(daemon: StandIn, client: Client) -> None:
    daemon.on(f"GET /v1/batches/{BATCH}", batch(), batch(), ended_batch())

    assert client.batch(BATCH, wait=300)["status"] == "completed"
    assert [request.query["wait"] for request in daemon.requests] == ["60", "60", "60"]

    daemon.on(f"GET /v1/batches/{BATCH}", batch())
    assert client.batch(BATCH, wait=60.2)["status"] == "running"
    assert [request.query["wait"] for request in daemon.requests[3:]] == ["60", "1"]


def test_results_and_events_arrive_line_by_line(daemon: StandIn, client: Client) -> None:
    pieces = [b'{"job_id": "a"}\n{"job', b'_id": "b"}\n\n', b'\n{"job_id": "\xc3', b'\xa9"}']
    daemon.on(f"GET /v1/batches/{BATCH}/results", Answer(pieces, content_type=NDJSON))
    daemon.on("GET /v1/events", Answer([b'{"sequence": 5}\n'], content_type=NDJSON))

    assert [result["job_id"] for result in client.results(BATCH)] == ["a", "b", "é"]
    assert [event["sequence"] for event in client.events(since=4, batch=BATCH)] == [5]
    assert daemon.requests[1].query == {"since": "4", "batch": BATCH}


def test_a_stream_that_is_cut_off_is_no_shorter_stream(daemon: StandIn, client: Client) -> None:
    daemon.on(f"GET /v1/batches/{BATCH}/results", Answer([b'{"job_id": "a"}\n'], cut=True))

    results = client.results(BATCH)

    assert next(results)["job_id"] == "a"
    with pytest.raises(UnavailableError, match="the connection broke"):
        next(results)


def test_a_log_is_bytes_as_they_are(daemon: StandIn, client: Client) -> None:
    daemon.on(f"GET /v1/jobs/{BATCH}.1/log", Answer([b"\xff\x00", b"\r\n"], content_type="text/plain"))

    assert b"".join(client.log(f"{BATCH}.1", follow=True)) == b"\xff\x00\r\n"
    assert daemon.requests[0].query == {"follow": "1"}

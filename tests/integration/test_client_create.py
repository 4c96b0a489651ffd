"""How the client creates batches, and asks again."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from buttermilkd.client import Client
from buttermilkd.errors import (
    InvalidRequestError,
    NotPermittedError,
    UnavailableError,
)
from tests.integration.stand_in import (
    CREATED,
    Answer,
    HangUp,
    StandIn,
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


def test_a_small_list_of_records_is_posted_as_one_document(daemon: StandIn, client: Client) -> None:
    daemon.on("POST /v1/batches", Answer(CREATED, 201))

    created = client.create("summarise", ["a", "é\n"], parameters={"model": ["s", "l"]}, seed=17, limit=5)

    assert (created.batch_id, created.jobs, created.seed) == (BATCH, 1000, 17)
    [request] = daemon.requests
    assert request.headers["Content-Type"] == "application/json"
    assert len(request.headers["Idempotency-Key"]) == 32
    assert request.document == {
        "flow": "summarise",
        "records": ["a", "é\n"],
        "parameters": {"model": ["s", "l"]},
        "batch_id": None,
        "shuffle": None,
        "seed": 17,
        "limit": 5,
        "priority": 0,
        "concurrency": None,
        "error_policy": "continue",
        "dry_run": False,
    }


def test_no_records_means_those_of_the_flow(daemon: StandIn, client: Client) -> None:
    daemon.on("POST /v1/batches", CREATED)

    client.create("summarise")

    assert daemon.requests[0].document["records"] is None


@pytest.mark.parametrize("as_list", [True, False])
def test_many_records_are_streamed_one_a_line(daemon: StandIn, client: Client, as_list: bool) -> None:
    daemon.on("POST /v1/batches", Answer(CREATED, 201))
    records = [f"line\n{number}" for number in range(12_345)]

    client.create("summarise", records if as_list else iter(records), priority=3)

    [request] = daemon.requests
    assert request.headers["Content-Type"] == NDJSON
    head, *lines = map(json.loads, request.body.splitlines())
    assert head["flow"] == "summarise"
    assert head["priority"] == 3
    assert "records" not in head
    assert lines == records


def test_a_source_without_records_creates_nothing(daemon: StandIn, client: Client) -> None:
    with pytest.raises(InvalidRequestError, match="batch of nothing"):
        client.create("summarise", iter(()))
    with pytest.raises(InvalidRequestError, match="not one string"):
        client.create("summarise", "records.txt")
    assert daemon.requests == []


def test_a_source_that_breaks_off_does_not_end_the_request_as_if_it_were_whole(
    daemon: StandIn, client: Client
) -> None:
    def records() -> Iterator[str]:
        yield from (str(number) for number in range(5000))
        raise InvalidRequestError("cannot read line 5001")

    daemon.on("POST /v1/batches", CREATED)
    with pytest.raises(InvalidRequestError, match="line 5001"):
        client.create("summarise", records())


def test_an_answer_that_comes_before_the_records_are_read_is_believed(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "early.sock"))
    listener.listen()

    def refuse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            body = b'{"detail": "cannot create: not yours", "kind": "not-permitted"}'
            connection.sendall(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    thread = threading.Thread(target=refuse)
    thread.start()
    with pytest.raises(NotPermittedError, match="not yours"):
        Client(tmp_path / "early.sock").create("summarise", (f"{number:0>1000}" for number in range(20_000)))
    thread.join()
    listener.close()


def test_create_asks_again_with_the_same_key_when_no_answer_came(daemon: StandIn, client: Client) -> None:
    daemon.on("POST /v1/batches", HangUp(), HangUp(), Answer(CREATED, 201))

    assert client.create("summarise", ["a"]).batch_id == BATCH
    assert len({request.headers["Idempotency-Key"] for request in daemon.requests}) == 1
    assert len(daemon.requests) == 3


def test_create_asks_no_more_than_twice_again(daemon: StandIn, client: Client) -> None:
    daemon.on("POST /v1/batches", HangUp())

    with pytest.raises(UnavailableError, match="may or may not have been created"):
        client.create("summarise", ["a"], idempotency_key="mine")
    assert [request.headers["Idempotency-Key"] for request in daemon.requests] == ["mine"] * 3


def test_a_refusal_is_not_asked_again(daemon: StandIn, client: Client) -> None:
    daemon.on("POST /v1/batches", problem(503, "unavailable", "cannot create: the daemon is stopping"))

    with pytest.raises(UnavailableError, match="is stopping"):
        client.create("summarise", ["a"])
    assert len(daemon.requests) == 1


def test_a_stream_is_sent_only_once(daemon: StandIn, client: Client) -> None:
    daemon.on("POST /v1/batches", HangUp())

    with pytest.raises(UnavailableError, match="may or may not"):
        client.create("summarise", iter(["a"]))
    assert len(daemon.requests) == 1

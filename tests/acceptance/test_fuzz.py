"""A real daemon under bad messages on both sockets: answered or closed, and never an exception that nobody expected."""

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.acceptance.conftest import daemon_of_its_own
from tests.acceptance.program import Daemon, until
from tests.fuzz import messages
from tests.fuzz.storm import UNHANDLED, Counts, activity_storm, control_storm, exchange

FLOW = '[flows.hello]\ncommand = ["true"]\n'
CHANCE = st.randoms(use_true_random=False)
LIGHT = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def started() -> Iterator[Daemon]:
    """One for all of these tests: what the first ones do to it, the last ones meet."""
    with daemon_of_its_own() as daemon:
        daemon.write(FLOW)
        daemon.start()
        yield daemon
        assert daemon.stop() == 0


@pytest.fixture
def attacked(started: Daemon) -> Iterator[Daemon]:
    """A daemon that must be well, and must have expected everything, when the test is through."""
    yield started
    assert started.client.status()["version"]
    assert UNHANDLED.findall(started.log.read_text()) == []


def sent(path: Path, data: bytes) -> bytes:
    """All that is answered until the daemon closes the connection; ``data`` must have it do so."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        try:
            client.sendall(data)
            while chunk := client.recv(65536):
                answer += chunk
        except ConnectionError:
            pass  # it has closed the connection before it had read everything
    return answer


def test_whatever_has_once_done_harm_does_none(attacked: Daemon) -> None:
    async def everything() -> list[bool]:
        requests = [exchange(attacked.control, one) for one in messages.corpus("control")]
        lines = [exchange(attacked.activity, one) for one in messages.corpus("activity")]
        return await asyncio.gather(*requests, *lines)

    assert all(asyncio.run(everything()))


def test_a_malformed_request_is_told_in_one_line_without_its_words_and_seldom(attacked: Daemon) -> None:
    for _ in range(20):
        assert sent(attacked.control, b"GET / HTTP/1.1\r\nforged: \x01 12:00:00 INFO\r\n\r\n")
    until(lambda: "malformed" in attacked.log.read_text(), "a word of it in the log")
    log = attacked.log.read_text()
    assert log.count("malformed") < 10
    assert "forged" not in log


def test_no_request_writes_a_line_of_its_own_into_the_log(attacked: Daemon) -> None:
    head = b"POST /v1/jobs/a%0A12:00:00%20INFO%20forged/cancel HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n"
    assert b" 404 " in sent(attacked.control, head + b"Connection: close\r\n\r\n{}")
    body = json.dumps({"flow": "a\n12:00:00 INFO forged"}).encode()
    head = f"POST /v1/pause HTTP/1.1\r\nHost: b\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert b" 404 " in sent(attacked.control, head + body)
    assert not re.search(r"^12:00:00 INFO forged", attacked.log.read_text(), re.MULTILINE)


@given(chance=CHANCE)
@LIGHT
def test_any_request_is_answered_or_closed(attacked: Daemon, chance: Random) -> None:
    assert asyncio.run(exchange(attacked.control, messages.request(chance)))


@given(chance=CHANCE)
@LIGHT
def test_any_line_of_a_reporter_is_read_or_ends_its_connection(attacked: Daemon, chance: Random) -> None:
    assert asyncio.run(exchange(attacked.activity, messages.line(chance)))


def test_storms_over_both_sockets_leave_the_daemon_well(attacked: Daemon) -> None:
    counts = Counts()

    async def storms() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(control_storm(attacked.control, 1_500, 1, counts))
            tasks.create_task(activity_storm(attacked.activity, 6_000, 2, counts))

    asyncio.run(storms())
    assert (counts.messages, counts.hung) == (7_500, 0)

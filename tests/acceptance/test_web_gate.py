"""The real daemon beside real web servers that report by the middleware: when its gate opens, and when it must not."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from buttermilkd.messages import ReporterView
from tests.acceptance.program import IDLE_AT_ONCE, Daemon, until
from tests.acceptance.web_servers import (
    GUNICORN_DJANGO,
    GUNICORN_PRELOAD,
    GUNICORN_THREADS,
    GUNICORN_UVICORN,
    RUN_APP,
    UVICORN_FASTAPI,
    UVICORN_WORKERS,
    Kind,
    Served,
    serving,
)
from tests.web_storm import Storm

TRUE = '[flows.true]\ncommand = ["true"]'
SOON = IDLE_AT_ONCE.replace('quiet_for = "1s"', 'quiet_for = "200ms"\nwebsocket_start_after = "3s"')
"""A gate that opens too early would be seen all the sooner; what a message closes is looked at for a while."""


@contextmanager
def scene(daemon: Daemon, kind: Kind) -> Iterator[Served]:
    """The daemon, and a web server beside it that has reported."""
    daemon.write(TRUE, idle=SOON)
    daemon.start()
    with serving(kind, daemon.activity, daemon.folder) as server:
        assert server.get() == 200
        until(lambda: reporters(daemon) and not in_flight(daemon), "the web server's report")
        yield server


def reporters(daemon: Daemon) -> list[ReporterView]:
    return daemon.client.status()["reporters"]


def in_flight(daemon: Daemon) -> int:
    return sum(one["requests"] for one in reporters(daemon))


def openings(daemon: Daemon) -> int:
    """How often the gate has opened since the daemon was made."""
    return sum(event["kind"] == "gate.opened" for event in daemon.client.events())


def starts_only_afterwards(daemon: Daemon, batch: str) -> None:
    assert daemon.client.batch(batch)["pending"] == 1
    assert not daemon.client.status()["idle"]


@pytest.mark.parametrize("kind", [UVICORN_FASTAPI, GUNICORN_THREADS, GUNICORN_DJANGO, RUN_APP], ids=str)
def test_no_job_starts_during_a_request_and_it_starts_afterwards(daemon: Daemon, kind: Kind) -> None:
    with scene(daemon, kind) as server:
        until(lambda: daemon.client.status()["idle"], "the gate's opening")
        with server.finished_request():
            until(lambda: in_flight(daemon) == 1, "news of the request")
            assert daemon.client.status()["state"] == "busy"
            daemon.client.create("true", records=["r"], batch_id="b")
            starts_only_afterwards(daemon, "b")
        assert daemon.ended("b")["completed"] == 1


@pytest.mark.parametrize("kind", [UVICORN_WORKERS, RUN_APP], ids=str)
def test_a_websockets_message_closes_the_gate(daemon: Daemon, kind: Kind) -> None:
    async def chat(port: int) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/chat") as websocket,
        ):
            await asyncio.to_thread(until, lambda: daemon.client.status()["idle"], "the gate's opening")
            await websocket.send_str("hello")
            assert await websocket.receive_str() == "hello"
            await asyncio.to_thread(until, lambda: not daemon.client.status()["idle"], "the gate's closing")
            assert "1 websocket open" in (await asyncio.to_thread(daemon.client.status))["sentence"]

    with scene(daemon, kind) as server:
        asyncio.run(chat(server.port))


@pytest.mark.parametrize("kind", [GUNICORN_THREADS, GUNICORN_PRELOAD, GUNICORN_UVICORN], ids=str)
def test_a_rolling_reload_opens_no_gate_before_the_last_request_has_ended_and_leaves_no_ghost(
    daemon: Daemon, kind: Kind
) -> None:
    with scene(daemon, kind) as server:
        with server.finished_request():
            until(lambda: in_flight(daemon) == 1, "news of the request")
            old = {one["pid"] for one in reporters(daemon)}
            before = openings(daemon)
            daemon.client.create("true", records=["r"], batch_id="b")
            os.kill(server.process.pid, signal.SIGHUP)
            until(lambda: server.answers() and bool(_new(daemon, old)), "the new workers")
            # As long as would open the gate if nothing were in flight.
            until(lambda: all(one["idle_seconds"] > 1.0 for one in _new(daemon, old)), "quiet")
            starts_only_afterwards(daemon, "b")
            assert in_flight(daemon) == 1
            assert openings(daemon) == before
        until(lambda: not in_flight(daemon), "the end of the request")
        until(lambda: not old & {one["pid"] for one in reporters(daemon)}, "the end of the old workers")
        assert daemon.ended("b")["completed"] == 1


def _new(daemon: Daemon, old: set[int | None]) -> list[ReporterView]:
    return [one for one in reporters(daemon) if one["pid"] not in old]


@pytest.mark.parametrize("kind", [UVICORN_FASTAPI, RUN_APP], ids=str)
def test_no_request_fails_and_no_count_is_lost_whatever_becomes_of_the_daemon(
    daemon: Daemon, kind: Kind
) -> None:
    with scene(daemon, kind) as server:
        asyncio.run(_storm(daemon, server.port))
        until(lambda: reporters(daemon), "the web server's report")
        until(
            lambda: (
                [(one["requests"], one["websockets"], one["total"]) for one in reporters(daemon)]
                == [(0, 0, 2101)]
            ),
            "counts of nothing but what there was",
        )
    assert "closed a reporter's connection" not in daemon.log.read_text()
    assert "Traceback" not in server.log.read_text()


async def _storm(daemon: Daemon, port: int) -> None:
    """2,000 requests and 100 websockets, while the daemon is stopped, goes on, is killed and comes again."""
    storm = Storm(port)

    async def fate() -> None:
        assert daemon.process is not None
        await storm.reached(400)
        daemon.process.send_signal(signal.SIGSTOP)
        await storm.reached(800)
        daemon.process.send_signal(signal.SIGCONT)
        await storm.reached(1200)
        await asyncio.to_thread(daemon.kill)
        await storm.reached(1600)
        await asyncio.to_thread(daemon.start)

    await asyncio.gather(storm.requests(2000), storm.websockets(100), fate())
    assert (storm.answered, storm.upgraded) == (2000, 100)

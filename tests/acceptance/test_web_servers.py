"""Every example under every kind of server that it is made for: what the daemon's end is told of its users."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic  # noqa: TID251 - that of the web servers

import aiohttp
import pytest

from tests.acceptance.web_servers import (
    GUNICORN_PRELOAD,
    GUNICORN_THREADS,
    GUNICORN_UVICORN,
    KINDS,
    UVICORN_FASTAPI,
    UVICORN_WORKERS,
    Kind,
    Served,
    serving,
)
from tests.integration.daemon_end import DaemonEnd, daemon_end


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[DaemonEnd]:
    async with daemon_end(tmp_path / "activity.sock") as daemon:
        yield daemon


@contextmanager
def served(kind: Kind, folder: Path) -> Iterator[Served]:
    with serving(kind, folder / "activity.sock", folder) as server:
        yield server


async def used(daemon: DaemonEnd, server: Served, requests: int) -> None:
    """Make so many requests, and wait until all of them were told and none is left."""
    before = daemon.total
    for _ in range(requests):
        assert await asyncio.to_thread(server.get) == 200
    await daemon.until(lambda: daemon.total >= before + requests)
    await daemon.quiet()


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_a_request_is_told_while_it_is_in_flight_and_its_end_too(
    kind: Kind, daemon: DaemonEnd, tmp_path: Path
) -> None:
    with served(kind, tmp_path) as server:
        with server.finished_request():
            await daemon.until(lambda: daemon.requests == 1)
            (busy,) = (one for one in daemon.reporters if one.requests)
            assert busy.app in {"api", "site"}
            assert (os.getpgid(busy.pid or 0), busy.pid == server.process.pid) == (
                server.process.pid,
                kind.workers == 1 and "gunicorn" not in kind.name,
            )
        await daemon.quiet()
        assert daemon.total == 1
        await used(daemon, server, 20)
        assert daemon.total == 21
        assert await asyncio.to_thread(server.get, "/healthz") == 200
        await used(daemon, server, 1)
        assert daemon.total == 22


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.websockets], ids=str)
async def test_a_websocket_is_told_and_so_is_each_message_of_its_user(
    kind: Kind, daemon: DaemonEnd, tmp_path: Path
) -> None:
    with served(kind, tmp_path) as server:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{server.port}/chat") as websocket:
                await daemon.until(lambda: daemon.websockets == 1)
                (busy,) = (one for one in daemon.reporters if one.websockets)
                for _ in range(3):
                    sent_at = monotonic() - 0.001
                    await websocket.send_str("hello")
                    assert await websocket.receive_str() == "hello"
                    await daemon.until(lambda at=sent_at: _of(daemon, busy.pid) >= at)  # type: ignore[misc]
                assert daemon.requests == 0
            await daemon.quiet()
            assert daemon.total == 1


def _of(daemon: DaemonEnd, pid: int | None) -> float:
    """When this process was active last, in its own word."""
    return next(one.idle_since for one in daemon.reporters if one.pid == pid)


@pytest.mark.parametrize(
    "kind", [UVICORN_FASTAPI, UVICORN_WORKERS, GUNICORN_UVICORN, GUNICORN_THREADS, GUNICORN_PRELOAD], ids=str
)
async def test_a_worker_that_is_killed_while_it_is_busy_leaves_no_count_behind(
    kind: Kind, daemon: DaemonEnd, tmp_path: Path
) -> None:
    with served(kind, tmp_path) as server, server.request():
        await daemon.until(lambda: daemon.requests == 1)
        (busy,) = (one for one in daemon.reporters if one.requests)
        assert busy.pid is not None
        os.kill(busy.pid, signal.SIGKILL)
        await daemon.until(lambda: daemon.departure is not None)
        assert daemon.departure is not None
        assert daemon.departure.requests == 1
        assert daemon.requests == 0
        if kind.workers > 1:  # the server goes on with another one
            await used(daemon, server, 10)


@pytest.mark.parametrize("kind", [UVICORN_WORKERS, GUNICORN_UVICORN, GUNICORN_THREADS], ids=str)
async def test_many_requests_at_once_are_all_told_and_all_end(
    kind: Kind, daemon: DaemonEnd, tmp_path: Path
) -> None:
    with served(kind, tmp_path) as server:
        with ExitStack() as stack:
            for number in range(1, 5):
                stack.enter_context(server.finished_request())
                # An end or a further one is told with a beat at the latest.
                await daemon.until(lambda number=number: daemon.requests == number)  # type: ignore[misc]
        await daemon.quiet()
        assert daemon.total == 4


async def test_workers_of_uvicorn_say_which_they_are(daemon: DaemonEnd, tmp_path: Path) -> None:
    with served(UVICORN_WORKERS, tmp_path):
        await daemon.until(lambda: len(daemon.reporters) == 4)
        assert len({one.worker for one in daemon.reporters}) == 4
        assert all(one.worker.startswith("SpawnProcess-") for one in daemon.reporters)


@pytest.mark.parametrize("kind", KINDS, ids=str)
async def test_a_server_that_ends_after_its_last_request_goes_in_peace(
    kind: Kind, daemon: DaemonEnd, tmp_path: Path
) -> None:
    with served(kind, tmp_path) as server:
        await used(daemon, server, 1)
        assert await asyncio.to_thread(server.get) == 200
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.process.wait, 30)
        await daemon.until(lambda: not daemon.reporters)
        assert daemon.departure is None

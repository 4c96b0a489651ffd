"""A web server to be measured, and a client that asks it at a fixed rate whatever it answers."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from random import Random

from aiohttp import web
from aiohttp.typedefs import Handler

from buttermilkd.reports import Hello, Snapshot, encode
from tests.benchmarks.service import until

WORK = 0.002
"""Seconds of CPU that a request takes."""
RATE = 100.0
BEAT = 1.0
LINGER = 0.05
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"


class Activity:
    """Reports as the web server's part of the protocol says: at once after quiet, soon after the last, each beat."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._writer: asyncio.StreamWriter | None = None
        self._seq = self._total = self._in_flight = 0
        self._active_at = time.monotonic()  # noqa: TID251 - a program of its own
        self._quiet = True
        self._after: asyncio.TimerHandle | None = None

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        beating = asyncio.ensure_future(self._beat())
        yield
        beating.cancel()

    async def _beat(self) -> None:
        while True:
            if self._writer is None:
                with suppress(OSError):
                    _, self._writer = await asyncio.open_unix_connection(self._path)
                    self._writer.write(
                        encode(Hello("bench", os.getpid(), "w1", "aiohttp", round(BEAT * 1000)))
                    )
            self._say()
            await asyncio.sleep(BEAT)

    def _say(self) -> None:
        if self._writer is None:
            return
        if self._writer.is_closing():
            self._writer = None
            return
        self._seq += 1
        idle = 1000 * (time.monotonic() - self._active_at)  # noqa: TID251
        self._writer.write(encode(Snapshot(self._seq, self._in_flight, 0, self._total, idle)))

    @web.middleware
    async def count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._in_flight += 1
        self._total += 1
        self._active_at = time.monotonic()  # noqa: TID251
        if self._quiet:
            self._quiet = False
            self._say()
        try:
            return await handler(request)
        finally:
            self._in_flight -= 1
            self._active_at = time.monotonic()  # noqa: TID251
            if self._after is not None:
                self._after.cancel()
            self._after = asyncio.get_running_loop().call_later(LINGER, self._ended)

    def _ended(self) -> None:
        self._quiet = not self._in_flight
        self._say()


async def hello(_request: web.Request) -> web.Response:
    """What costs a little CPU, as rendering a page does."""
    until_ = time.perf_counter() + WORK
    while time.perf_counter() < until_:
        pass
    return web.Response(text="hello")


def serve(port: int, path: str) -> None:
    activity = Activity(path)
    app = web.Application(middlewares=[activity.count])
    app.router.add_get("/", hello)
    app.cleanup_ctx.append(activity.run)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


@contextmanager
def server(path: Path) -> Iterator[int]:
    """A server that reports to this socket while somebody listens there; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "tests.benchmarks.web", "serve", str(port), str(path)]
    with subprocess.Popen(command, start_new_session=True) as process:
        try:
            until(lambda: _listens(port), "the web server's start")
            yield port
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def load(port: int, seconds: float, seed: int) -> list[float]:
    """Latencies in seconds of requests that come as a Poisson process; a late answer delays no later request."""
    rng = Random(seed)
    latencies: list[float] = []

    async def ask(due: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_REQUEST)
        await reader.read()
        latencies.append(time.perf_counter() - due)
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        began = due = time.perf_counter()
        while due < began + seconds:
            due += rng.expovariate(RATE)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.create_task(ask(due))
    return latencies


@contextmanager
def undisturbed() -> Iterator[bool]:
    """Measure before everything else where this user may; whether it may."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except PermissionError:
        yield False
        return
    try:
        yield True
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


if __name__ == "__main__":
    serve(int(sys.argv[2]), sys.argv[3])

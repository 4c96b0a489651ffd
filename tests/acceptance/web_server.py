"""A real web server: aiohttp in a process of its own, which reports its requests and websockets to the daemon."""

import asyncio
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aiohttp import web

from buttermilkd.reports import Hello, Snapshot, encode

BEAT = 0.2


class Reporter:
    """Counts, and says so at once when something begins, when it ends, and with each beat."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._writer: asyncio.StreamWriter | None = None
        self._seq = 0
        self.requests = 0
        self.websockets = 0
        self._total = 0
        self._active_at = time.monotonic()  # noqa: TID251 - a web server of its own

    async def run(self, _app: web.Application) -> AsyncIterator[None]:
        _, self._writer = await asyncio.open_unix_connection(self._socket)
        self._writer.write(encode(Hello("api", os.getpid(), "w1", "aiohttp", round(BEAT * 1000))))
        beating = asyncio.ensure_future(self._beat())
        yield
        beating.cancel()
        self._writer.close()

    async def _beat(self) -> None:
        while True:
            self.say()
            await asyncio.sleep(BEAT)

    def say(self) -> None:
        if self._writer is not None:
            self._seq += 1
            idle = 1000 * (time.monotonic() - self._active_at)  # noqa: TID251
            told = Snapshot(self._seq, self.requests, self.websockets, self._total, idle)
            self._writer.write(encode(told))

    def active(self, *, requests: int = 0, websockets: int = 0) -> None:
        """Something began or ended, or a message came."""
        self.requests += requests
        self.websockets += websockets
        self._total += requests > 0 or websockets > 0
        self._active_at = time.monotonic()  # noqa: TID251
        self.say()


def application(socket: str) -> web.Application:
    reporter = Reporter(socket)

    async def hold(request: web.Request) -> web.Response:
        """In flight until the file that the path names exists."""
        reporter.active(requests=1)
        try:
            while not Path(request.query["until"]).exists():  # noqa: ASYNC110 - another process makes it
                await asyncio.sleep(0.005)
        finally:
            reporter.active(requests=-1)
        return web.Response(text="done")

    async def chat(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        reporter.active(websockets=1)
        async for message in websocket:
            reporter.active()
            await websocket.send_str(message.data)
        reporter.active(websockets=-1)
        return websocket

    app = web.Application()
    app.router.add_get("/hold", hold)
    app.router.add_get("/chat", chat)
    app.cleanup_ctx.append(reporter.run)
    return app


class WebServer:
    """The server's process, as tests see it."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def request(self, path: str) -> subprocess.Popen[bytes]:
        """A client with one request of its own; it ends when the request does."""
        program = (
            "import http.client, sys\n"
            "c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]))\n"
            "c.request('GET', sys.argv[2]); c.getresponse().read()"
        )
        return subprocess.Popen([sys.executable, "-c", program, str(self.port), path])

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextmanager
def serving(socket: Path) -> Iterator[WebServer]:
    """A server that reports to this activity socket, on a port of its own."""
    command = [sys.executable, "-m", "tests.acceptance.web_server", str(socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as probe:
                probe.connect()
            yield WebServer(process, port)
        finally:
            process.kill()


async def main() -> None:
    runner = web.AppRunner(application(sys.argv[1]))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

"""A real web server: aiohttp in a process of its own, which reports its requests and websockets to the daemon."""

import asyncio
import http.client
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aiohttp import web

from buttermilkd.web.aiohttp import setup


def application(socket: str) -> web.Application:
    async def hold(request: web.Request) -> web.Response:
        """In flight until the file that the path names exists."""
        while not Path(request.query["until"]).exists():  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.005)
        return web.Response(text="done")

    async def chat(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        async for message in websocket:
            await websocket.send_str(message.data)
        return websocket

    app = web.Application()
    app.router.add_get("/hold", hold)
    app.router.add_get("/chat", chat)
    setup(app, socket=socket, app="api")
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

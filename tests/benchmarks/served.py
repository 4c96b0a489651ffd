"""Web applications that answer five bytes, bare or with the middleware, each in a process of its own; and their load.

``python -m tests.benchmarks.served serve NAME FD`` or ``… load PORT SECONDS``.
"""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter  # noqa: TID251 - benchmarks measure real time
from typing import Any

from buttermilkd.web.asgi import ActivityMiddleware

CONNECTIONS = 16
GET = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answers everything with five bytes, and takes websockets."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"hello"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await receive()


async def slow(_scope: Any, _receive: Any, send: Any) -> None:
    """Answers, after a moment, with the time at which it was called."""
    stamp = f"{_scope['state']['called_at']:.6f}".encode()
    await asyncio.sleep(0.005)
    headers = [(b"content-length", str(len(stamp)).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": stamp})


def stamped(app: Any) -> Any:
    """The application, told when the server has called it."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {"called_at": monotonic()}}, receive, send)

    return call


def layered(app: Any) -> Any:
    """The application in the least layer that there can be: one more coroutine."""

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)

    return call


def fastapi(*, counted: bool) -> Any:
    """The same by FastAPI."""
    from fastapi import FastAPI  # noqa: PLC0415 - the others are not to load it
    from fastapi.responses import PlainTextResponse  # noqa: PLC0415

    app = FastAPI()
    if counted:
        app.add_middleware(ActivityMiddleware, app="bench")

    @app.get("/", response_class=PlainTextResponse)
    async def hello() -> str:
        return "hello"

    return app


def _serve_aiohttp(fd: int, how: str) -> None:
    """The same by aiohttp and its own server."""
    from aiohttp import web  # noqa: PLC0415
    from aiohttp.typedefs import Handler  # noqa: PLC0415

    from buttermilkd.web.aiohttp import activity_middleware, setup  # noqa: PLC0415

    @web.middleware
    async def nothing(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request)

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    match how:
        case "aiohttp-layered":
            app.middlewares.append(nothing)
        case "aiohttp-middleware":
            app.middlewares.append(activity_middleware(app="bench"))
        case "aiohttp-counted":
            setup(app, app="bench")
    app.router.add_get("/", hello)
    web.run_app(app, sock=socket.socket(fileno=fd), print=None, access_log=None)


APPLICATIONS: dict[str, Callable[[], Any]] = {
    "bare": lambda: bare,
    "layered": lambda: layered(bare),
    "counted": lambda: ActivityMiddleware(bare, app="bench"),
    "fastapi": lambda: fastapi(counted=False),
    "fastapi-counted": lambda: fastapi(counted=True),
    "stamped": lambda: stamped(ActivityMiddleware(slow, app="bench")),
}


@dataclass(frozen=True)
class Server:
    """Its process, and where it listens."""

    pid: int
    port: int

    def cpu(self) -> float:
        """Seconds of CPU that its threads have used."""
        threads = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def serving(name: str, activity: Path) -> Iterator[Server]:
    """This application, which reports to this activity socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        command = [sys.executable, "-m", "tests.benchmarks.served", "serve", name, str(listener.fileno())]
        environment = os.environ | {"BUTTERMILKD_ACTIVITY_SOCKET": str(activity)}
        process = subprocess.Popen(
            command, env=environment, pass_fds=(listener.fileno(),), start_new_session=True
        )
        port = listener.getsockname()[1]
    try:
        with socket.create_connection(("127.0.0.1", port)) as probe:
            probe.sendall(GET)
            probe.recv(1)
        yield Server(process.pid, port)
    finally:
        process.kill()
        process.wait()


def load(port: int, seconds: float) -> int:
    """Answers that a process of its own has got, over connections that ask again and again."""
    command = [sys.executable, "-m", "tests.benchmarks.served", "load", str(port), str(seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class _Visitor(asyncio.Protocol):
    answers = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(GET)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"hello"):
            _Visitor.answers += 1
            self._transport.write(GET)


async def _visit(port: int, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    for _ in range(CONNECTIONS):
        await loop.create_connection(_Visitor, "127.0.0.1", port)
    began = perf_counter()
    before = _Visitor.answers
    await asyncio.sleep(seconds)
    return round((_Visitor.answers - before) * seconds / (perf_counter() - began))


def _serve(name: str, fd: int) -> None:
    if name.startswith("aiohttp"):
        _serve_aiohttp(fd, name)
        return
    import uvicorn  # noqa: PLC0415

    config = uvicorn.Config(
        APPLICATIONS[name](), log_level="warning", access_log=False, loop="asyncio", http="h11"
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        _serve(sys.argv[2], int(sys.argv[3]))
    else:
        sys.stdout.write(f"{asyncio.run(_visit(int(sys.argv[2]), float(sys.argv[3])))}\n")

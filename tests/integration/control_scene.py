"""A control socket whose connections are looked at, and a clock that is moved by hand."""

import asyncio
import json
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from buttermilkd.config.load import load
from buttermilkd.control.connections import Connections
from buttermilkd.daemon import assembly
from buttermilkd.daemon.foundations import Given
from buttermilkd.ledger import Ledger
from buttermilkd.places import CONTROL_SOCKET
from buttermilkd.testing import HandMovedClock, RecordingNotifier
from tests.unmoved import UNMOVED

CONFIG = f"""
[daemon]
state_dir = "s"
runtime_dir = "r"
[idle]
{UNMOVED}
[control]
socket_mode = "0666"
[flows.hello]
command = ["true"]
"""
INFO = b"GET /v1/info HTTP/1.1\r\nHost: b\r\n\r\n"
FOLLOW = b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: b\r\n\r\n"


class Scene:
    """A daemon that runs no jobs, and whoever connects to it."""

    def __init__(self, path: Path, clock: HandMovedClock, connections: Connections, ledger: Ledger) -> None:
        self.path, self.clock, self.connections, self.ledger = path, clock, connections, ledger
        self._clients: list[socket.socket] = []

    async def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self._clients.append(client)
        client.setblocking(False)
        while True:
            try:
                client.connect(str(self.path))
            except BlockingIOError:  # as many wait already as may
                await asyncio.sleep(0)
            else:
                break
        await self.send(client, data)
        return client

    async def send(self, client: socket.socket, data: bytes) -> None:
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(client, data)

    async def read(self, client: socket.socket) -> bytes:
        """What comes next; nothing where the connection is closed."""
        async with asyncio.timeout(20):
            try:
                return await asyncio.get_running_loop().sock_recv(client, 65536)
            except ConnectionError:
                return b""

    async def ask(self, client: socket.socket, method: str, path: str, body: object = None) -> bytes:
        """The body of an answer that comes in one piece."""
        text = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: b\r\nContent-Length: {len(text)}\r\n\r\n"
        await self.send(client, head.encode() + text)
        return (await self.read(client)).partition(b"\r\n\r\n")[2]

    async def answers(self, client: socket.socket) -> bool:
        await self.send(client, INFO)
        return (await self.read(client)).startswith(b"HTTP/1.1 200 ")

    async def following(self, count: int) -> list[socket.socket]:
        """Connections that are being served."""
        clients = [await self.connect(FOLLOW) for _ in range(count)]
        for client in clients:
            assert (await self.read(client)).startswith(b"HTTP/1.1 200 ")
        return clients

    def close(self) -> None:
        for client in self._clients:
            client.close()


@asynccontextmanager
async def serving(clock: HandMovedClock) -> AsyncIterator[Scene]:
    """Such a daemon, in a folder of its own."""
    # Not tmp_path: no other user may go there.
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    folder.chmod(0o755)
    (folder / "b.toml").write_text(CONFIG)
    settings = load(folder / "b.toml", {})
    given = Given(read=lambda queue: settings, notifier=RecordingNotifier(clock))  # noqa: ARG005
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(assembly.opened(settings, clock, given))
        scene = Scene(
            settings.daemon.runtime_dir / CONTROL_SOCKET, clock, daemon.connections, daemon.services.ledger
        )
        running = asyncio.ensure_future(daemon.connections.run())
        yield scene
        assert not running.done()
        running.cancel()
        scene.close()
        # The end waits a moment of the daemon's own time for who was let in before.
        ending = asyncio.ensure_future(stack.aclose())
        while not ending.done():
            await clock.advance(1)
            await asyncio.sleep(0.001)
        await ending
    shutil.rmtree(folder)

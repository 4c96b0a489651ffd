"""An activity server and its clients, over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buttermilkd.bell import Bell
from buttermilkd.host.sockets import listening
from buttermilkd.idle.activity.server import ActivityServer
from buttermilkd.idle.policy.observations import Reporter
from buttermilkd.reports import Hello, Snapshot, encode
from buttermilkd.testing import HandMovedClock

HELLO = encode(Hello(app="api", pid=1, worker="w1", kind="asgi", beat_ms=1000))


def snapshot(*, req: int = 0, ws: int = 0, total: int = 1, idle_ms: float = 0) -> bytes:
    return encode(Snapshot(seq=1, req=req, ws=ws, total=total, idle_ms=idle_ms))


@dataclass
class Scene:
    path: Path
    clock: HandMovedClock
    server: ActivityServer
    changed: Bell = field(default_factory=Bell)
    clients: list[socket.socket] = field(default_factory=list)

    @property
    def reporters(self) -> tuple[Reporter, ...]:
        return self.server.observe().reporters

    async def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.clients.append(client)
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
        # A server that has refused the client closes while it still sends.
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(client, data)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a change that the server tells of makes it true."""
        async with asyncio.timeout(10):
            while not condition():
                await self.changed.heard()

    async def is_closed(self, client: socket.socket) -> bool:
        """Wait for the server to close this connection."""
        async with asyncio.timeout(10):
            try:
                return await asyncio.get_running_loop().sock_recv(client, 1) == b""
            except ConnectionError:
                return True


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Scene]:
    """A server in this folder, which must have handled everything when it is closed."""
    unhandled: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    clock, path = HandMovedClock(), folder / "activity.sock"
    with listening(path, 0o666) as listener:
        scene = Scene(path, clock, ActivityServer(listener, clock))
        scene.server.on_change = scene.changed.ring
        running = asyncio.ensure_future(scene.server.run())
        yield scene
        assert not running.done(), "the server must outlive whatever a peer does"
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    for client in scene.clients:
        client.close()
    assert not unhandled

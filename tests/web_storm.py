"""Many people at once: requests one after the other over several connections, and websockets that are dropped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

GET = b"GET / HTTP/1.1\r\nHost: storm\r\n\r\n"
UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: storm\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CONNECTIONS = 8
WEBSOCKETS_AT_ONCE = 50


class Storm:
    """Counts what was answered; whatever else happens raises."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.answered = 0
        self.upgraded = 0

    async def requests(self, number: int) -> None:
        """Raises AssertionError, OSError, EOFError: a request failed."""
        numbers = iter(range(number))

        async def visit() -> None:
            async with self._connection() as (reader, writer):
                for _ in numbers:
                    writer.write(GET)
                    assert (await _head(reader, body=True)).startswith(b"HTTP/1.1 200")
                    self.answered += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(visit())

    async def websockets(self, number: int) -> None:
        """Open so many and drop each without a word. Raises as ``requests``."""
        numbers = iter(range(number))

        async def visit() -> None:
            for _ in numbers:
                async with self._connection() as (reader, writer):
                    writer.write(UPGRADE)
                    assert (await _head(reader)).startswith(b"HTTP/1.1 101")
                    self.upgraded += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(number, WEBSOCKETS_AT_ONCE)):
                tasks.create_task(visit())

    async def reached(self, answered: int) -> None:
        """Return once so many requests were answered."""
        for _ in count():
            if self.answered >= answered:
                return
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


async def _head(reader: asyncio.StreamReader, *, body: bool = False) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if body:
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
    return head

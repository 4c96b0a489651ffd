"""Storms of bad messages over both sockets of a daemon, and what it made of them."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz import messages

CONNECTIONS = 24
"""At a time, on each socket."""
MOST_REQUESTS = 8
"""On one connection."""
MOST_LINES = 40
PATIENCE = 0.25
"""Seconds for the daemon to answer or close, after which a peer says that it has no more to send."""
LAST_PATIENCE = 20.0
"""... and after that."""
LAST = b"GET /v1/info HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n"
UNHANDLED = re.compile(
    r"^Traceback|exception was never retrieved|Unhandled exception|Exception in callback|cannot answer|service has died|CRITICAL",
    re.MULTILINE,
)
"""What a daemon's log says of an exception that nobody had expected."""


@dataclass
class Counts:
    """What has been sent, and what came of it."""

    messages: int = 0
    connections: int = 0
    hung: int = 0
    """Connections that were neither answered to their end nor closed."""


async def control_storm(path: Path, count: int, seed: int, counts: Counts) -> None:
    """Send so many requests."""
    chance = Random(seed)

    def packets() -> Iterator[tuple[int, bytes]]:
        left = count
        while left > 0:
            number = min(left, chance.randrange(1, MOST_REQUESTS + 1))
            left -= number
            yield number, b"".join(messages.request(chance) for _ in range(number)) + LAST

    await _storm(path, packets(), counts)


async def activity_storm(path: Path, count: int, seed: int, counts: Counts) -> None:
    """Send so many lines."""
    chance = Random(seed)

    def packets() -> Iterator[tuple[int, bytes]]:
        left = count
        while left > 0:
            number = min(left, chance.randrange(1, MOST_LINES + 1))
            left -= number
            good = (messages.HELLO, *[messages.SNAPSHOT] * (number - 1))
            lines = [one if chance.random() < 0.9 else messages.line(chance) for one in good]
            yield number, b"".join(lines)

    await _storm(path, packets(), counts)


async def _storm(path: Path, packets: Iterator[tuple[int, bytes]], counts: Counts) -> None:
    async def peer() -> None:
        for number, packet in packets:
            counts.hung += not await exchange(path, packet)
            counts.messages += number
            counts.connections += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(CONNECTIONS):
            tasks.create_task(peer(), name=f"peer {number}")


async def exchange(path: Path, packet: bytes) -> bool:
    """Send it; whether the daemon has closed the connection, at the latest when there was nothing more to come."""
    reader, writer = await _connected(path)
    try:
        with suppress(ConnectionError):
            writer.write(packet)
            await _within(PATIENCE, writer.drain)
            if await _within(PATIENCE, reader.read):
                return True
            writer.write_eof()
            return await _within(LAST_PATIENCE, reader.read)
        return True
    finally:
        writer.close()


async def _connected(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    while True:
        try:
            return await asyncio.open_unix_connection(path)
        except BlockingIOError:  # as many wait already as may
            await asyncio.sleep(0)


async def _within(seconds: float, action: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await action()
    except TimeoutError:
        return False
    return True


def resident(pid: int) -> int:
    """KiB of memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))

"""A full disk, a crowd of connections, a file that nobody reads half of."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FLOOD = 60
"""Connections at once."""


def write_whole(path: Path, text: str) -> None:
    """Nobody ever reads half of it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


@contextmanager
def filled(path: Path) -> Iterator[None]:
    """The disk on which this file lies is full meanwhile."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (65_536, 512):
            with suppress(OSError):
                while True:
                    file.write(b"\0" * size)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def crowd(path: Path) -> Iterator[list[socket.socket]]:
    """Many connections at once."""
    connections = [socket.socket(socket.AF_UNIX) for _ in range(FLOOD)]
    try:
        for connection in connections:
            connection.settimeout(0.2)
            with suppress(OSError):
                connection.connect(str(path))
        yield connections
    finally:
        for connection in connections:
            connection.close()

"""A full disk, a crowd of connections, a file that nobody reads half of."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from buttermilkd.control import connections
from buttermilkd.idle.activity import server

FLOOD = max(connections.MAX_CONNECTIONS, server.MAX_CONNECTIONS) + 64
"""Connections at once: more than either socket lets anybody have."""


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
    """As many connections at once as can be had, and more than may be."""
    many = [socket.socket(socket.AF_UNIX) for _ in range(FLOOD)]
    try:
        with suppress(OSError):  # nobody takes any more: that of each further one would be waited for
            for connection in many:
                connection.settimeout(0.2)
                connection.connect(str(path))
        yield many
    finally:
        for connection in many:
            connection.close()

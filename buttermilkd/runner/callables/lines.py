"""JSON objects, one a line, over a stream socket, without ever waiting for the other side."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Any

from buttermilkd.runner.documents import packed, unpacked

_READ_SIZE = 256 * 1024


class LineChannel:
    """``heard`` gets each object, ``overlong`` is called where a line is over ``limit`` bytes or is no JSON."""

    def __init__(
        self,
        connection: socket.socket,
        limit: int,
        *,
        heard: Callable[[dict[str, Any]], None],
        overlong: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        connection.setblocking(False)
        self._connection: socket.socket | None = connection
        self._limit = limit
        self._heard = heard
        self._overlong = overlong
        self._fail = fail
        self._unread = bytearray()
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(connection, self.read)

    def read(self) -> None:
        """Take in what is there now."""
        try:
            while self._connection is not None:
                try:
                    data = self._connection.recv(_READ_SIZE)
                except BlockingIOError:
                    return
                except ConnectionResetError:
                    data = b""
                if not data:
                    self.close()
                    return
                self._take_in(data)
                if len(data) < _READ_SIZE:
                    return
        except Exception as error:  # noqa: BLE001 - handed to whoever runs the runner
            self._fail(error)

    def _take_in(self, data: bytes) -> None:
        self._unread += data
        if b"\n" in data:
            *lines, rest = self._unread.split(b"\n")
            self._unread = rest
            for line in lines:
                try:
                    message = unpacked(line)
                except (ValueError, RecursionError):
                    message = None
                if not isinstance(message, dict):
                    self._refuse()
                    return
                self._heard(message)
                if self._connection is None:
                    return
        if len(self._unread) > self._limit:
            self._refuse()

    def _refuse(self) -> None:
        self.close()
        self._overlong()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send, or keep what the other side does not take yet; nothing after it has been closed."""
        if self._connection is None:
            return
        waiting = bool(self._unsent)
        self._unsent += packed(message) + b"\n"
        if not waiting:
            self._flush()

    def _flush(self) -> None:
        if self._connection is None:
            return
        try:
            sent = self._connection.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            self._unsent.clear()  # its end is found by reading
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._connection, self._flush)
        else:
            self._loop.remove_writer(self._connection)

    def close(self) -> None:
        if self._connection is not None:
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()
            self._connection = None

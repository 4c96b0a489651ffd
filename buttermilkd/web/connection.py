"""One connection to the daemon's activity socket, which never blocks and keeps nothing back for later."""

import select
import socket
from pathlib import Path

_SEND_BUFFER = 8192
"""Bytes, which the kernel doubles. It then takes about five lines that nobody has read: a daemon that was stopped
for long does not find more of them than it takes in a second, when it goes on."""


class Connection:
    """Connected from the start."""

    def __init__(self, path: Path) -> None:
        """Raises OSError: nobody listens there, or too many wait to be accepted; ValueError: no path has such a name."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            self._socket.setblocking(False)
            self._socket.connect(str(path))
        except (OSError, ValueError):
            self._socket.close()
            raise
        self._writable = select.poll()
        self._writable.register(self._socket, select.POLLOUT)
        self._rest = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def say(self, line: bytes) -> bool:
        """False where the daemon has not read what was said before: then nothing of the line is sent.

        Raises:
            OSError: the connection is lost.
        """
        if not self._writable.poll(0):
            return False
        if self._rest:
            self._rest = self._rest[self._send(self._rest) :]
            if self._rest:
                return False
        self._rest = line[self._send(line) :]
        return True

    def _send(self, data: bytes) -> int:
        # A web server may have given SIGPIPE back its deadly meaning.
        return self._socket.send(data, socket.MSG_NOSIGNAL)

    def hear(self) -> None:
        """The daemon says nothing; that it has gone is heard here.

        Raises:
            OSError: it has.
        """
        try:
            if not self._socket.recv(4096):
                raise ConnectionResetError("the daemon has closed the connection")
        except BlockingIOError:
            """It is still there."""

    def close(self) -> None:
        self._socket.close()

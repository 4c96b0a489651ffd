"""HTTP/1.1 as a client of the daemon needs it: one request and its answer on one connection.

``http.client`` does all of this and more, but imports ``email`` and ``ssl``, which is a fifth of the time that a
command line takes to start.
"""

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Self

Body = bytes | Iterable[bytes]

_LONGEST_LINE = 65_536
_MOST_HEADERS = 100
_ENDS = frozenset("\0\r\n")
"""Characters that end a line of a request, or look as if they did."""


class BadAnswerError(Exception):
    """What came is not an answer, or is cut short; the message says where."""


def send(
    sock: socket.socket, method: str, target: str, headers: Mapping[str, str], body: Body | None
) -> None:
    """Send a request. Bytes are sent with their length, anything else in chunks, as it comes.

    A server may refuse before it has read the whole body, and close: then this returns, and its answer is
    there to be read.

    Raises:
        ValueError: the target or a header holds what would end it.
        OSError: as the socket does; ``TimeoutError`` where nobody reads.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: buttermilkd", "Accept-Encoding: identity"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if isinstance(body, bytes):
        lines.append(f"Content-Length: {len(body)}")
    elif body is not None:
        lines.append("Transfer-Encoding: chunked")
    if " " in target or not all(_ENDS.isdisjoint(line) for line in lines):
        raise ValueError("a request's path and headers are one line each, and the path has no spaces")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    with suppress(BrokenPipeError, ConnectionResetError):
        sock.sendall(head + body if isinstance(body, bytes) else head)
        if body is not None and not isinstance(body, bytes):
            for chunk in body:
                if chunk:  # an empty one would be the last
                    sock.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            sock.sendall(b"0\r\n\r\n")


class Response:
    """An answer whose head has been read; its body is read as it arrives."""

    def __init__(self, sock: socket.socket) -> None:
        """Wait for the head.

        Raises:
            BadAnswerError: the connection ended before it, or it is none.
            OSError: as the socket does.
        """
        self._file = sock.makefile("rb")
        try:
            self.status = self._status()
            while self.status < HTTPStatus.OK:  # more is to come
                self._headers()
                self.status = self._status()
            self.headers = self._headers()
            self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
            self._left = self._length()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> bytes:
        """The rest of the body.

        Raises:
            BadAnswerError: it is cut short.
            OSError: as the socket does.
        """
        parts = []
        while part := self.read1(_LONGEST_LINE):
            parts.append(part)
        return b"".join(parts)

    def read1(self, most: int) -> bytes:
        """Up to so many bytes of the body, as soon as there are any; none at its end. Raises as ``read``."""
        if self._chunked and self._left == 0:
            self._left = self._next_chunk()
        if self._left == 0:
            return b""
        if self._left is None:  # until the connection ends
            return self._file.read1(most)
        part = self._file.read1(min(most, self._left))
        if not part:
            raise BadAnswerError("the answer was cut short")
        self._left -= len(part)
        if self._chunked and self._left == 0:
            self._line()  # the end of the chunk
        return part

    def _next_chunk(self) -> int:
        """The length of the next chunk; at the last one, which is empty, the body has ended."""
        size = self._line().partition(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            raise BadAnswerError("a chunk of the answer has no length") from None
        if length == 0:
            self._headers()
            self._chunked = False
        return length

    def _status(self) -> int:
        line = self._file.readline(_LONGEST_LINE)
        if not line:
            raise BadAnswerError("it was closed without an answer")
        version, _, rest = line.partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/1.") or not status.isdigit() or len(status) != len("200"):
            raise BadAnswerError("what came is not HTTP")
        return int(status)

    def _headers(self) -> dict[str, str]:
        """By their names in lower case."""
        found: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if not line.strip():
                return found
            name, _, value = line.decode("latin-1").partition(":")
            found[name.strip().lower()] = value.strip()
        raise BadAnswerError("the answer has too many headers")

    def _length(self) -> int | None:
        """Bytes of the body; None where only the end of the connection tells."""
        if self._chunked or self.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return 0
        length = self.headers.get("content-length")
        if length is None:
            return None
        if not (length.isascii() and length.isdigit()):
            raise BadAnswerError("the answer's length is no number")
        return int(length)

    def _line(self) -> bytes:
        line = self._file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise BadAnswerError(
                "the answer was cut short" if len(line) < _LONGEST_LINE else "a line is too long"
            )
        return line

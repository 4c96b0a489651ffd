"""What a job prints, bounded: whatever it prints, no more than its limit is kept."""

import re

_LOOKS_LIKE_AN_ERROR = re.compile(
    r"error|exception|fatal|cannot|can't|could not|failed|failure|denied|no such|not found|invalid|panic",
    re.IGNORECASE,
)


class BoundedLog:
    """The beginning and the end of a stream of bytes, half of ``limit`` each."""

    __slots__ = ("_head", "_head_limit", "_tail", "_tail_limit", "left_out")

    def __init__(self, limit: int) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._head_limit = limit // 2
        self._tail_limit = limit - self._head_limit
        self.left_out = 0
        """Bytes that were dropped between the two."""

    def write(self, data: bytes) -> None:
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data
        # Cut only once the tail has doubled, so that a flood is not moved about byte by byte.
        if len(self._tail) > 2 * self._tail_limit:
            self._cut()

    def _cut(self) -> None:
        excess = len(self._tail) - self._tail_limit
        if excess > 0:
            self.left_out += excess
            del self._tail[:excess]

    def content(self) -> bytes:
        """All that was kept, with a line in between that says how much was not."""
        self._cut()
        if not self.left_out:
            return bytes(self._head + self._tail)
        gap = f"… {self.left_out:,} bytes left out …\n".encode()
        newline = b"" if self._head.endswith(b"\n") else b"\n"
        return bytes(self._head + newline + gap + self._tail)


class LastLine:
    """The last line of a stream that is not blank; None where there is none, or it is over ``limit`` bytes."""

    __slots__ = ("_last", "_limit", "_overlong", "_partial")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = b""
        self._overlong = False
        self._last: bytes | None = None

    def write(self, data: bytes) -> None:
        whole, newline, rest = data.rpartition(b"\n")
        if newline:
            self._extend(whole)
            self._finish()
        self._extend(rest)

    def _extend(self, data: bytes) -> None:
        # Of several lines that come at once only the last that is not blank matters.
        lines = data.rsplit(b"\n") if b"\n" in data else [data]
        if len(lines) > 1:
            self._partial += lines[0]
            self._finish()
            for line in reversed(lines[1:-1]):
                if line.strip():
                    self._overlong, self._partial = False, line
                    self._finish()
                    break
        self._partial += lines[-1]
        if len(self._partial) > self._limit:
            self._overlong, self._partial = True, b""

    def _finish(self) -> None:
        if self._overlong:
            self._last = None
        elif self._partial.strip():
            self._last = self._partial if len(self._partial) <= self._limit else None
        self._overlong, self._partial = False, b""

    def line(self) -> bytes | None:
        """The line, without its end."""
        if self._overlong:
            return None
        return self._partial if self._partial.strip() else self._last


def telling_line(text: str) -> str | None:
    """The line of an error output that says what went wrong.

    For a Python traceback that is the last one, which names the exception; otherwise the first that looks
    like an error, or else the first at all. None where there is no line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    if any(line.startswith("Traceback (most recent call last)") for line in lines):
        return lines[-1]
    return next((line for line in lines if _LOOKS_LIKE_AN_ERROR.search(line)), lines[0])

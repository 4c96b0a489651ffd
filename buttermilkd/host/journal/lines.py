"""What a program prints as lines for the journal: whole, readable, each with its priority. No I/O."""

import re
from collections.abc import Callable
from enum import StrEnum

MOST_IN_A_LINE = 16 * 1024
"""Bytes; what is longer goes on in the next entry."""
_PREFIX = re.compile(rb"<([0-7])>")
_MOST_URGENT = 2
_UNREADABLE = {number: f"\\x{number:02x}" for number in (*range(9), *range(10, 27), *range(28, 32), 127)}
"""Control characters, other than tabulators and the beginnings of colours: journalctl hides a whole line for one of them."""


class Stream(StrEnum):
    """Which of the two a program printed it on."""

    STDOUT = "stdout"
    STDERR = "stderr"


_PRIORITIES = {Stream.STDOUT: 6, Stream.STDERR: 5}
"""Informational, and notice: most of what programs print on standard error is no error."""


class Lines:
    """Cuts what comes in any pieces into lines.

    ``tell`` gets each line with its priority, and says whether there is room for more. Where there is none, what follows in the
    same piece is only counted; it is told to ``left_out``.
    """

    __slots__ = ("_left_out", "_priority", "_rest", "_tell")

    def __init__(
        self, stream: Stream, tell: Callable[[str, int], bool], left_out: Callable[[int], None]
    ) -> None:
        self._priority = _PRIORITIES[stream]
        self._tell = tell
        self._left_out = left_out
        self._rest = b""

    def write(self, data: bytes) -> None:
        data, start = self._rest + data, 0
        while (end := data.find(b"\n", start)) >= 0:
            if not self._line(data[start:end]):
                self._left_out(1 + data.count(b"\n", end + 1))
                start = data.rfind(b"\n") + 1
                break
            start = end + 1
        rest = data[start:]
        # A bar that shows progress overwrites itself: only its last state is a line.
        last = rest.rfind(b"\r", 0, -1) + 1
        self._rest = rest[last:]
        while len(self._rest) > MOST_IN_A_LINE:
            self._cut()

    def _cut(self) -> None:
        piece, self._rest = self._rest[:MOST_IN_A_LINE], self._rest[MOST_IN_A_LINE:]
        if not self._line(piece):
            self._left_out(1 + len(self._rest) // MOST_IN_A_LINE)
            self._rest = b""

    def finish(self) -> None:
        """The last line may have no end."""
        rest, self._rest = self._rest, b""
        if rest and not self._line(rest):
            self._left_out(1)

    def _line(self, line: bytes) -> bool:
        """Whether there was room for it; one that is blank needs none."""
        line = line.rstrip(b"\r")
        line = line[line.rfind(b"\r") + 1 :]
        priority = self._priority
        if match := _PREFIX.match(line):
            # What a job takes for an emergency would be shown on the terminals of all users.
            priority, line = max(int(match[1]), _MOST_URGENT), line[match.end() :]
        if not line.strip():
            return True
        return all(
            self._tell(readable(line[at : at + MOST_IN_A_LINE]), priority)
            for at in range(0, len(line), MOST_IN_A_LINE)
        )


def readable(line: bytes) -> str:
    """The line as text, whatever it holds."""
    return line.decode("utf-8", "backslashreplace").translate(_UNREADABLE)

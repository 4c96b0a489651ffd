"""Pressure stall information: how much of the time something had to wait for a CPU, for disks, for memory.

Source: https://docs.kernel.org/accounting/psi.html
"""

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SYSTEM = Path("/proc/pressure")
WINDOW = 10.0
"""Seconds over which a share is taken."""
NO_PRESSURE = "this kernel does not tell it (CONFIG_PSI, or psi=1 at boot)"
_LONGEST = 4096
"""Bytes: more than its two lines ever are."""

Line = Literal["some", "full"]


@dataclass(frozen=True, slots=True)
class Stall:
    """One line of a pressure file."""

    average: float
    """The share of the last ten seconds, as the kernel's own moving average."""
    total: float
    """Seconds of waiting since the start: it only ever grows."""


def read_stall(file: Path, line: Line) -> Stall | None:
    """What the file says now; None where it is not there, may not be read, or says nothing."""
    try:
        text = _read(file)
    except OSError:
        return None
    for words in (row.split() for row in text.splitlines()):
        if words and words[0] == line:
            values = dict(word.split("=", 1) for word in words[1:])
            return Stall(float(values["avg10"]) / 100, int(values["total"]) / 1e6)
    return None


def _read(file: Path) -> str:
    """The file by three system calls, where Python's text files take nine: it is read at every look."""
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, _LONGEST).decode()
    finally:
        os.close(fd)


class PressureMeter:
    """The share over the last ten seconds of one line of one file.

    It is taken from the total, as the kernel's triggers are: at their word it is already over the threshold,
    where the kernel's average still lags. Until there are ten seconds to look back on, that one is used.
    """

    def __init__(self, file: Path, line: Line) -> None:
        self.file = file
        self.line = line
        self._seen: deque[tuple[float, float]] = deque()

    def share(self, at: float) -> float | None:
        """0 to 1; None where the file says nothing. ``at`` is monotonic time in seconds."""
        stall = read_stall(self.file, self.line)
        if stall is None or (self._seen and stall.total < self._seen[-1][1]):
            self._seen.clear()
        if stall is None:
            return None
        self._seen.append((at, stall.total))
        while len(self._seen) > 1 and self._seen[1][0] <= at - WINDOW:
            self._seen.popleft()
        since, total = self._seen[0]
        if at - since < WINDOW:
            return stall.average
        return round(min(1.0, (stall.total - total) / (at - since)), 4)

"""Time as a port. No other module reads the clock, so that tests can move it by hand."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the daemon knows of time."""

    def now(self) -> float:
        """Wall-clock time in seconds since the Unix epoch. May jump."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back, and does not count the machine's sleep."""

    async def sleep(self, seconds: float) -> None:
        """Return after ``seconds`` of monotonic time; at once if they are not positive."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()  # noqa: TID251 - this is the one place

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 - this is the one place

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def iso(at: float | None) -> str | None:
    """ISO 8601 in UTC with milliseconds, as every API field and message gives times; None stays None.

    Raises:
        OverflowError, ValueError: ``at`` lies outside the years 1 to 9999.
    """
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

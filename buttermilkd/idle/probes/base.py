"""What a probe tells, whatever it looks at."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol


class ProbeFailedError(Exception):
    """It could not look; the message says why, in words for people."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look."""

    open: int
    """Requests in flight, or connections."""
    total: int
    """How many there were since the first look."""
    used: bool
    """Whether any was there that the look before had not seen, open or over already."""


class Probe(Protocol):
    """Looks at one server from outside."""

    name: str
    """For people."""
    kind: str
    """What is counted: ``nginx`` or ``port``."""

    @property
    def target(self) -> Hashable:
        """What it looks at: two with equal targets see the same."""

    async def look(self) -> Seen:
        """Look once.

        Raises:
            ProbeFailedError: that is not possible now.
        """

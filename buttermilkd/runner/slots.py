"""How many jobs may execute at once on this host, shared by all flows."""

from typing import NamedTuple


class Room(NamedTuple):
    """How many more jobs a flow could take now."""

    jobs: int
    slots: int
    """How many of the host's slots that would take: jobs queued behind others take none."""


class Slots:
    """A count of free places. One is taken for as long as a job executes."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.free = total

    def resize(self, total: int) -> None:
        """Have another number from now on. Where more execute than that, ``free`` is negative until they have ended."""
        self.free += total - self.total
        self.total = total

    def take(self, count: int) -> None:
        """Take so many; a negative count releases."""
        self.free -= count

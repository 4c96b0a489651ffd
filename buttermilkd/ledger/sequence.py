"""A hybrid logical clock: it orders what happens to a job on different hosts, whose clocks differ.

Kulkarni et al., Logical Physical Clocks (2014): as near to the time as it can be, and greater than any that was seen.
"""

MICROSECONDS = 1_000_000
FARTHEST = 86_400.0
"""Seconds that another host's clock may be ahead."""


class Sequence:
    """Numbers that only grow, on this host and past any that other hosts have told. For the writer's thread."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: float) -> int:
        """One more than any before, and at least the microseconds of ``now``, in seconds since the epoch."""
        self._last = max(self._last + 1, int(now * MICROSECONDS))
        return self._last

    def seen(self, sequence: int, now: float) -> None:
        """Another host has used this one. One that lies far ahead of any clock is no host's, and is not followed."""
        if sequence <= int((now + FARTHEST) * MICROSECONDS):
            self._last = max(self._last, sequence)

"""When to tell the daemon what: at once when something begins after quiet, else once things have settled."""

from dataclasses import dataclass

BEAT = 1.0
"""Seconds; it is told at least this often."""
SETTLED_AFTER = 0.05
"""Seconds without activity after which its end is told. With this, no more than 41 lines are told in a second."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all applications in this process."""

    requests: int
    websockets: int
    total: int
    active_at: float
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What follows from one look at the counts."""

    tell: bool
    wait: float
    """Seconds until the next look, unless somebody rings before."""
    at_begin: bool
    at_end: bool
    """What to be woken for, meanwhile."""


_TELL = Plan(tell=True, wait=0.0, at_begin=False, at_end=False)


class Rhythm:
    """Of one connection."""

    def __init__(self) -> None:
        self._told: Counts | None = None
        self._told_at = 0.0
        self._was_quiet = False

    def look(self, counts: Counts, now: float) -> Plan:
        """Decide. Whoever asks tells the counts where the plan says so, says ``told`` then, and looks again."""
        told, beat_at = self._told, self._told_at + BEAT
        if told is None or now >= beat_at or self._has_begun(counts, told):
            return _TELL
        calm_at = counts.active_at + SETTLED_AFTER
        if counts.requests:
            return Plan(tell=False, wait=beat_at - now, at_begin=False, at_end=True)
        if counts != told:
            settled_at = max(calm_at, self._told_at + SETTLED_AFTER)
            if now >= settled_at:
                return _TELL
            return Plan(tell=False, wait=min(settled_at, beat_at) - now, at_begin=False, at_end=False)
        self._was_quiet = now >= calm_at
        wait = (beat_at if self._was_quiet else min(calm_at, beat_at)) - now
        return Plan(tell=False, wait=wait, at_begin=self._was_quiet, at_end=False)

    def _has_begun(self, counts: Counts, told: Counts) -> bool:
        return self._was_quiet and (counts.requests > 0 or counts.active_at > told.active_at)

    def told(self, counts: Counts, now: float) -> None:
        self._told, self._told_at = counts, now
        self._was_quiet = False

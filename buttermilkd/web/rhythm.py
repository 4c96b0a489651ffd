"""When to tell the daemon what: at once when something begins after quiet, else once things have settled. Pure."""

from math import inf
from typing import NamedTuple

from buttermilkd.reports import BEAT_MS

BEAT = BEAT_MS / 1000
"""Seconds; something is told at least this often."""
SETTLED_AFTER = 0.05
"""Seconds without activity after which its end is told, or later by a look where requests followed one another."""
LONGEST_LOOK = 0.25
"""Seconds between two looks while requests follow one another: from the time above on, each twice as long as the one
before. A look takes the interpreter from the web server, for hundreds of times as long as counting a request does."""
SPACING = 0.025
"""Seconds that each line takes of the time in which others may be told; two may follow each other at once. So no
more than 42 are told within any second, and the daemon takes 50."""


class Counts(NamedTuple):
    """What one reporter has to tell."""

    requests: int
    websockets: int
    total: int
    active_at: float
    """Monotonic seconds."""


class Plan(NamedTuple):
    """What follows from one look at the counts."""

    tell: bool
    wait: float = 0.0
    """Seconds until the next look, unless somebody rings before."""
    at_begin: bool = False
    """Whether to be woken meanwhile by anything that begins; likewise the next."""
    at_end: bool = False


class Rhythm:
    """Of one connection."""

    def __init__(self) -> None:
        self._told: Counts | None = None
        self._told_at = 0.0
        self._spent_until = 0.0
        self._was_quiet = False
        self._patience = SETTLED_AFTER

    def look(self, counts: Counts, now: float) -> Plan:
        """Decide. Whoever asks tells the counts where the plan says so, says ``told`` then, and looks again."""
        told = self._told
        if told is None:
            return Plan(tell=True)
        due = min(self._due(counts, told), self._told_at + BEAT)
        if now >= due:
            return Plan(tell=True)
        calm_at = counts.active_at + SETTLED_AFTER
        is_calm = now >= calm_at
        if counts.requests and told.requests:
            # While requests follow one another, the end of each is no news: to be woken by it would cost the web
            # server as much as the request does.
            until = due if is_calm else min(due, now + self._patience)
            self._patience = SETTLED_AFTER if is_calm else min(2 * self._patience, LONGEST_LOOK)
            return Plan(tell=False, wait=until - now, at_end=is_calm)
        if counts != told:
            return Plan(tell=False, wait=due - now)
        self._was_quiet, self._patience = is_calm, SETTLED_AFTER
        return Plan(tell=False, wait=(due if is_calm else min(due, calm_at)) - now, at_begin=True)

    def told(self, counts: Counts, now: float) -> None:
        """These were told."""
        self._told, self._told_at = counts, now
        self._spent_until = max(self._spent_until, now) + SPACING
        self._was_quiet = False

    def _due(self, counts: Counts, told: Counts) -> float:
        """When to tell these at the latest, beats aside."""
        at_once = self._spent_until - SPACING
        if counts.requests:
            # Once the daemon knows of one, how many there are can wait for a beat.
            return inf if told.requests else at_once
        if counts == told:
            return inf
        return at_once if self._was_quiet else max(counts.active_at, self._told_at) + SETTLED_AFTER

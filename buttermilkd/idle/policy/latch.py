"""Two thresholds and two timers: a measure that must stay high to count as busy, and stay low to be clear again."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Busy once above ``busy`` for ``busy_for`` seconds; clear again once below ``clear`` for ``clear_for``."""

    busy: float
    busy_for: float
    clear: float
    clear_for: float


@dataclass(frozen=True, slots=True)
class Latch:
    """What is remembered of one measure. Times are those of its samples."""

    is_busy: bool = False
    busy_since: float | None = None
    """While busy: when it went over the upper threshold."""
    crossed_at: float | None = None
    """Since when it has been beyond the threshold at which it would change over."""

    def step(self, value: float | None, at: float, thresholds: Thresholds) -> "Latch":
        """The latch after a sample. None says nothing: neither timer goes on through it."""
        if value is None:
            return replace(self, crossed_at=None)
        beyond = value < thresholds.clear if self.is_busy else value > thresholds.busy
        if not beyond:
            return replace(self, crossed_at=None)
        crossed_at = at if self.crossed_at is None else self.crossed_at
        needed = thresholds.clear_for if self.is_busy else thresholds.busy_for
        if at - crossed_at < needed:
            return replace(self, crossed_at=crossed_at)
        return Latch() if self.is_busy else Latch(is_busy=True, busy_since=crossed_at)

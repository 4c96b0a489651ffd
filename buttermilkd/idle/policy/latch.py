"""Two thresholds and two timers: a measure that must stay high to count as busy, and stay low to be clear again."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Busy once beyond ``busy`` for ``busy_for`` seconds; clear again once within ``clear`` for ``clear_for``.

    Beyond is above, or, where ``clear`` is the greater of the two, below.
    """

    busy: float
    busy_for: float
    clear: float
    clear_for: float

    @property
    def inverted(self) -> bool:
        """Little is busy, as of free memory."""
        return self.clear > self.busy

    def is_beyond(self, value: float) -> bool:
        return value < self.busy if self.inverted else value > self.busy

    def is_within(self, value: float) -> bool:
        return value > self.clear if self.inverted else value < self.clear


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
        crossed = value is not None and (
            thresholds.is_within(value) if self.is_busy else thresholds.is_beyond(value)
        )
        if not crossed:
            return self if self.crossed_at is None else replace(self, crossed_at=None)
        crossed_at = at if self.crossed_at is None else self.crossed_at
        needed = thresholds.clear_for if self.is_busy else thresholds.busy_for
        if at - crossed_at < needed:
            return replace(self, crossed_at=crossed_at)
        return Latch() if self.is_busy else Latch(is_busy=True, busy_since=crossed_at)


CALM = Latch()

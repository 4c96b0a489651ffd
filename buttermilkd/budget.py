"""How many lines may pass in a time: enough for whoever reads them, and few enough for the journal."""

from buttermilkd.clock import Clock


class Budget:
    """``rate`` lines a second, and ``burst`` at once after some quiet.

    Once it is used up nothing passes until there is a second's worth again: so that what passes are pieces that hang
    together, and not each hundredth line.
    """

    __slots__ = ("_at", "_burst", "_clock", "_exhausted", "_left", "_rate")

    def __init__(self, clock: Clock, *, rate: float, burst: float) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._at = clock.monotonic()
        self._exhausted = False

    @property
    def allows(self) -> bool:
        """Whether one more may pass."""
        now = self._clock.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate)
        self._at = now
        self._exhausted = self._left < (self._rate if self._exhausted else 1.0)
        return not self._exhausted

    def spend(self) -> None:
        self._left -= 1.0

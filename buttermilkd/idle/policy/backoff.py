"""Waits that grow where people keep coming back: many short suspensions help nobody."""

from dataclasses import dataclass, replace

from buttermilkd.idle.policy.readings import Reading, Signal
from buttermilkd.idle.policy.wording import count

HOUR = 3600.0
MOST = 2**10
"""A factor that lengthens every wait to its bound."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """What is remembered of suspensions. Times are monotonic seconds."""

    factor: int = 1
    """How many times as long as configured the waits are."""
    recent: tuple[float, ...] = ()
    """When jobs were suspended, in the last hour."""
    changed_at: float = float("-inf")
    """When the factor changed last."""

    def step(self, now: float, *, suspended: bool, limit: int) -> "Backoff":
        """After a look at which jobs were suspended, or were not.

        More than ``limit`` suspensions within an hour double the waits, and are counted from anew; an hour
        without any halves them again.
        """
        recent = tuple(at for at in self.recent if now - at < HOUR)
        if suspended:
            recent = (*recent, now)
            counted = sum(at > self.changed_at for at in recent)
            if counted > limit and self.factor < MOST:
                return Backoff(self.factor * 2, recent, now)
        elif self.factor > 1 and not recent and now - self.changed_at >= HOUR:
            return Backoff(self.factor // 2, recent, now)
        return self if recent == self.recent else replace(self, recent=recent)


def frequency(backoff: Backoff, limit: int) -> Reading:
    """How often jobs were suspended lately. It delays nothing by itself: the waits are longer already."""
    signal = Signal("frequency", f"over {count(limit, 'suspension')} in an hour", "an hour without any")
    waits = "" if backoff.factor == 1 else f": waits are {backoff.factor} times as long"
    return signal.clear(f"{_lately(backoff)}{waits}")


def lengthened(backoff: Backoff) -> str | None:
    """How much longer than configured the waits are, in words; None where they are not."""
    return None if backoff.factor == 1 else f"{backoff.factor} times as long, after {_lately(backoff)}"


def _lately(backoff: Backoff) -> str:
    return f"{count(len(backoff.recent), 'suspension')} in the last hour"

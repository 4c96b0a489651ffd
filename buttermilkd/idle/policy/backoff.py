"""Waits that grow where people keep coming back: many short suspensions help nobody."""

from dataclasses import dataclass, replace

from buttermilkd.idle.policy.readings import Reading, Signal
from buttermilkd.idle.policy.wording import count

HOUR = 3600.0
MOST = 2**10
"""A factor that lengthens every wait to its bound."""


@dataclass(frozen=True, slots=True)
class Suspended:
    """One suspension."""

    at: float
    ran_for: float
    """Seconds for which the jobs had been running."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """What is remembered of suspensions. Times are monotonic seconds."""

    factor: int = 1
    """How many times as long as configured the waits are."""
    recent: tuple[Suspended, ...] = ()
    """Those of the last hour."""
    changed_at: float = float("-inf")
    """When the factor changed last."""

    def step(self, now: float, *, ran_for: float | None = None, limit: int, wait: float) -> "Backoff":
        """After a look at which jobs were stopped that had run for so many seconds, or none (None).

        ``wait`` is the present wait, in seconds.

        More than ``limit`` suspensions within an hour double the waits, and are counted from anew, where waiting
        twice as long would have spared most of them: it does not where whoever comes each ten minutes comes
        anyway. An hour without one that a longer wait would spare halves them again.
        """
        recent = tuple(one for one in self.recent if now - one.at < HOUR)
        if ran_for is not None:
            recent = (*recent, Suspended(now, ran_for))
            counted = [one for one in recent if one.at > self.changed_at]
            spared = sum(one.ran_for < wait for one in counted)
            if len(counted) > limit and 2 * spared > len(counted) and self.factor < MOST:
                return replace(self, factor=self.factor * 2, recent=recent, changed_at=now)
        elif (
            self.factor > 1
            and now - self.changed_at >= HOUR
            and not any(one.ran_for < wait for one in recent)
        ):
            return replace(self, factor=self.factor // 2, recent=recent, changed_at=now)
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

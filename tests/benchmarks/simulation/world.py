"""What really happens on a machine: people, web servers, other work. Times are seconds from the beginning."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

BASE_CPU = 0.03
"""What a quiet machine does by itself."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """From ``start`` to ``end``."""

    start: float
    end: float


@dataclass(frozen=True, slots=True, order=True)
class Burn:
    """Work of others that uses this share of all CPUs."""

    start: float
    end: float
    share: float


@dataclass
class World:
    """One trace."""

    name: str
    seconds: float
    requests: list[Span] = field(default_factory=list)
    sockets: list[Span] = field(default_factory=list)
    """Websockets, from their opening to their end."""
    messages: list[float] = field(default_factory=list)
    """Of users on their websockets."""
    burns: list[Burn] = field(default_factory=list)
    hangs: list[Span] = field(default_factory=list)
    """In which the web server reports nothing."""

    def __post_init__(self) -> None:
        self.requests.sort()
        self.sockets.sort()
        self.messages.sort()

    @cached_property
    def activity(self) -> list[Span]:
        """People's doings: a request for as long as it takes, an opened websocket and a message for a moment."""
        moments = [*(socket.start for socket in self.sockets), *self.messages]
        return merged([*self.requests, *(Span(at, at) for at in moments)])

    @cached_property
    def _cpu(self) -> tuple[list[float], list[float], list[float]]:
        """Where the use of CPU changes, its share from there on, and its integral up to there."""
        changes: dict[float, float] = {0.0: BASE_CPU}
        for burn in self.burns:
            changes[burn.start] = changes.get(burn.start, 0.0) + burn.share
            changes[burn.end] = changes.get(burn.end, 0.0) - burn.share
        at = sorted(changes)
        shares = list(accumulate(changes[one] for one in at))
        parts = (share * (end - start) for share, start, end in zip(shares, at, at[1:], strict=False))
        return at, shares, [0.0, *accumulate(parts)]

    def cpu(self, start: float, end: float) -> float:
        """The mean share of CPU that others use in between."""
        if end <= start:
            return self.cpu_at(start)
        return min(1.0, max(0.0, (self._used(end) - self._used(start)) / (end - start)))

    def cpu_at(self, at: float) -> float:
        times, shares, _ = self._cpu
        return min(1.0, max(0.0, shares[bisect_right(times, at) - 1]))

    def _used(self, at: float) -> float:
        times, shares, sums = self._cpu
        place = bisect_right(times, at) - 1
        return sums[place] + shares[place] * (at - times[place])


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time without overlaps."""
    found: list[Span] = []
    for span in sorted(spans):
        if found and span.start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def total(spans: Sequence[Span]) -> float:
    return sum(span.end - span.start for span in spans)


class Overlaps:
    """How long each of many spans, asked for in the order of their starts, is met by others that do not overlap."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self._spans = spans
        self._starts = [span.start for span in spans]

    def seconds(self, asked: Span) -> float:
        place = max(0, bisect_right(self._starts, asked.start) - 1)
        met = 0.0
        while place < len(self._spans) and self._spans[place].start < asked.end:
            one = self._spans[place]
            met += max(0.0, min(one.end, asked.end) - max(one.start, asked.start))
            place += 1
        return met

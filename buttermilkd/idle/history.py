"""What became of the machine's time, summed up by quarters of an hour and by cause."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from buttermilkd.clock import iso
from buttermilkd.idle.gate import Look
from buttermilkd.messages import HistoryShareView, HistorySliceView, HistoryView

QUARTER = 900
"""Seconds of one slice."""
HARVESTED = "harvested"
_HOUR = 3600.0


class Clock(Protocol):
    """What a history needs of time, in seconds."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Slice:
    """How much of one quarter was spent in one state for one cause."""

    quarter: int
    """When it began: seconds since the epoch, a multiple of ``QUARTER``."""
    state: str
    cause: str
    seconds: float
    harvested: float = 0.0
    """Seconds in which jobs ran."""
    suspensions: int = 0


class History:
    """Adds up what each look says, until somebody takes it away to keep it.

    The time from one look to the next belongs to what the first one said.
    """

    def __init__(self, clock: Clock, harvesting: Callable[[], bool]) -> None:
        """``harvesting``: whether a job runs now, and is not suspended."""
        self._clock = clock
        self._harvesting = harvesting
        self._last: tuple[float, str, str, bool] | None = None
        self._slices: dict[tuple[int, str, str], Slice] = {}

    def note(self, look: Look) -> None:
        """Take in a look, at the moment that it was taken."""
        self._add_up(look.at)
        verdict = look.verdict
        self._last = (look.at, verdict.state, verdict.cause, self._harvesting())
        if look.actions.suspending:
            self._add(self._clock.now(), verdict.state, verdict.cause, 0.0, harvested=False, suspensions=1)

    def _add_up(self, now: float) -> None:
        if self._last is None:
            return
        at, state, cause, harvested = self._last
        began = self._clock.now() - (now - at)
        self._add(began, state, cause, max(0.0, now - at), harvested=harvested)
        self._last = (now, state, cause, harvested)

    def _add(
        self, at: float, state: str, cause: str, seconds: float, *, harvested: bool, suspensions: int = 0
    ) -> None:
        if not seconds and not suspensions:
            return
        quarter = int(at // QUARTER) * QUARTER
        new = Slice(quarter, state, cause, seconds, seconds if harvested else 0.0, suspensions)
        known = self._slices.get((quarter, state, cause))
        self._slices[quarter, state, cause] = new if known is None else _sum(known, new)

    def pending(self) -> list[Slice]:
        """What has been added up since it was taken away last."""
        self._add_up(self._clock.monotonic())
        return list(self._slices.values())

    def take(self) -> list[Slice]:
        """The same, and forget it."""
        slices = self.pending()
        self._slices = {}
        return slices

    def put_back(self, slices: Iterable[Slice]) -> None:
        """Remember again what was taken and could not be kept."""
        both = merged([*slices, *self._slices.values()])
        self._slices = {(one.quarter, one.state, one.cause): one for one in both}


def merged(slices: Iterable[Slice]) -> list[Slice]:
    """One slice for each quarter, state and cause, oldest first."""
    sums: dict[tuple[int, str, str], Slice] = {}
    for one in slices:
        key = one.quarter, one.state, one.cause
        before = sums.get(key)
        sums[key] = one if before is None else _sum(before, one)
    return [sums[key] for key in sorted(sums)]


def _sum(one: Slice, other: Slice) -> Slice:
    return replace(
        one,
        seconds=one.seconds + other.seconds,
        harvested=one.harvested + other.harvested,
        suspensions=one.suspensions + other.suspensions,
    )


def history_view(slices: Sequence[Slice], since: float, until: float) -> HistoryView:
    """What these slices come to, for people and programs. Times are seconds since the epoch."""
    seconds = sum(one.seconds for one in slices)
    suspensions = sum(one.suspensions for one in slices)
    return HistoryView(
        since=iso(since) or "",
        until=iso(until) or "",
        seconds=round(seconds, 1),
        harvested_share=_share(sum(one.harvested for one in slices), seconds),
        suspensions=suspensions,
        suspensions_per_hour=round(suspensions / seconds * _HOUR, 2) if seconds else 0.0,
        most_suspensions=_most_within_an_hour(slices),
        shares=_shares(slices, seconds),
        slices=[
            HistorySliceView(
                at=iso(one.quarter) or "",
                state=one.state,
                cause=one.cause,
                seconds=round(one.seconds, 1),
                harvested_seconds=round(one.harvested, 1),
                suspensions=one.suspensions,
            )
            for one in slices
        ],
    )


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _shares(slices: Iterable[Slice], seconds: float) -> list[HistoryShareView]:
    """What the time went to, most first."""
    sums: dict[tuple[str, str], float] = {}
    for one in slices:
        sums[HARVESTED, HARVESTED] = sums.get((HARVESTED, HARVESTED), 0.0) + one.harvested
        sums[one.state, one.cause] = sums.get((one.state, one.cause), 0.0) + one.seconds - one.harvested
    ordered = sorted(sums.items(), key=lambda item: -item[1])
    return [
        HistoryShareView(state=state, cause=cause, seconds=round(spent, 1), share=_share(spent, seconds))
        for (state, cause), spent in ordered
        if spent > 0
    ]


def _most_within_an_hour(slices: Iterable[Slice]) -> int:
    by_quarter: dict[int, int] = {}
    for one in slices:
        by_quarter[one.quarter] = by_quarter.get(one.quarter, 0) + one.suspensions
    hours = (sum(by_quarter.get(start + n * QUARTER, 0) for n in range(4)) for start in by_quarter)
    return max(hours, default=0)

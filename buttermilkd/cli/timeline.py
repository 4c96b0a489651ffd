"""What became of the machine's time, as a timeline: a line for each day, a character for each half hour."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import click

from buttermilkd.cli.times import span
from buttermilkd.messages import HistorySliceView, HistoryView
from buttermilkd.plurals import count

CELL = timedelta(minutes=30)
CELLS = 48
Cell = dict[tuple[str, str], float]
"""Seconds of a half hour by state and cause."""
_LABEL = 12
_WORDS_WIDTH = 44
"""Of the legend, at least: most words fit, so that two legends one over the other are aligned."""
_HOUR = 3600
_LETTERS = {
    "requests": "R",
    "websockets": "W",
    "departures": "D",
    "cpu": "C",
    "steal": "S",
    "cpu pressure": "P",
    "io pressure": "I",
    "memory pressure": "M",
    "memory": "M",
    "suspension": "Z",
}
_WORDS = {
    "departures": "a web server that went away",
    "cpu": "CPU used by others",
    "steal": "CPU taken by the host",
    "cpu pressure": "waiting for CPU",
    "io pressure": "waiting for disks",
    "memory pressure": "waiting for memory",
    "memory": "little memory left",
    "operator": "paused by the operator",
    "schedule": "outside the schedule",
    "suspension": "a suspension",
    "reporters": "a web server that is silent",
    "start": "just started",
    "clock": "unobserved, or the clock was set",
}
_COLORS = {"harvested": "green", "idle": "cyan", "busy": "red", "cooling": "yellow", "held": "magenta"}


RAN = "jobs ran"


class Look(NamedTuple):
    """How one thing that time went to is drawn and named."""

    symbol: str
    color: str | None
    words: str


def look(state: str, cause: str, *, blocks: bool, harvested: str = RAN) -> Look:
    """``blocks``: whether the terminal can print block characters; ``harvested``: what jobs did in that time."""
    color = _COLORS.get(state)
    words = _WORDS.get(cause, cause)
    letter = _LETTERS.get(cause, "?")
    match state:
        case "harvested":
            return Look("█" if blocks else "#", color, harvested)
        case "idle":
            return Look("░" if blocks else ".", color, "idle, nothing to run")
        case "busy":
            return Look(letter, color, words)
        case "cooling":
            return Look(letter.lower(), color, f"{_dots(blocks=blocks)} and the time after: {words}")
        case "held":
            return Look("H" if cause == "operator" else "X", color, words)
        case _:
            return Look("?", color, f"not known: {words}")


def _dots(*, blocks: bool) -> str:
    return "…" if blocks else "..."


def timeline(view: HistoryView, *, blocks: bool, harvested: str = RAN) -> list[str]:
    """The lines of a history: days, what the time went to, and sums. Times are local."""
    if not view["slices"]:
        return ["nothing is known yet: the history begins with the daemon's first minutes"]
    cells: dict[datetime, Cell] = {}
    for one in view["slices"]:
        cell = cells.setdefault(_cell_of(one), {})
        for key, seconds in _parts(one):
            cell[key] = cell.get(key, 0.0) + seconds
    legend = _legend(view, blocks=blocks, harvested=harvested)
    return [*_days(cells, blocks=blocks), "", *legend, "", _sums(view)]


def _days(cells: Mapping[datetime, Cell], *, blocks: bool) -> Iterator[str]:
    """The hours, then each day of which something is known; one line for all the days between two of them."""
    yield " " * _LABEL + "".join(f"{hour:02d}".ljust(6) for hour in range(0, 24, 3)).rstrip()
    days = sorted({at.date() for at in cells})
    # A clock that was set may have left years between two of them.
    form = "%a %d %b" if days[0].year == days[-1].year else "%d %b %Y"
    for before, day in zip([days[0], *days], days, strict=False):
        if (day - before).days > 1:
            yield _dots(blocks=blocks)
        start = datetime.combine(day, datetime.min.time())
        marks = (_mark(cells.get(start + n * CELL), blocks=blocks) for n in range(CELLS))
        yield f"{day:{form}}".ljust(_LABEL) + "".join(marks).rstrip()


def _cell_of(one: HistorySliceView) -> datetime:
    at = datetime.fromisoformat(one["at"]).astimezone().replace(tzinfo=None)
    return at - timedelta(minutes=at.minute % 30, seconds=at.second, microseconds=at.microsecond)


def _parts(one: HistorySliceView) -> Iterable[tuple[tuple[str, str], float]]:
    yield ("harvested", "harvested"), one["harvested_seconds"]
    yield (one["state"], one["cause"]), one["seconds"] - one["harvested_seconds"]


def _mark(cell: Cell | None, *, blocks: bool) -> str:
    """What most of a half hour went to."""
    if not cell:
        return " "
    state, cause = max(cell, key=lambda key: cell[key])
    drawn = look(state, cause, blocks=blocks)
    return click.style(drawn.symbol, fg=drawn.color)


def _legend(view: HistoryView, *, blocks: bool, harvested: str) -> Iterator[str]:
    rows = []
    for share in view["shares"]:
        drawn = look(share["state"], share["cause"], blocks=blocks, harvested=harvested)
        percent, lasted = f"{share['share'] * 100:.1f} %", span(share["seconds"])
        if (percent, lasted) != ("0.0 %", "0 s"):
            rows.append((drawn, percent, lasted))
    width = max([_WORDS_WIDTH, *(len(drawn.words) for drawn, _, _ in rows)])
    for drawn, percent, lasted in rows:
        yield f"{click.style(drawn.symbol, fg=drawn.color)} {drawn.words:<{width}}  {percent:>7}   {lasted}"


def _sums(view: HistoryView) -> str:
    suspensions = count(view["suspensions"], "suspension")
    told = f"harvested {view['harvested_share'] * 100:.1f} % of {span(view['seconds'])}; {suspensions}"
    if not has_rates(view):
        return told
    most = f"at most {view['most_suspensions']:,} within one hour"
    return f"{told}, {view['suspensions_per_hour']:.2f} an hour, {most}"


def has_rates(view: HistoryView) -> bool:
    """Whether enough is known to say how often something happens in an hour."""
    return view["seconds"] >= _HOUR

"""What became of the machine's time, as a timeline: a line for each day, a character for each half hour."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import click

from buttermilkd.cli.times import span
from buttermilkd.messages import HistorySliceView, HistoryView
from buttermilkd.plurals import count

CELL = timedelta(minutes=30)
CELLS = 48
_LABEL = 12
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


class Look(NamedTuple):
    """How one thing that time went to is drawn and named."""

    symbol: str
    color: str | None
    words: str


def look(state: str, cause: str, *, blocks: bool) -> Look:
    """``blocks``: whether the terminal can print block characters."""
    color = _COLORS.get(state)
    words = _WORDS.get(cause, cause)
    letter = _LETTERS.get(cause, "?")
    match state:
        case "harvested":
            return Look("█" if blocks else "#", color, "jobs ran")
        case "idle":
            return Look("░" if blocks else ".", color, "idle, nothing to run")
        case "busy":
            return Look(letter, color, words)
        case "cooling":
            return Look(letter.lower(), color, f"… and the time after: {words}")
        case "held":
            return Look("H" if cause == "operator" else "X", color, words)
        case _:
            return Look("?", color, f"not known: {words}")


def timeline(view: HistoryView, *, blocks: bool) -> list[str]:
    """The lines of a history: days, what the time went to, and sums. Times are local."""
    if not view["slices"]:
        return ["nothing is known yet: the history begins with the daemon's first minutes"]
    cells: dict[datetime, dict[tuple[str, str], float]] = {}
    for one in view["slices"]:
        cell = cells.setdefault(_cell_of(one), {})
        for key, seconds in _parts(one):
            cell[key] = cell.get(key, 0.0) + seconds
    days = sorted({at.date() for at in cells})
    hours = "".join(f"{hour:02d}".ljust(6) for hour in range(0, 24, 3))
    lines = [" " * _LABEL + hours.rstrip()]
    for number in range((days[-1] - days[0]).days + 1):
        day = datetime.combine(days[0] + timedelta(days=number), datetime.min.time())
        marks = (_mark(cells.get(day + n * CELL), blocks=blocks) for n in range(CELLS))
        lines.append(f"{day:%a %d %b}".ljust(_LABEL) + "".join(marks).rstrip())
    return [*lines, "", *_legend(view, blocks=blocks), "", _sums(view)]


def _cell_of(one: HistorySliceView) -> datetime:
    at = datetime.fromisoformat(one["at"]).astimezone().replace(tzinfo=None)
    return at - timedelta(minutes=at.minute % 30, seconds=at.second, microseconds=at.microsecond)


def _parts(one: HistorySliceView) -> Iterable[tuple[tuple[str, str], float]]:
    yield ("harvested", "harvested"), one["harvested_seconds"]
    yield (one["state"], one["cause"]), one["seconds"] - one["harvested_seconds"]


def _mark(cell: Mapping[tuple[str, str], float] | None, *, blocks: bool) -> str:
    """What most of a half hour went to."""
    if not cell:
        return " "
    state, cause = max(cell, key=lambda key: cell[key])
    drawn = look(state, cause, blocks=blocks)
    return click.style(drawn.symbol, fg=drawn.color)


def _legend(view: HistoryView, *, blocks: bool) -> list[str]:
    lines = []
    for share in view["shares"]:
        drawn = look(share["state"], share["cause"], blocks=blocks)
        symbol = click.style(drawn.symbol, fg=drawn.color)
        percent = f"{share['share'] * 100:.1f} %"
        lines.append(f"{symbol} {drawn.words:<44} {percent:>7}   {span(share['seconds'])}")
    return lines


def _sums(view: HistoryView) -> str:
    return (
        f"harvested {view['harvested_share'] * 100:.1f} % of {span(view['seconds'])}; {count(view['suspensions'], 'suspension')}, "
        f"{view['suspensions_per_hour']:.2f} an hour, at most {view['most_suspensions']:,} within one hour"
    )

"""Times and durations as people write and read them."""

import re
import time
from datetime import datetime

import click

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")


def duration(text: str) -> float:
    """Seconds of a number with a unit, such as ``30s``.

    Raises:
        click.BadParameter: it is none.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise click.BadParameter(f"{text!r} is no duration; write a number and ms, s, m, h or d, such as 30s")
    return float(match[1]) * _UNITS[match[2]]


class Deadline:
    """A moment that comes after some seconds, or, for None, never."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds  # noqa: TID251 - the CLI has no clock port

    def left(self, most: float) -> float:
        """Seconds left, ``most`` at the most; 0 once it has come."""
        if self._at is None:
            return most
        return min(most, max(0.0, self._at - time.monotonic()))  # noqa: TID251 - as above


def span(seconds: float) -> str:
    """A duration in its two largest units: ``41 s``, ``12 min``, ``3 h 5 min``, ``2 d 4 h``."""
    whole = max(0, round(seconds))
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{whole} s"


def ago(at: str | None) -> str:
    """How long ago an API time was; ``-`` for none."""
    if at is None:
        return "-"
    return f"{span(time.time() - _seconds(at))} ago"  # noqa: TID251 - as above


def until(at: str) -> str:
    """How long it is until an API time."""
    return span(_seconds(at) - time.time())  # noqa: TID251 - as above


def clock_time(at: str | None) -> str:
    """The local time of day of an API time; of now for None."""
    moment = datetime.now().astimezone() if at is None else datetime.fromisoformat(at).astimezone()  # noqa: TID251
    return f"{moment:%H:%M:%S}"


def between(start: str | None, end: str | None) -> str:
    """How long something took, or has taken up to now; ``-`` where it has not begun."""
    if start is None:
        return "-"
    stop = time.time() if end is None else _seconds(end)  # noqa: TID251 - as above
    return span(stop - _seconds(start))


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()

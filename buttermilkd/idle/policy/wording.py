"""Numbers in words, and the one sentence that every command, log line and status shows."""

import math

from buttermilkd.plurals import count

__all__ = ["count", "countdown", "duration", "percent"]

_MINUTES_FROM = 180
_HOURS_FROM = 2 * 3600
_DAYS_FROM = 48 * 3600


def duration(seconds: float) -> str:
    """``0.4 s``, ``41 s``, ``12 min``, ``5 h``, ``3 d``; always rounded down, as ages are told."""
    if seconds < 1:
        return f"{math.floor(max(0.0, seconds) * 10) / 10:.1f} s"
    if seconds < _MINUTES_FROM:
        return f"{math.floor(seconds)} s"
    if seconds < _HOURS_FROM:
        return f"{math.floor(seconds / 60)} min"
    if seconds < _DAYS_FROM:
        return f"{math.floor(seconds / 3600)} h"
    return f"{math.floor(seconds / 86400)} d"


def countdown(seconds: float) -> str:
    """The same for what is still to wait, rounded up: nobody is told that it is over before it is."""
    if seconds < _MINUTES_FROM:
        return f"{math.ceil(max(0.0, seconds))} s"
    if seconds < _HOURS_FROM:
        return f"{math.ceil(seconds / 60)} min"
    return f"{math.ceil(seconds / 3600)} h"


def percent(share: float) -> str:
    """``62 %`` for 0.62."""
    return f"{round(share * 100)} %"

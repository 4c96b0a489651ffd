"""Schedule windows: the times of day and days of the week at which jobs may run."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from buttermilkd.config.values import refusal, shown

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(DAYS)
_TIME = r"([01]\d|2[0-3]):([0-5]\d)"
_WINDOW = re.compile(
    rf"(?:(?P<first>{_DAY})(?:-(?P<last>{_DAY}))?)?\s*(?:(?P<start>{_TIME})-(?P<end>{_TIME}|24:00))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Window:
    """Some days of the week, and a part of each. One that passes midnight belongs to the day it begins on."""

    written: str
    """As it stands in the configuration."""
    days: frozenset[int]
    """Days it begins on; 0 is Monday."""
    start: int
    """Minutes after midnight."""
    end: int
    """Minutes after midnight, exclusive; not after ``start`` where the window passes midnight."""

    def contains(self, local: datetime) -> bool:
        """Whether this time of the machine's own zone lies in the window."""
        minute = local.hour * 60 + local.minute
        today = local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= minute < self.end
        yesterday = (today - 1) % 7
        return (today in self.days and minute >= self.start) or (yesterday in self.days and minute < self.end)

    def opens_after(self, local: datetime) -> datetime:
        """When it begins the next time, in the zone of ``local``; a change to summer time until then is left out."""
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        begins = (midnight + timedelta(days=days, minutes=self.start) for days in range(8))
        return next(at for at in begins if at > local and at.weekday() in self.days)

    def __str__(self) -> str:
        return self.written


def parse_windows(written: object) -> tuple[Window, ...]:
    """The windows in a list of strings such as ``"22:00-07:00"``, ``"Sat"`` or ``"Mon-Fri 20:00-06:00"``.

    Raises:
        ValueError: it is no such list; the message shows the forms.
    """
    if not isinstance(written, list):
        raise refusal('a list such as ["22:00-07:00", "Sat", "Mon-Fri 20:00-06:00"]', written)
    return tuple(_window(item) for item in written)


def _window(written: object) -> Window:
    match = _WINDOW.fullmatch(written.strip()) if isinstance(written, str) else None
    if not match or not match[0]:
        raise ValueError(f"holds {shown(written)}, {_fault(written)}")
    start, end = _minutes(match["start"] or "00:00"), _minutes(match["end"] or "24:00")
    if start == end:
        raise ValueError(f"holds {match[0]!r}, which ends when it begins")
    return Window(match[0], _days(match["first"], match["last"]), start, end)


def _fault(written: object) -> str:
    """What is wrong with an item that is no window."""
    for word in re.findall(r"[^\s-]+", written) if isinstance(written, str) else ():
        if word.isalpha() and word not in DAYS:
            return f"in which {shown(word)} is no day of the week: write {', '.join(DAYS[:-1])} or {DAYS[-1]}"
        if ":" in word and not re.fullmatch(rf"{_TIME}|24:00", word, re.ASCII):
            return f"in which {shown(word)} is no time of day: write 00:00 to 24:00"
    return 'which is no window such as "22:00-07:00", "Sat" or "Mon-Fri 20:00-06:00"'


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    begin = DAYS.index(first)
    length = (DAYS.index(last or first) - begin) % 7
    return frozenset((begin + offset) % 7 for offset in range(length + 1))

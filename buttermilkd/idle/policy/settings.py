"""What the policy is configured with; the configuration's ``[idle]`` table has this shape."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from buttermilkd.idle.policy.latch import Thresholds

LONGEST_QUIET = 15 * 60.0
"""Seconds beyond which frequent suspensions do not lengthen the waits."""


class Window(Protocol):
    """A time of the week at which jobs may run. ``str`` gives it as it was configured."""

    def contains(self, local: datetime) -> bool: ...

    def opens_after(self, local: datetime) -> datetime:
        """When it begins the next time, in the same zone."""


class Settings(Hashable, Protocol):
    """The keys of the ``[idle]`` table; times in seconds, shares from 0 to 1.

    Each measure of the machine has four more, which ``thresholds`` reads: ``…_busy``, ``…_busy_for``,
    ``…_clear`` and ``…_clear_for``.
    """

    @property
    def quiet_for(self) -> float: ...
    @property
    def start_after(self) -> float: ...
    @property
    def websocket_start_after(self) -> float: ...
    @property
    def websockets(self) -> Literal["messages", "open"]: ...
    @property
    def without_reporters(self) -> Literal["system", "busy"]: ...
    @property
    def allow(self) -> Sequence[Window]: ...
    @property
    def settle_for(self) -> float: ...
    @property
    def suspend_min(self) -> float: ...
    @property
    def suspensions_per_hour(self) -> int: ...


def thresholds(settings: Settings, measure: str) -> Thresholds:
    """The four keys of one measure, such as ``steal``."""
    return Thresholds(
        busy=getattr(settings, f"{measure}_busy"),
        busy_for=getattr(settings, f"{measure}_busy_for"),
        clear=getattr(settings, f"{measure}_clear"),
        clear_for=getattr(settings, f"{measure}_clear_for"),
    )


@dataclass(frozen=True, slots=True)
class Patience:
    """The waits after people's activity as they hold now, in seconds: see ``Backoff``."""

    quiet_for: float
    start_after: float
    websocket_start_after: float

    @classmethod
    def of(cls, settings: Settings, factor: int) -> "Patience":
        quiet = _lengthened(settings.quiet_for, factor)
        start = max(quiet, _lengthened(settings.start_after, factor))
        return cls(quiet, start, max(start, settings.websocket_start_after))


def _lengthened(seconds: float, factor: int) -> float:
    return max(seconds, min(LONGEST_QUIET, seconds * factor))

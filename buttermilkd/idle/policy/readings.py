"""One signal of the idleness decision, and what it says at one moment."""

from dataclasses import dataclass
from enum import IntEnum


class Level(IntEnum):
    """What a signal, and in the end the verdict, says. The highest of all signals decides."""

    CLEAR = 0
    COOLING = 1
    """Nothing is in the way any more, but not for long enough."""
    UNKNOWN = 2
    BUSY = 3
    HELD = 4
    """An operator or the schedule wants nothing to start."""


class Stops(IntEnum):
    """Which running jobs a signal stops, where their flows do not say that they finish."""

    NONE = 0
    UNPROTECTED = 1
    """Those of which idle priority is not proven to keep out of the web servers' way."""
    ALL = 2


@dataclass(frozen=True, slots=True)
class Wait:
    """Until when cooling lasts if nothing else happens, in monotonic seconds."""

    resumes_at: float
    """Suspended jobs may go on."""
    starts_at: float
    """New jobs may start."""
    after_departure: bool = False
    """Somebody is waited for who is expected to come back."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What is watched, and its thresholds in words."""

    name: str
    busy_at: str
    clear_at: str
    stops: Stops = Stops.NONE
    """What it stops while busy, and while cooling until suspended jobs may go on."""

    def clear(self, value: str, fact: str | None = None, timer: str | None = None) -> "Reading":
        """Nothing is in the way; ``fact`` is worth telling then."""
        return Reading(self, value, Level.CLEAR, fact=fact, timer=timer)

    def missing(self, why: str) -> "Reading":
        """This machine does not tell it; nothing is decided by it."""
        return Reading(self, why, Level.CLEAR, is_missing=True)

    def blocking(
        self, level: Level, value: str, reason: str, wait: Wait | None = None, timer: str | None = None
    ) -> "Reading":
        """No job may start; ``reason`` says why with its numbers; without ``wait`` nobody can foresee how long."""
        stops = Stops.NONE if level is Level.UNKNOWN else self.stops
        return Reading(self, value, level, reason=reason, wait=wait, timer=timer, stops=stops)


@dataclass(frozen=True, slots=True)
class Reading:
    """A signal's value and what it says."""

    signal: Signal
    value: str
    level: Level
    reason: str | None = None
    fact: str | None = None
    wait: Wait | None = None
    timer: str | None = None
    """How far it has come on its way to the other side of a threshold."""
    is_missing: bool = False
    stops: Stops = Stops.NONE

    def stops_at(self, now: float) -> Stops:
        """Which running jobs it stops at this moment."""
        if self.level is Level.COOLING and self.wait is not None and now >= self.wait.resumes_at:
            return Stops.NONE
        return self.stops

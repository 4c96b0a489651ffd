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


@dataclass(frozen=True, slots=True)
class Wait:
    """Until when cooling lasts if nothing else happens, in monotonic seconds."""

    resumes_at: float
    """Suspended jobs may go on."""
    starts_at: float
    """New jobs may start."""
    countdown: str = "new jobs start in"
    """The words before the seconds that are left."""


@dataclass(frozen=True, slots=True)
class Signal:
    """What is watched, and its thresholds in words."""

    name: str
    busy_at: str
    clear_at: str

    def clear(self, value: str, fact: str | None = None) -> "Reading":
        """Nothing is in the way; ``fact`` is worth telling then."""
        return Reading(self, value, Level.CLEAR, fact=fact)

    def blocking(self, level: Level, value: str, reason: str, wait: Wait | None = None) -> "Reading":
        """No job may start; ``reason`` says why with its numbers; without ``wait`` nobody can foresee how long."""
        return Reading(self, value, level, reason=reason, wait=wait)


@dataclass(frozen=True, slots=True)
class Reading:
    """A signal's value and what it says."""

    signal: Signal
    value: str
    level: Level
    reason: str | None = None
    fact: str | None = None
    wait: Wait | None = None

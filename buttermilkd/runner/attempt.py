"""One accepted job, until its end has been told."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from buttermilkd.jobs import Ending, Job, Outcome
from buttermilkd.runner.timers import Timer, Timers

Ended = Callable[[Job, Outcome], None]


class Listener(Protocol):
    """Hears what one attempt prints."""

    def write(self, data: bytes, *, errors: bool) -> None:
        """Something was printed, on standard error or on standard output."""

    def finish(self) -> None:
        """Nothing more is printed."""


Listen = Callable[[Job], Listener]
"""Makes the listener of an attempt, when it first prints something."""

DISTURBED_FOR = 60.0
"""Seconds after a suspension for which what fails is not held against a job."""
_CAUSE_LIMIT = 200
_MINUTE = 60


@dataclass(slots=True, eq=False)
class Attempt:
    """A job that was handed to the runner."""

    job: Job
    ended: Ended
    """Called once, when it has ended."""
    listen: Listen | None = None
    """None: nobody listens."""
    listener: Listener | None = None
    asked: Ending | None = None
    """How it shall end, once it was told to stop."""
    started_at: float | None = None
    """Wall-clock seconds; None while it has not begun."""
    pid: int | None = None
    timed_out: bool = False
    """It is being ended since it has used up its running time."""
    suspended_at: float | None = None
    """Monotonic seconds; None while it is not suspended."""
    resumed_at: float | None = None
    """When its last suspension ended."""

    @property
    def is_ending(self) -> bool:
        """It was told to stop: what it still does is its clean-up, which nothing may hold up."""
        return self.asked is not None or self.timed_out

    def printed(self, data: bytes, *, errors: bool = False) -> None:
        """It has printed something, on standard error or on standard output."""
        if self.listen is not None and data:
            if self.listener is None:
                self.listener = self.listen(self.job)
            self.listener.write(data, errors=errors)

    def finish_printing(self) -> None:
        if self.listener is not None:
            self.listener.finish()

    def suspend(self, now: float) -> None:
        self.suspended_at = now if self.suspended_at is None else self.suspended_at

    def resume(self, now: float) -> None:
        if self.suspended_at is not None:
            self.suspended_at, self.resumed_at = None, now

    def is_disturbed(self, now: float) -> bool:
        """Whether a suspension may be to blame for what happens to it at this moment, such as a lost connection."""
        if self.suspended_at is not None:
            return True
        return self.resumed_at is not None and now - self.resumed_at < DISTURBED_FOR


class Allowance:
    """The running time that an attempt may use; time during which it is suspended does not count."""

    __slots__ = ("_expired", "_left", "_suspended", "_timer", "_timers")

    def __init__(self, timers: Timers, seconds: float | None, expired: Callable[[], None]) -> None:
        self._timers = timers
        self._left = seconds
        self._expired = expired
        self._timer: Timer | None = None
        self._suspended = False

    def start(self) -> None:
        if self._left is not None and not self._suspended and self._timer is None:
            self._timer = self._timers.after(self._left, self._expired)

    def suspend(self) -> None:
        self._suspended = True
        if self._timer is not None:
            self._left = self._timers.left(self._timer)
            self._timer.cancel()
            self._timer = None

    def resume(self, *, started: bool) -> None:
        self._suspended = False
        if started:
            self.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def cause_of(kind: str, line: str | None) -> str:
    """A cause that can be grouped: an exit status or exception type, and what it says, cut to 200 characters."""
    return (f"{kind}: {line}" if line else kind)[:_CAUSE_LIMIT]


def timed_out(seconds: float) -> str:
    """``timed out after 30m``."""
    for unit, size in (("h", _MINUTE * _MINUTE), ("m", _MINUTE)):
        if seconds >= size and seconds % size == 0:
            return f"timed out after {seconds / size:g}{unit}"
    return f"timed out after {seconds:g}s"

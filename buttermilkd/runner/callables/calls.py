"""Calls in a worker: what is known of each, how long they take, and what their ends mean."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from buttermilkd.jobs import Ending, Outcome
from buttermilkd.runner.attempt import Allowance, Attempt, cause_of, timed_out
from buttermilkd.runner.launcher.process import Exit, signal_name
from buttermilkd.runner.timers import Timer, Timers

_QUEUED_SECONDS = 0.005
"""How much predicted work may be queued in a worker, so that it never waits for the daemon."""
_QUEUED_MOST = 256
"""Each lot costs a commit to take it and one to record its ends, and many wake-ups, however many jobs it has."""
_WEIGHT_OF_NEWEST = 0.2


class Call:
    """A job that a worker has."""

    def __init__(
        self, attempt: Attempt, timers: Timers, timeout: float | None, time_is_up: Callable[["Call"], None]
    ) -> None:
        self.attempt = attempt
        self.allowance = Allowance(timers, timeout, lambda: time_is_up(self))
        self.printed = b""
        """What it had printed when the worker was last asked."""
        self._timers = timers
        self._timeout = timeout or 0.0
        self._grace: Timer | None = None

    def begin(self, now: float, pid: int | None) -> None:
        """Its time runs from here; ``now`` is wall-clock time."""
        self.attempt.started_at = now
        self.attempt.pid = pid
        self.allowance.start()

    def suspend(self, now: float) -> None:
        """Its time stands still; ``now`` is monotonic, here and below."""
        self.attempt.suspend(now)
        self.allowance.suspend()

    def resume(self, now: float) -> None:
        self.attempt.resume(now)
        self.allowance.resume(started=self.attempt.started_at is not None)

    def allow(self, grace: float, overdue: Callable[[], None]) -> None:
        """It was told to stop: ``overdue`` is called in ``grace`` seconds, or when an earlier call has said so."""
        if self._grace is not None:
            if self._timers.left(self._grace) <= grace:
                return
            self._grace.cancel()
        self._grace = self._timers.after(grace, overdue)

    def has_ended(self) -> None:
        """Nothing of it is waited for any more."""
        self.allowance.cancel()
        if self._grace is not None:
            self._grace.cancel()

    def stopped(self, *, log: bytes = b"", killed: bool = False) -> Outcome:
        """Its outcome where it was ended from outside."""
        if self.attempt.asked is not None:
            return Outcome(self.attempt.asked, log=log, killed=killed)
        if self.attempt.timed_out:
            reason = timed_out(self._timeout)
            return Outcome(Ending.FAILED, error=reason, cause=reason, log=log, killed=killed)
        return Outcome(Ending.GIVEN_BACK, log=log)


class Pace:
    """How long calls take: a moving mean that decides how many are queued ahead."""

    def __init__(self) -> None:
        self._mean: float | None = None

    def took(self, seconds: float) -> None:
        mean = seconds if self._mean is None else self._mean
        self._mean = mean + _WEIGHT_OF_NEWEST * (seconds - mean)

    @property
    def depth(self) -> int:
        """How many more than it executes a worker may be given: none while calls are slow or nothing is known."""
        if self._mean is None:
            return 0
        return int(min(_QUEUED_MOST, max(1.0, _QUEUED_SECONDS / max(self._mean, 1e-6)))) - 1


def answered(message: Mapping[str, Any]) -> Outcome:
    """The outcome that a worker's answer describes."""
    return Outcome(
        Ending(message["ending"]),
        result=message.get("result"),
        error=message.get("error"),
        cause=message.get("cause"),
        retry_after=message.get("after"),
        log=message["log"].encode("utf-8", "replace"),
    )


def printed(message: Mapping[str, Any]) -> Iterator[tuple[bytes, bool]]:
    """What the call of this answer printed, in turns; whether each was on standard error."""
    text: str = message["log"]
    if not text:
        return
    start = 0
    for turn, length in enumerate(message.get("turns") or [len(text)]):
        yield text[start : start + length].encode("utf-8", "replace"), bool(turn % 2)
        start += length


def died(end: Exit, errors: str) -> Outcome:
    """The outcome of what a worker had begun when it died by itself; ``errors`` is what it wrote to standard error."""
    if end.status is None:
        cause = end.problem or "worker was never started"
    elif end.status < 0:
        cause = f"worker died: {signal_name(-end.status)}"
    else:
        cause = f"worker exited with status {end.status}"
    error = f"{cause}\n{errors}" if errors else cause
    ending = Ending.INTERRUPTED if end.interrupted else Ending.FAILED
    return Outcome(ending, error=error, cause=cause_of(cause, None))

"""What becomes of jobs that run when people arrive. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from buttermilkd.idle.policy.observations import Jobs
from buttermilkd.idle.policy.readings import Level, Reading, Signal, Stops, Wait
from buttermilkd.idle.policy.wording import countdown, duration


class Stance(StrEnum):
    """What running jobs of one kind do."""

    GO_ON = "go on"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Actions:
    """What the daemon shall do now. It is told again at every look, and carries out what has changed.

    The three kinds are flows' ``on_busy``; those that ``finish`` are never touched.
    """

    start: bool
    """New jobs may start."""
    auto: Stance = Stance.GO_ON
    suspend: Stance = Stance.GO_ON
    requeue: Stance = Stance.GO_ON
    """STOP: end them and give them back."""
    suspending: bool = False
    """Jobs that ran until now are stopped by this very look."""
    memory_is_short: bool = False
    """What has been suspended for long shall make room."""


@dataclass(frozen=True, slots=True)
class Span:
    """What is remembered of the running jobs of one kind. Times are monotonic seconds."""

    stopped_at: float | None = None
    """Since when they are stopped; None: they are not, or there is none."""
    runs_since: float | None = None
    """When the first of them was seen to run since they were stopped the last time."""


@dataclass(frozen=True, slots=True)
class Running:
    """What is remembered of running jobs, by their flows' ``on_busy``."""

    auto: Span = Span()
    suspend: Span = Span()
    requeue: Span = Span()

    @property
    def suspended_since(self) -> float | None:
        """When the suspension began that began last."""
        stopped = (self.auto.stopped_at, self.suspend.stopped_at)
        return max((at for at in stopped if at is not None), default=None)


def suspension(running: Running, watched: Sequence[Reading], least: float, now: float) -> Reading:
    """What has been suspended stays so for a while, also when nothing else is in its way any more."""
    least_words = countdown(least)
    signal = Signal("suspension", f"suspended less than {least_words} ago", f"suspended for {least_words}")
    since = running.suspended_since
    if since is None:
        return signal.clear("none")
    value = f"jobs suspended {duration(now - since)} ago"
    if now - since >= least:
        return signal.clear(value)
    ends_at = since + least
    others = any(reading.stops_at(now) for reading in watched)
    reason = "" if others else f"{value}, for at least {least_words}"
    return signal.blocking(Level.COOLING, value, reason, Wait(ends_at, ends_at))


def step(
    before: Running,
    readings: Sequence[Reading],
    jobs: Jobs,
    now: float,
    *,
    least: float,
    lingers: bool,
) -> Running:
    """Which kinds are stopped after this look.

    ``lingers``: idle priority is proven to protect, and little else runs, so jobs of flows that leave it to
    us go on while people are there. What is stopped stays so for ``least`` seconds; while something is not
    known, everything stays as it is.
    """
    stops = max((reading.stops_at(now) for reading in readings), default=Stops.NONE)
    uncertain = any(reading.level is Level.UNKNOWN for reading in readings)

    def after(span: Span, executing: int, needed: Stops, dwell: float) -> Span:
        at = span.stopped_at
        if stops >= needed:
            # With no job of its kind there is nothing to remember: the next one starts only while idle.
            return Span((now if at is None else at) if executing else None)
        if at is not None and executing and (uncertain or now - at < dwell):
            return span
        runs_since = now if executing and span.runs_since is None else span.runs_since
        return span if at is None and runs_since == span.runs_since else Span(None, runs_since)

    return Running(
        auto=after(before.auto, jobs.auto, Stops.ALL if lingers else Stops.UNPROTECTED, least),
        suspend=after(before.suspend, jobs.suspend, Stops.UNPROTECTED, least),
        requeue=after(before.requeue, jobs.requeue, Stops.UNPROTECTED, 0.0),
    )


def ran_for(before: Running, after: Running, now: float) -> float | None:
    """For how many seconds those jobs had run that are stopped by this look; None where none is."""
    pairs = ((before.auto, after.auto), (before.suspend, after.suspend), (before.requeue, after.requeue))
    stopped = [old for old, new in pairs if old.stopped_at is None and new.stopped_at is not None]
    spans = [0.0 if old.runs_since is None else now - old.runs_since for old in stopped]
    return min(spans, default=None)


def any_goes_on(jobs: Jobs, actions: Actions) -> bool:
    """Whether any job executes that is not suspended."""
    kinds = ((jobs.auto, actions.auto), (jobs.suspend, actions.suspend))
    return bool(jobs.finish or jobs.requeue or any(count and at is Stance.GO_ON for count, at in kinds))


def stance(span: Span) -> Stance:
    return Stance.GO_ON if span.stopped_at is None else Stance.STOP

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
class Running:
    """What is remembered of running jobs: since when which kinds are stopped, in monotonic seconds."""

    auto_since: float | None = None
    suspend_since: float | None = None
    requeue_since: float | None = None

    @property
    def suspended_since(self) -> float | None:
        """When the suspension began that began last."""
        return max((at for at in (self.auto_since, self.suspend_since) if at is not None), default=None)


def suspension(running: Running, watched: Sequence[Reading], least: float, now: float) -> Reading:
    """What has been suspended stays so for a while, when nothing else is in its way any more."""
    signal = Signal("suspension", "jobs are suspended", f"{countdown(least)} later")
    since = running.suspended_since
    if since is None:
        return signal.clear("none")
    value = f"jobs suspended {duration(now - since)} ago"
    if now - since >= least or any(reading.stops_at(now) for reading in watched):
        return signal.clear(value)
    ends_at = since + least
    reason = f"{value}, for at least {countdown(least)}"
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

    def since(at: float | None, executing: int, needed: Stops, dwell: float) -> float | None:
        if stops >= needed:
            # With no job of its kind there is nothing to remember: the next one starts only while idle.
            return (now if at is None else at) if executing else None
        return at if at is not None and executing and (uncertain or now - at < dwell) else None

    return Running(
        auto_since=since(before.auto_since, jobs.auto, Stops.ALL if lingers else Stops.UNPROTECTED, least),
        suspend_since=since(before.suspend_since, jobs.suspend, Stops.UNPROTECTED, least),
        requeue_since=since(before.requeue_since, jobs.requeue, Stops.UNPROTECTED, 0.0),
    )


def has_suspended(before: Running, after: Running) -> bool:
    """Whether jobs that ran are stopped by this look."""
    pairs = (
        (before.auto_since, after.auto_since),
        (before.suspend_since, after.suspend_since),
        (before.requeue_since, after.requeue_since),
    )
    return any(old is None and new is not None for old, new in pairs)


def has_resumed(before: Running, after: Running) -> bool:
    """Whether what was suspended goes on from this look."""
    return before.suspended_since is not None and after.suspended_since is None


def any_goes_on(jobs: Jobs, actions: Actions) -> bool:
    """Whether any job executes that is not suspended."""
    kinds = ((jobs.auto, actions.auto), (jobs.suspend, actions.suspend))
    return bool(jobs.finish or jobs.requeue or any(count and at is Stance.GO_ON for count, at in kinds))


def stance(since: float | None) -> Stance:
    return Stance.GO_ON if since is None else Stance.STOP

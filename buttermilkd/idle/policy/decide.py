"""May jobs run? A pure function of what is remembered, what is seen, the settings and the time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from buttermilkd.idle.policy import measures, orders, running, users
from buttermilkd.idle.policy.backoff import Backoff, frequency, lengthened
from buttermilkd.idle.policy.latch import Latch
from buttermilkd.idle.policy.observations import Sample
from buttermilkd.idle.policy.probed import probed
from buttermilkd.idle.policy.readings import Level, Reading
from buttermilkd.idle.policy.running import Actions, Running, stance
from buttermilkd.idle.policy.settings import Patience, Settings
from buttermilkd.idle.policy.verdict import Verdict, verdict


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from one decision to the next. Times are monotonic seconds."""

    started: float
    since: float
    """When the level became what it is."""
    level: Level = Level.UNKNOWN
    latches: Mapping[str, Latch] = field(default_factory=dict)
    running: Running = field(default_factory=Running)
    backoff: Backoff = field(default_factory=Backoff)

    @classmethod
    def initial(cls, now: float) -> "State":
        return cls(started=now, since=now)


def decide(state: State, sample: Sample, settings: Settings, now: float) -> tuple[State, Actions, Verdict]:
    """The state after this look, what to do, and the verdict.

    Any signal over its upper bound is busy; what is not known counts as such; when all are clear again,
    the last of their timers ends the cooling.
    """
    limits = measures.limits_of(settings)
    latches = measures.step(state.latches, sample.load, limits)
    patience = Patience.of(settings, state.backoff.factor)
    watched = _watched(state, sample, settings, patience, latches, limits, now)
    least = settings.suspend_min
    exposed = _exposed(sample, latches)
    after = running.step(
        state.running,
        watched,
        sample.jobs,
        now,
        least=least,
        lingers=exposed is None,
    )
    ran_for = running.ran_for(state.running, after, now)
    backoff = state.backoff.step(
        now, ran_for=ran_for, limit=settings.suspensions_per_hour, wait=patience.quiet_for
    )
    readings = (
        *watched,
        running.suspension(after, watched, least, now),
        measures.others(latches, sample.load, limits[measures.OTHERS.measure]),
        measures.average(sample.load),
        frequency(backoff, settings.suspensions_per_hour),
    )
    level = max(reading.level for reading in readings)
    since = state.since if level is state.level else now
    is_short = measures.memory_is_short(watched)
    actions = _actions(level, after, suspending=ran_for is not None, memory_is_short=is_short)
    told = verdict(
        level,
        since,
        readings,
        now,
        has_suspended=after.suspended_since is not None,
        exposed=exposed,
        waits=lengthened(backoff),
    )
    return State(state.started, since, level, latches, after, backoff), actions, told


def _actions(level: Level, after: Running, *, suspending: bool, memory_is_short: bool) -> Actions:
    return Actions(
        start=level is Level.CLEAR,
        auto=stance(after.auto),
        suspend=stance(after.suspend),
        requeue=stance(after.requeue),
        suspending=suspending,
        memory_is_short=memory_is_short,
    )


def _exposed(sample: Sample, latches: measures.Latches) -> str | None:
    """Why jobs that it is left to may not go on while people are there; None: they may."""
    if not sample.protection.proven:
        return sample.protection.why
    return measures.others_in_the_way(latches, sample.load)


def _watched(
    state: State,
    sample: Sample,
    settings: Settings,
    patience: Patience,
    latches: measures.Latches,
    limits: measures.Limits,
    now: float,
) -> tuple[Reading, ...]:
    """The signals that come from outside."""
    web = sample.web
    return (
        orders.operators(sample.holds),
        orders.schedule(settings.allow, sample.local, now),
        orders.settling(state.started, settings, now),
        orders.clock(sample),
        users.reporters(web, settings, now),
        users.websockets(web, settings, patience, now),
        users.requests(web, patience, now),
        users.departures(web, patience, now),
        *probed(web, patience, now),
        *measures.readings(latches, sample.load, limits),
    )

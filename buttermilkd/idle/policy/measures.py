"""The signals of the machine itself: each a measure with two thresholds and two timers. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from buttermilkd.idle.policy.latch import CALM, Latch, Thresholds
from buttermilkd.idle.policy.observations import Load, Measure
from buttermilkd.idle.policy.readings import Level, Reading, Signal, Stops, Wait
from buttermilkd.idle.policy.settings import Settings, thresholds
from buttermilkd.idle.policy.wording import countdown, duration, percent

Latches = Mapping[str, Latch]
Limits = Mapping[str, Thresholds]


@dataclass(frozen=True, slots=True)
class Kind:
    """A measure that decides, and its words."""

    measure: str
    """A field of ``Load``."""
    keys: str
    """The beginning of its settings' names."""
    name: str
    says: str
    """Its value in a reason; ``{subject}`` and ``{share}`` are filled in."""
    usual_subject: str = ""
    is_required: bool = False
    """Without it nothing is decided."""
    fact: str | None = None
    """Its value among the facts that allow jobs to run."""


KINDS = (
    Kind(
        "foreign",
        "foreign_cpu",
        "cpu",
        "other processes use {share} of CPU",
        is_required=True,
        fact="other CPU {share}",
    ),
    Kind("steal", "steal", "steal", "the host takes {share} of CPU for others"),
    Kind("cpu_pressure", "cpu_pressure", "cpu pressure", "{subject} wait for CPU {share} of the time"),
    Kind("io_pressure", "io_pressure", "io pressure", "{subject} wait for disks {share} of the time"),
    Kind(
        "memory_pressure",
        "memory_pressure",
        "memory pressure",
        "everything waits for memory {share} of the time",
    ),
    Kind("memory_available", "memory_available", "memory", "only {share} of memory is available"),
)
OTHERS = Kind("others", "other_cpu", "others", "processes beside web servers use {share} of CPU")
MEMORY = ("memory pressure", "memory")
"""The signals that say that memory is short."""


@lru_cache(maxsize=16)
def limits_of(settings: Settings) -> Limits:
    """The thresholds of each measure. They are asked for at every look, and settings do not change."""
    return {kind.measure: thresholds(settings, kind.keys) for kind in (*KINDS, OTHERS)}


def step(latches: Latches, load: Load, limits: Limits) -> dict[str, Latch]:
    """Each latch after this look. A measure that the machine does not tell has nothing to remember."""
    return {
        name: CALM
        if (measure := _of(load, name)).missing
        else latches.get(name, CALM).step(measure.value, load.at, its)
        for name, its in limits.items()
    }


def readings(latches: Latches, load: Load, limits: Limits) -> tuple[Reading, ...]:
    """What every measure says. ``latches`` have seen this look already."""
    return tuple(
        _reading(kind, _of(load, kind.measure), load, latches[kind.measure], limits[kind.measure])
        for kind in KINDS
    )


def others_in_the_way(latches: Latches, load: Load) -> str | None:
    """Why idle priority cannot protect, though proven: more runs than web servers and our jobs. None: it can."""
    if load.others.value is None:
        return f"what else runs is not known: {load.others.missing or load.others.problem}"
    if latches[OTHERS.measure].is_busy:
        return f"others than web servers use {percent(load.others.value)} of CPU"
    return None


def memory_is_short(readings: tuple[Reading, ...]) -> bool:
    return any(one.level is Level.BUSY for one in readings if one.signal.name in MEMORY)


def average(load: Load) -> Reading:
    """The load average: people ask for it. It counts our own jobs and lags by a minute, so it decides nothing."""
    signal = Signal("load average", "not used", "not used")
    if load.average is None:
        return signal.missing("not told by this system")
    return signal.clear(" ".join(f"{one:.2f}" for one in load.average))


def others(latches: Latches, load: Load, limits: Thresholds) -> Reading:
    """What runs beside web servers and our jobs: it decides only whether protected jobs go on while people are there."""
    signal = _signal(OTHERS, limits)
    if load.others.missing:
        return signal.missing(load.others.missing)
    latch = latches[OTHERS.measure]
    value = "not known" if load.others.value is None else percent(load.others.value)
    return signal.clear(value, timer=_timer(latch, load.at, limits))


def _of(load: Load, name: str) -> Measure:
    measure: Measure = getattr(load, name)
    return measure


@lru_cache(maxsize=128)
def _signal(kind: Kind, limits: Thresholds) -> Signal:
    over, under = ("under", "over") if limits.inverted else ("over", "under")
    return Signal(
        kind.name,
        f"{over} {percent(limits.busy)}{_lasting(limits.busy_for)}",
        f"{under} {percent(limits.clear)}{_lasting(limits.clear_for)}",
        Stops.ALL,
    )


def _lasting(seconds: float) -> str:
    return f" for {countdown(seconds)}" if seconds else ""


def _reading(kind: Kind, measure: Measure, load: Load, latch: Latch, limits: Thresholds) -> Reading:
    signal = _signal(kind, limits)
    if measure.missing is not None:
        return signal.missing(measure.missing)
    if measure.value is None:
        reason = f"{kind.name if kind.name != 'cpu' else 'use of the CPU'} is not known: {measure.problem}"
        if kind.is_required or latch.is_busy:
            return signal.blocking(Level.UNKNOWN, "not known", reason)
        return signal.clear(f"not known: {measure.problem}")
    return _judged(kind, measure, load, latch, limits, signal)


def _judged(
    kind: Kind, measure: Measure, load: Load, latch: Latch, limits: Thresholds, signal: Signal
) -> Reading:
    share = measure.value or 0.0
    value, timer = _value(kind, measure, load), _timer(latch, load.at, limits)
    if not latch.is_busy:
        fact = kind.fact.format(share=percent(share)) if kind.fact else None
        return signal.clear(value, fact, timer)
    used = kind.says.format(share=percent(share), subject=measure.subject or "processes")
    if latch.crossed_at is not None:
        clears_at = latch.crossed_at + limits.clear_for
        within = "over" if limits.inverted else "under"
        reason = f"{used} ({within} {percent(limits.clear)} for {duration(load.at - latch.crossed_at)})"
        return signal.blocking(Level.COOLING, value, reason, Wait(clears_at, clears_at), timer)
    if limits.is_beyond(share) and latch.busy_since is not None:
        limit = f"limit {percent(limits.busy)}, for {duration(load.at - latch.busy_since)}"
    else:
        limit = f"busy until {'over' if limits.inverted else 'under'} {percent(limits.clear)}"
    own = f"; own jobs {percent(load.own)} not counted" if kind.name == "cpu" else ""
    return signal.blocking(Level.BUSY, value, f"{used} ({limit}){own}", timer=timer)


def _value(kind: Kind, measure: Measure, load: Load) -> str:
    if kind.name == "cpu":
        method = f" ({measure.method})" if measure.method else ""
        return f"others {percent(measure.value or 0.0)}, own jobs {percent(load.own)}{method}"
    notes = ", ".join(note for note in (measure.subject, measure.method) if note)
    return f"{percent(measure.value or 0.0)}{f' ({notes})' if notes else ''}"


def _timer(latch: Latch, at: float, limits: Thresholds) -> str | None:
    """How long it has been beyond the threshold at which it changes over, of how long it must."""
    if latch.crossed_at is None:
        return None
    needed = limits.clear_for if latch.is_busy else limits.busy_for
    way = "back" if latch.is_busy else "beyond"
    return f"{way} for {duration(at - latch.crossed_at)} of {countdown(needed)}"

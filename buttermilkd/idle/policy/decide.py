"""May jobs run? A pure function of what is remembered, what is seen, the settings and the time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from buttermilkd.idle.policy import machine, users
from buttermilkd.idle.policy.latch import Latch
from buttermilkd.idle.policy.observations import Sample, Settings
from buttermilkd.idle.policy.readings import Level, Reading, Wait
from buttermilkd.idle.policy.wording import countdown, duration


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from one decision to the next. Times are monotonic seconds."""

    started: float
    since: float
    """When the level became what it is."""
    level: Level = Level.UNKNOWN
    cpu: Latch = field(default_factory=Latch)

    @classmethod
    def initial(cls, now: float) -> "State":
        return cls(started=now, since=now)


@dataclass(frozen=True, slots=True)
class Verdict:
    """May jobs run now, and every reason why not, worst first. Times are monotonic seconds."""

    level: Level
    since: float
    at: float
    reasons: tuple[str, ...]
    """Never empty; while idle, the facts that allow it."""
    sentence: str
    readings: tuple[Reading, ...]
    resumes_at: float | None = None
    """When suspended jobs may go on, and new ones start, if nothing else happens; None: that cannot be foreseen."""
    starts_at: float | None = None

    @property
    def idle(self) -> bool:
        return self.level is Level.CLEAR

    @property
    def state(self) -> str:
        """``unknown``, ``busy``, ``cooling``, ``idle`` or ``held``."""
        return "idle" if self.idle else self.level.name.lower()


def decide(state: State, sample: Sample, settings: Settings, now: float) -> tuple[State, Verdict]:
    """The state and the verdict after this look.

    Any signal over its upper bound is busy; what is not known counts as such; when all are clear again,
    the last of their timers ends the cooling.
    """
    limits = machine.cpu_thresholds(settings)
    cpu = state.cpu.step(sample.cpu.foreign, sample.cpu.at, limits)
    readings = (
        machine.operators(sample.holds),
        machine.schedule(settings.allow, sample.local),
        machine.settling(state.started, settings, now),
        machine.clock(sample),
        users.reporters(sample.web, settings, now),
        users.websockets(sample.web, settings, now),
        users.requests(sample.web, settings, now),
        users.departures(sample.web, settings, now),
        machine.foreign_cpu(sample.cpu, cpu, limits),
    )
    level = max(reading.level for reading in readings)
    since = state.since if level is state.level else now
    return State(state.started, since, level, cpu), _verdict(level, since, readings, now)


def _verdict(level: Level, since: float, readings: tuple[Reading, ...], now: float) -> Verdict:
    blocking = sorted((reading for reading in readings if reading.level), key=_worst_first)
    told = [reading.reason for reading in blocking] or [reading.fact for reading in readings]
    reasons = tuple(text for text in told if text)
    waits = [reading.wait for reading in blocking if reading.wait is not None]
    foreseen = bool(blocking) and len(waits) == len(blocking)
    return Verdict(
        level=level,
        since=since,
        at=now,
        reasons=reasons,
        sentence=_sentence(level, reasons, waits, now - since, now),
        readings=readings,
        resumes_at=max(wait.resumes_at for wait in waits) if foreseen else None,
        starts_at=max(wait.starts_at for wait in waits) if foreseen else None,
    )


def _worst_first(reading: Reading) -> tuple[int, float]:
    """Sorts by level; among those that only need time, the one that needs most comes first."""
    needed = reading.wait.starts_at if reading.level is Level.COOLING and reading.wait is not None else 0.0
    return -reading.level, -needed


def _sentence(level: Level, reasons: Sequence[str], waits: Sequence[Wait], lasting: float, now: float) -> str:
    """The one sentence that says what the gate does and why, wherever it is shown."""
    if level is Level.CLEAR:
        return f"idle for {duration(lasting)}: {', '.join(reasons)}"
    told = f"{level.name.lower()}: {'; '.join(reasons)}"
    if level is not Level.COOLING:
        return told
    return f"{told}; {waits[0].countdown} {countdown(waits[0].starts_at - now)}"

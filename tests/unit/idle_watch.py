"""The idleness decision as time goes by, for the tests of its sentences, traces and properties."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from buttermilkd.config.idle import IdleSettings
from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.decide import State, decide
from buttermilkd.idle.policy.observations import Jobs, Load, Measure, Protection, Reporter, Sample, Web
from buttermilkd.idle.policy.readings import Level
from buttermilkd.idle.policy.running import Actions
from buttermilkd.idle.policy.settings import Window
from buttermilkd.idle.policy.verdict import Verdict

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
RULES = IdleSettings()
"""The documented defaults."""
NOTHING: Mapping[str, float | Measure] = {}
PROVEN = Protection(proven=True, why="the jobs' group is idle")


def rules(allow: Sequence[Window] = (), **settings: object) -> IdleSettings:
    """The defaults but for these; durations and shares as the policy sees them, windows as they are."""
    return IdleSettings().model_copy(update={"allow": tuple(allow), **settings})


@dataclass(frozen=True)
class Mornings:
    """A schedule window."""

    def contains(self, local: datetime) -> bool:
        return local.hour < 12

    def opens_after(self, local: datetime) -> datetime:
        return local.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)

    def __str__(self) -> str:
        return "00:00-12:00"


@dataclass
class Watch:
    """Decides as time goes by and remembers what it decided. It began long ago, with nothing to see."""

    rules: IdleSettings = RULES
    now: float = 10_000.0
    state: State = field(default_factory=lambda: State(started=0, since=9_280, level=Level.CLEAR))
    verdicts: list[Verdict] = field(default_factory=list)
    actions: list[Actions] = field(default_factory=list)
    sample: Sample | None = None
    """The latest."""

    def see(
        self,
        web: Web | None = None,
        *,
        cpu: float | None = 0.03,
        own: float = 0.0,
        holds: tuple[str, ...] = (),
        gap: float | None = None,
        jump: float | None = None,
        local: datetime = NOON,
        jobs: Jobs | None = None,
        protection: Protection | None = None,
        average: tuple[float, float, float] | None = None,
        measures: Mapping[str, float | Measure] = NOTHING,
    ) -> Verdict:
        """One look. ``measures`` are fields of ``Load``, as shares or as they are."""
        told = {
            name: value if isinstance(value, Measure) else Measure(value) for name, value in measures.items()
        }
        foreign = Measure(cpu, None if cpu is not None else "a counter went backwards")
        sample = Sample(
            web or Web(),
            replace(Load(self.now, foreign, own, average=average), **told),  # type: ignore[arg-type]
            local,
            holds,
            gap,
            jump,
            jobs or Jobs(),
            protection or Protection(),
        )
        return self.decide(sample, self.now)

    def decide(self, sample: Sample, now: float) -> Verdict:
        """One look that was put together elsewhere."""
        self.sample, self.now = sample, now
        self.state, actions, verdict = decide(self.state, sample, self.rules, now)
        self.verdicts.append(verdict)
        self.actions.append(actions)
        return verdict

    def look(self, at: float) -> Look:
        """The latest look, as one that was taken at ``at``."""
        assert self.sample is not None
        return Look(self.sample, at, self.actions[-1], self.verdicts[-1])

    def states(self, seconds: int, look: Callable[[], Verdict]) -> list[str]:
        """The states that a look each second goes through, without repeats."""
        seen: list[str] = []
        for _ in range(seconds):
            self.now += 1
            state = look().state
            seen += [state] if not seen or seen[-1] != state else []
        return seen

    def reading(self, name: str) -> str:
        """What a signal's row said at the last look: its state and its value."""
        found = next(one for one in self.verdicts[-1].readings if one.signal.name == name)
        return f"{'missing' if found.is_missing else found.level.name.lower()}: {found.value}"


def reporter(now: float, idle: float = 0.0, **told: float | str | bool | None) -> Reporter:
    """One that reported just now that its users were active ``idle`` seconds ago."""
    usual = Reporter(
        app="api", pid=812, worker="w1", kind="asgi", heard_at=now, stale_after=3, idle_since=now - idle
    )
    return replace(usual, **told)  # type: ignore[arg-type]


def quiet(now: float, seconds: float = 3600.0) -> Web:
    """A web server whose users were last active so long ago."""
    return Web((reporter(now, seconds),))


def in_flight(now: float) -> Web:
    """A web server with a request."""
    return Web((reporter(now, requests=1, requests_since=now),))

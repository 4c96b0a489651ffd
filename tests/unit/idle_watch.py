"""The idleness decision as time goes by, for the tests of its sentences, traces and properties."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal

from buttermilkd.idle.policy.decide import State, Verdict, decide
from buttermilkd.idle.policy.observations import CpuSample, Reporter, Sample, Web, Window
from buttermilkd.idle.policy.readings import Level

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Rules:
    """The documented defaults."""

    quiet_for: float = 60
    start_after: float = 120
    websocket_start_after: float = 300
    websockets: Literal["messages", "open"] = "messages"
    without_reporters: Literal["system", "busy"] = "system"
    foreign_cpu_busy: float = 0.5
    foreign_cpu_busy_for: float = 10
    foreign_cpu_clear: float = 0.25
    foreign_cpu_clear_for: float = 30
    allow: Sequence[Window] = ()
    settle_for: float = 2


RULES = Rules()


@dataclass(frozen=True)
class Mornings:
    """A schedule window."""

    def contains(self, local: datetime) -> bool:
        return local.hour < 12

    def __str__(self) -> str:
        return "00:00-12:00"


@dataclass
class Watch:
    """Decides as time goes by and remembers what it decided. It began long ago, with nothing to see."""

    rules: Rules = RULES
    now: float = 10_000.0
    state: State = field(default_factory=lambda: State(started=0, since=9_280, level=Level.CLEAR))
    verdicts: list[Verdict] = field(default_factory=list)

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
    ) -> Verdict:
        measured = CpuSample(self.now, cpu, own, None if cpu is not None else "a counter went backwards")
        sample = Sample(web or Web(), measured, local, holds, gap, jump)
        self.state, verdict = decide(self.state, sample, self.rules, self.now)
        self.verdicts.append(verdict)
        return verdict

    def states(self, seconds: int, look: Callable[[], Verdict]) -> list[str]:
        """The states that a look each second goes through, without repeats."""
        seen: list[str] = []
        for _ in range(seconds):
            self.now += 1
            state = look().state
            seen += [state] if not seen or seen[-1] != state else []
        return seen


def reporter(now: float, idle: float = 0.0, **told: float | str | bool | None) -> Reporter:
    """One that reported just now that its users were active ``idle`` seconds ago."""
    usual = Reporter(
        app="api", pid=812, worker="w1", kind="asgi", heard_at=now, stale_after=3, idle_since=now - idle
    )
    return replace(usual, **told)  # type: ignore[arg-type]

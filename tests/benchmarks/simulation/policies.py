"""The port that every policy in the simulator implements, and what it may see."""

import math
from dataclasses import dataclass, field
from typing import Protocol

from tests.benchmarks.simulation.world import Span, World


@dataclass
class Ran:
    """When jobs ran under a policy."""

    spans: list[Span] = field(default_factory=list)
    suspensions: int = 0
    """How often jobs that ran were stopped before they had ended."""
    started_in_flight: int = 0
    """Jobs that were started while a request was in flight."""
    started_unseen: int = 0
    """Jobs that were started while a web server said nothing."""
    lost: float = 0.0
    """Seconds of work that was thrown away."""


class Policy(Protocol):
    """Decides when jobs run; there are always more of them."""

    name: str

    def run(self, world: World) -> Ran: ...


class Recorder:
    """Keeps the spans in which jobs run."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: float | None = None
        self.ran = Ran()

    @property
    def runs(self) -> bool:
        return self._since is not None

    def start(self, at: float) -> None:
        """Jobs run from here on."""
        if self._since is None:
            self._since = at

    def stop(self, at: float, *, suspended: bool = True) -> None:
        """They do no longer."""
        if self._since is not None:
            self.ran.spans.append(Span(self._since, at))
            self.ran.suspensions += suspended
            self._since = None

    def end(self) -> Ran:
        """The trace is over."""
        self.stop(self._world.seconds, suspended=False)
        return self.ran


class Keyboard:
    """How long ago somebody did something, as a policy sees it that looks now and then.

    These policies watch keyboards and mice, which a server has none of; here they are told of requests and of
    websockets' messages instead, better than they could know.
    """

    def __init__(self, world: World) -> None:
        self._spans = world.activity
        self._place = 0
        self._last = float("-inf")

    def idle(self, at: float) -> float:
        """Seconds since the last activity; 0 during one. To be asked in the order of time."""
        while self._place < len(self._spans) and self._spans[self._place].start <= at:
            span = self._spans[self._place]
            if span.end > at:
                self._last = at
                break
            self._last = span.end
            self._place += 1
        return at - self._last


class LoadAverage:
    """The kernel's one-minute load average of a machine with some CPUs."""

    def __init__(self, cpus: int) -> None:
        self._cpus = cpus
        self._value = 0.0
        self._at = 0.0

    def step(self, at: float, share: float) -> float:
        """After a time in which this share of all CPUs was wanted."""
        kept = math.exp(-(at - self._at) / 60.0)
        self._value = self._value * kept + share * self._cpus * (1 - kept)
        self._at = at
        return self._value

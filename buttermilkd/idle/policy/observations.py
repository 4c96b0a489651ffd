"""What the policy is told of the world: frozen values. Times are monotonic seconds, never in the future."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Reporter:
    """A connected process of a web server, as its last line told."""

    app: str
    pid: int | None
    """As the kernel says; None where it is in a namespace that this process cannot see."""
    worker: str
    kind: str
    heard_at: float
    stale_after: float
    """Seconds of silence after which nobody knows what it does."""
    idle_since: float
    """When it was last active, in its own word."""
    used: bool = True
    """Anybody has used it. A process that nobody has used tells the age of its start: that is no activity."""
    reported: bool = True
    """It has sent a snapshot since it connected."""
    requests: int = 0
    websockets: int = 0
    total: int = 0
    requests_since: float | None = None
    """Since when it has had requests in flight without a pause."""

    @property
    def active_at(self) -> float | None:
        """Its users' last activity; None: nobody has used it yet."""
        return self.idle_since if self.used else None

    def is_stale(self, now: float) -> bool:
        return now - self.heard_at > self.stale_after


@dataclass(frozen=True, slots=True)
class Departure:
    """A reporter that went away with something open, which counts as activity of its users."""

    app: str
    at: float
    requests: int
    websockets: int


@dataclass(frozen=True, slots=True)
class Web:
    """All that web servers have told."""

    reporters: tuple[Reporter, ...] = ()
    departure: Departure | None = None
    """The latest."""
    departed_active_at: float | None = None
    """The last activity that reporters told of that have left in peace."""


@dataclass(frozen=True, slots=True)
class CpuSample:
    """How busy the CPUs were between two looks. Shares are of all CPUs, 0 to 1."""

    at: float
    foreign: float | None
    """All but our own jobs; None: not known, see ``problem``."""
    own: float = 0.0
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at everything."""

    web: Web
    cpu: CpuSample
    local: datetime
    """Wall-clock time where the machine is, for the schedule."""
    holds: tuple[str, ...] = ()
    """Why operators want nothing to start, in their words."""
    gap: float | None = None
    """Seconds since the look before, where that is far too long: nobody watched meanwhile."""
    jump: float | None = None
    """Seconds by which the wall clock has moved against the monotonic one: it was set, or the machine slept."""


class Window(Protocol):
    """A time of the week at which jobs may run. ``str`` gives it as it was configured."""

    def contains(self, local: datetime) -> bool: ...


class Settings(Protocol):
    """The keys of the ``[idle]`` table; times in seconds, CPU shares from 0 to 1 of all CPUs."""

    @property
    def quiet_for(self) -> float: ...
    @property
    def start_after(self) -> float: ...
    @property
    def websocket_start_after(self) -> float: ...
    @property
    def websockets(self) -> Literal["messages", "open"]: ...
    @property
    def without_reporters(self) -> Literal["system", "busy"]: ...
    @property
    def foreign_cpu_busy(self) -> float: ...
    @property
    def foreign_cpu_busy_for(self) -> float: ...
    @property
    def foreign_cpu_clear(self) -> float: ...
    @property
    def foreign_cpu_clear_for(self) -> float: ...
    @property
    def allow(self) -> Sequence[Window]: ...
    @property
    def settle_for(self) -> float: ...

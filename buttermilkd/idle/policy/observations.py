"""What the policy is told of the world: frozen values. Times are monotonic seconds, never in the future."""

from dataclasses import dataclass, field
from datetime import datetime

PROBED = ("nginx", "port")
"""Kinds of reporters that are looked at from outside; what is open at a port counts as a request in flight."""


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
    problem: str = ""
    """Why nobody knows what its users do, in words."""

    @property
    def is_probed(self) -> bool:
        """It does not report by itself: somebody looks at it from outside."""
        return self.kind in PROBED

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
class Refusal:
    """A connection that was closed for what came over it: what the users behind it do is not known."""

    peer: str
    """Who it was, in words."""
    why: str
    at: float


@dataclass(frozen=True, slots=True)
class Web:
    """All that web servers have told."""

    reporters: tuple[Reporter, ...] = ()
    departure: Departure | None = None
    """The latest."""
    departed_active_at: float | None = None
    """The last activity that reporters told of that have left in peace."""
    refusal: Refusal | None = None
    """The latest of those who have not reported properly since."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One quantity at one look: a share from 0 to 1, or why there is none."""

    value: float | None = None
    problem: str | None = None
    """Why it is not known at this moment; at another it will be."""
    missing: str | None = None
    """Why this machine does not tell it."""
    subject: str = ""
    """Of what it was measured, where that is not the whole machine."""
    method: str = ""
    """How, where there are several ways, for people who want to know."""


UNMEASURED = Measure(missing="not measured")


@dataclass(frozen=True, slots=True)
class Load:
    """What the machine did between two looks. Shares of CPU are of all CPUs."""

    at: float
    foreign: Measure
    """CPU use of all but our own jobs."""
    own: float = 0.0
    """Our jobs' own use of the CPUs."""
    others: Measure = UNMEASURED
    """CPU use of all but our own jobs and the web servers that report."""
    steal: Measure = UNMEASURED
    """CPU that the host of this virtual machine gave to others."""
    cpu_pressure: Measure = UNMEASURED
    """Share of time in which something had to wait for a CPU; likewise the next two."""
    io_pressure: Measure = UNMEASURED
    memory_pressure: Measure = UNMEASURED
    """... in which everything had to wait for memory."""
    memory_available: Measure = UNMEASURED
    """Share of the memory that can be had without swapping."""
    average: tuple[float, float, float] | None = None
    """The load average over 1, 5 and 15 minutes: shown, not used."""


@dataclass(frozen=True, slots=True)
class Jobs:
    """How many jobs execute or are suspended, by what their flows want done when people arrive."""

    auto: int = 0
    finish: int = 0
    suspend: int = 0
    requeue: int = 0


@dataclass(frozen=True, slots=True)
class Protection:
    """Whether idle priority is proven to keep our jobs out of the web servers' way."""

    proven: bool = False
    why: str = "no web server reports"
    """What proves it, or why it is not proven."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at everything."""

    web: Web
    load: Load
    local: datetime
    """Wall-clock time where the machine is, for the schedule."""
    holds: tuple[str, ...] = ()
    """Why operators want nothing to start, in their words."""
    gap: float | None = None
    """Seconds since the look before, where that is far too long: nobody watched meanwhile."""
    jump: float | None = None
    """Seconds by which the wall clock has moved against the monotonic one: it was set, or the machine slept."""
    jobs: Jobs = field(default_factory=Jobs)
    protection: Protection = field(default_factory=Protection)

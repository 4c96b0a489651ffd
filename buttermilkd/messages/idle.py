"""The idleness decision."""

from typing import TypedDict


class ReporterView(TypedDict):
    """A process of a web server that reports its activity."""

    app: str
    pid: int | None
    worker: str
    kind: str
    requests: int
    websockets: int
    total: int
    idle_seconds: float
    stale: bool


class SignalView(TypedDict):
    """One signal of the idleness decision."""

    name: str
    value: str
    busy_at: str
    clear_at: str
    state: str
    """``held``, ``busy``, ``unknown``, ``cooling``, ``clear`` or ``missing``."""
    reason: str | None
    timer: str | None
    """How far it has come on its way to the other side of a threshold."""


class ProtectionView(TypedDict):
    """Whether idle priority is proven to keep jobs out of the web servers' way."""

    proven: bool
    why: str


class RunningJobsView(TypedDict):
    """Jobs that execute or are suspended, of flows that want the same done when people arrive."""

    on_busy: str
    jobs: int
    stance: str
    """``go on`` or ``stop``."""


class IdleView(TypedDict):
    """The idleness decision. ``resume_at`` is null while nothing is suspended, or nobody can foresee it."""

    idle: bool
    state: str
    since: str
    sentence: str
    reasons: list[str]
    resume_at: str | None
    start_at: str | None
    signals: list[SignalView]
    protection: ProtectionView
    running_jobs: list[RunningJobsView]

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
    exposed: str | None
    """Why jobs of flows with ``on_busy = "auto"`` do not go on while people are there; null: they do."""


class RunningJobsView(TypedDict):
    """Jobs that execute or are suspended, of flows that want the same done when people arrive."""

    on_busy: str
    jobs: int
    stance: str
    """``go on`` or ``stop``."""


class SuspendingView(TypedDict):
    """How jobs are suspended."""

    method: str
    """``freezer`` of control groups, or ``signals``."""
    why: str | None
    """Why not by the freezer."""


class IdleView(TypedDict):
    """The idleness decision. ``resume_at`` is null while nothing is suspended, or nobody can foresee it."""

    idle: bool
    state: str
    since: str
    sentence: str
    reasons: list[str]
    cause: str
    """The signal that decided; ``idle`` where none is in the way."""
    resume_at: str | None
    start_at: str | None
    signals: list[SignalView]
    protection: ProtectionView
    running_jobs: list[RunningJobsView]
    suspending: SuspendingView


class HistorySliceView(TypedDict):
    """How much of a quarter of an hour was spent in one state for one cause."""

    at: str
    """When the quarter began."""
    state: str
    cause: str
    seconds: float
    harvested_seconds: float
    """In which jobs ran."""
    suspensions: int


class HistoryShareView(TypedDict):
    """How much of all time went to one thing."""

    state: str
    """``harvested`` where jobs ran; else the state in which none did."""
    cause: str
    seconds: float
    share: float
    """Of the time that is known, 0 to 1."""


class HistoryView(TypedDict):
    """What became of the machine's time; quarters of which nothing is known are left out."""

    since: str
    until: str
    seconds: float
    """That are known."""
    harvested_share: float
    suspensions: int
    suspensions_per_hour: float
    most_suspensions: int
    """Within one hour."""
    shares: list[HistoryShareView]
    slices: list[HistorySliceView]


class ReplayView(TypedDict):
    """What a recorded trace comes to, decided again."""

    file: str
    changes: dict[str, str]
    """Settings other than those that it was recorded with."""
    as_recorded: HistoryView
    as_changed: HistoryView | None

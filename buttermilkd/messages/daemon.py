"""The daemon: what it does, what it can run, what happened."""

from typing import TypedDict

from buttermilkd.messages.idle import ReporterView

API = 1
"""The version of the control API, and in ``min_api`` the oldest that a client may speak."""


class RunningView(TypedDict):
    """A job that runs now."""

    job_id: str
    batch_id: str
    flow: str
    record_id: str
    attempt: int
    started_at: str
    suspended_at: str | None
    pid: int | None


class QueueView(TypedDict):
    kind: str
    """``local`` or ``pubsub``."""
    trouble: str | None
    """Why it cannot be reached at present."""
    pending: int
    running: int


class JournalView(TypedDict):
    lost: int
    """Log records that systemd's journal did not take in time, since the start."""


class StatusView(TypedDict):
    """The daemon, idle or why not."""

    version: str
    pid: int
    host: str
    started_at: str
    idle: bool
    state: str
    reasons: list[str]
    sentence: str
    paused: list[str]
    """Names of paused flows; ``*`` stands for all."""
    concurrency: int
    running: list[RunningView]
    queue: QueueView
    journal: JournalView | None
    """None: the daemon's log does not go to the journal."""
    reporters: list[ReporterView]
    launcher_problem: str | None
    """Why the launcher of jobs cannot be reached, so that none begins; None: it can."""
    config_problem: str | None
    """Why the configuration as it now stands is not in force; None: the last reload, if any, was good."""
    needs_restart: list[str]
    """Keys of the configuration whose new values hold only after a restart."""


class ChangeView(TypedDict):
    """A key of the configuration that has another value."""

    key: str
    before: str
    after: str


class FlowChangeView(TypedDict):
    flow: str
    keys: list[str]


class ReloadedView(TypedDict):
    """What reading the configuration again has changed."""

    applied: list[ChangeView]
    added: list[str]
    """Names of flows."""
    changed: list[FlowChangeView]
    removed: list[str]
    needs_restart: list[ChangeView]
    """What holds only after a restart."""
    summary: list[str]
    """A line for people for each thing that holds from now on."""


class FlowView(TypedDict):
    name: str
    kind: str
    """``command`` or ``callable``."""
    runs: str
    """What it starts, in words."""
    can_run: bool
    problem: str | None
    paused: bool
    records: str | None
    concurrency: int
    timeout_seconds: float | None
    max_retries: int
    version: str
    pending: int
    running: int


class FlowsView(TypedDict):
    flows: list[FlowView]


class EventView(TypedDict):
    """One line of ``/v1/events``; ``kind`` is for example ``batch.created`` or ``job.failed``."""

    sequence: int
    at: str
    kind: str
    batch_id: str | None
    job_id: str | None
    message: str


class InfoView(TypedDict):
    api: int
    min_api: int
    version: str

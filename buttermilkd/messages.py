"""Everything that crosses the control socket, defined once for both ends. Standard library only.

The views are what the API answers and what ``buttermilkctl --json`` prints; times are ISO 8601 in UTC.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NotRequired, Self, TypedDict

from buttermilkd.errors import InvalidRequestError

API = 1
"""The version of the control API, and in ``min_api`` the oldest that a client may speak."""

NDJSON = "application/x-ndjson"
PROBLEM = "application/problem+json"
ERROR_POLICIES = ("continue", "stop")


@dataclass(frozen=True, slots=True)
class CreateBatch:
    """Ask for a batch.

    It is posted to ``/v1/batches`` as one JSON object, or, for any number of records, as ``NDJSON``:
    this object without ``records`` on the first line, then one JSON string, a record id, on each line.
    """

    flow: str
    records: list[str] | None = None
    """None: the flow's own source."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Over the flow's own; a list expands to variants."""
    batch_id: str | None = None
    shuffle: bool | None = None
    """None: as the flow is configured."""
    seed: int | None = None
    limit: int | None = None
    """At most this many records, counted after shuffling."""
    priority: int = 0
    concurrency: int | None = None
    error_policy: str = "continue"
    dry_run: bool = False
    """Check and count everything, and create nothing."""

    @classmethod
    def parse(cls, document: Any) -> Self:
        """The request in this JSON value.

        Raises:
            InvalidRequestError: it is none; the message names every field that is wrong.
        """
        if not isinstance(document, dict):
            raise InvalidRequestError("cannot create a batch: the request is not a JSON object")
        problems = [f"unknown field {name!r}" for name in document if name not in cls.__slots__]
        problems += [problem for name, value in document.items() if (problem := _field_problem(name, value))]
        if "flow" not in document:
            problems.append("field 'flow' is missing")
        if problems:
            raise InvalidRequestError(f"cannot create a batch: {'; '.join(problems)}", problems=problems)
        return cls(**document)

    def head(self) -> bytes:
        """The first line of the NDJSON form."""
        document = asdict(self)
        del document["records"]
        return json.dumps(document, ensure_ascii=False).encode() + b"\n"


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63


def _field_problem(name: str, value: Any) -> str | None:  # noqa: C901 - a table, one row a field
    """What is wrong with the value of this field; None where nothing is."""
    match name:
        case "flow":
            fine, wanted = isinstance(value, str), "a string"
        case "records":
            fine = value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))
            wanted = "a list of strings"
        case "parameters":
            fine, wanted = isinstance(value, dict), "an object"
        case "batch_id":
            fine, wanted = value is None or isinstance(value, str), "a string"
        case "shuffle":
            fine, wanted = value is None or isinstance(value, bool), "true or false"
        case "dry_run":
            fine, wanted = isinstance(value, bool), "true or false"
        case "seed":
            fine, wanted = value is None or _is_whole(value, 0), "a whole number from 0 to 2^63 - 1"
        case "limit" | "concurrency":
            fine, wanted = value is None or _is_whole(value, 1), "a whole number from 1"
        case "priority":
            fine, wanted = _is_whole(value, -1_000_000) and value <= 1_000_000, "a whole number"  # noqa: PLR2004
        case "error_policy":
            fine, wanted = value in ERROR_POLICIES, " or ".join(ERROR_POLICIES)
        case _:
            return None
    return None if fine else f"field {name!r} must be {wanted}"


class CreatedView(TypedDict):
    """The answer to ``CreateBatch``."""

    batch_id: str
    flow: str
    jobs: int
    records: int
    variants: int
    duplicates: int
    seed: int | None
    dry_run: bool


class CauseView(TypedDict):
    """How many of a batch's failed jobs share a cause."""

    cause: str
    jobs: int


class BatchView(TypedDict):
    """One batch. ``causes`` only where one batch is asked for."""

    batch_id: str
    flow: str
    status: str
    total: int
    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    eta_seconds: float | None
    waiting_for: str | None
    seed: int | None
    priority: int
    concurrency: int | None
    error_policy: str
    duplicates: int
    flow_version: str
    owner_uid: int
    parameters: Any
    causes: NotRequired[list[CauseView]]


class JobView(TypedDict):
    """One job."""

    job_id: str
    batch_id: str
    flow: str
    record_id: str
    parameters: Mapping[str, Any]
    status: str
    attempt: int
    interruptions: int
    deferrals: int
    disturbances: int
    due_at: str | None
    error: str | None
    cause: str | None
    result: Any
    host: str | None
    created_at: str
    started_at: str | None
    ended_at: str | None


class BatchesView(TypedDict):
    batches: list[BatchView]
    next: str | None


class JobsView(TypedDict):
    jobs: list[JobView]
    next: str | None


class ResultView(TypedDict):
    """One line of ``/v1/batches/{id}/results``."""

    job_id: str
    record_id: str
    parameters: Mapping[str, Any]
    status: str
    attempt: int
    result: Any
    error: str | None
    started_at: str | None
    ended_at: str | None


class ReceiptView(TypedDict):
    """What a cancel did. ``summary`` says it in words: ``1,388 dropped, 4 stopped (1 killed), 608 already ended``."""

    id: str
    dropped: int
    stopped: int
    killed: int
    ended: int
    summary: str


class RetriedView(TypedDict):
    id: str
    requeued: int


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
    pending: int
    running: int


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
    reporters: list[ReporterView]


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

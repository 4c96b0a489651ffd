"""What a job and a batch are: frozen values, ids, statuses and the one table of allowed transitions. No I/O."""

import re
import secrets
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from typing import Any

from buttermilkd.errors import ConflictError, InvalidRequestError

BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
JOB_ID = re.compile(rf"({BATCH_ID.pattern})\.([1-9][0-9]{{0,11}})")
FLOW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MOST_VARIANTS = 10_000
"""Of one batch."""
MAX_RECORD_ID = 4096
"""Characters in a record id; it may be any other text."""


class Status(StrEnum):
    """Of a job, and of a batch."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Event(StrEnum):
    """What can happen to a job."""

    TAKE = "take"
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    GIVE_BACK = "give back"
    INTERRUPT = "interrupt"
    DISTURB = "disturb"
    CANCEL = "cancel"
    REQUEUE = "requeue"


TRANSITIONS: Mapping[Event, tuple[tuple[Status, ...], Status]] = {
    Event.TAKE: ((Status.PENDING,), Status.RUNNING),
    Event.COMPLETE: ((Status.RUNNING,), Status.COMPLETED),
    Event.FAIL: ((Status.RUNNING,), Status.FAILED),
    Event.RETRY: ((Status.RUNNING,), Status.PENDING),
    Event.GIVE_BACK: ((Status.RUNNING,), Status.PENDING),
    Event.INTERRUPT: ((Status.RUNNING,), Status.PENDING),
    Event.DISTURB: ((Status.RUNNING,), Status.PENDING),
    Event.CANCEL: ((Status.PENDING, Status.RUNNING), Status.CANCELLED),
    Event.REQUEUE: ((Status.FAILED, Status.CANCELLED), Status.PENDING),
}
"""From which statuses an event may happen, and where it leads. Nothing else decides this."""


def transition(status: Status, event: Event) -> Status:
    """The status after ``event``.

    Raises:
        ConflictError: the table does not allow it; the message says why.
    """
    sources, target = TRANSITIONS[event]
    if status not in sources:
        wanted = " or ".join(sources)
        raise ConflictError(f"cannot {event} a job that is {status}: it would have to be {wanted}")
    return target


@dataclass(frozen=True, slots=True)
class Job:
    """One record and one variant of a batch, as its flow sees it."""

    job_id: str
    batch_id: str
    flow: str
    record_id: str
    parameters: Mapping[str, Any]
    attempt: int = 1
    """Which execution this is, from 1. Interruptions, disturbances and jobs given back do not count."""
    deferrals: int = 0
    """How many of the earlier attempts asked to be tried again later; they do not use up ``max_retries``."""
    disturbances: int = 0
    """How many attempts failed when they had just been suspended; they are not counted as attempts."""
    interruptions: int = 0
    """How many attempts ended with the daemon or the launcher; nor are they."""


class Ending(StrEnum):
    """How one attempt ended, before the retry policy has been asked."""

    COMPLETED = "completed"
    FAILED = "failed"
    DEFERRED = "deferred"
    """Asked to be tried again later: exit status 75, or ``Retry`` raised."""
    REJECTED = "rejected"
    """Failed for good: exit status 65, or ``Reject`` raised."""
    CANCELLED = "cancelled"
    GIVEN_BACK = "given back"
    """Not at fault: stopped by the daemon, or never begun."""
    INTERRUPTED = "interrupted"
    """Ended with the launcher of its process. That is hardly its fault, but might be: it is counted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended and what it left."""

    ending: Ending
    result: str | None = None
    """JSON text."""
    error: str | None = None
    """For people: the whole reason, of any length that the limits allow."""
    cause: str | None = None
    """For grouping: exception type or exit status, and the first line."""
    retry_after: float | None = None
    """Seconds that the job asked to wait before it is tried again."""
    log: bytes = b""
    """What it printed, bounded."""
    killed: bool = False
    """It had to be ended by SIGKILL."""
    disturbed: bool = False
    """It failed while it was suspended or soon after: that may be to blame."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that this daemon has leased and that the ledger records as running."""

    job: Job
    lease: Hashable
    """The queue's own handle, for settling it: a row, an acknowledgement id."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of a taken job."""

    taken: Taken
    event: Event
    """COMPLETE, FAIL, RETRY, DISTURB, INTERRUPT, GIVE_BACK or CANCEL."""
    outcome: Outcome
    delay: float = 0.0
    """For RETRY and DISTURB: seconds before it may be taken again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a take found, and when the next waiting job falls due, in seconds since the epoch."""

    taken: list[Taken]
    next_due: float | None
    began: bool = False
    """Some batch has begun by it."""


def new_batch_id() -> str:
    """``batch-`` and 8 lower-case hexadecimal digits."""
    return f"batch-{secrets.token_hex(4)}"


def job_id(batch_id: str, number: int) -> str:
    """The id of the job with this number, from 1, in its batch."""
    return f"{batch_id}.{number}"


def split_job_id(text: str) -> tuple[str, int] | None:
    """Batch id and number of a job id; None where ``text`` is not one."""
    match = JOB_ID.fullmatch(text)
    return (match[1], int(match[2])) if match else None


def check_batch_id(text: str) -> str:
    """Return ``text`` where it may serve as a batch id.

    Raises:
        InvalidRequestError: it may not; the message says what is allowed.
    """
    if not BATCH_ID.fullmatch(text):
        raise InvalidRequestError(
            f"cannot use {text[:80]!r} as a batch id: up to 64 letters, digits, '-' and '_' are allowed",
            hint="leave the id out, and one is made",
        )
    return text


def expand_variants(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """One combination for each element of the product of the list-valued parameters, in the order given.

    A list in a list stays: ``{"range": [[0, 1]]}`` is one variant whose ``range`` is ``[0, 1]``.

    Raises:
        InvalidRequestError: a list is empty, which would make a batch of nothing.
    """
    variants = 1
    for name, value in parameters.items():
        if isinstance(value, list) and not value:
            raise InvalidRequestError(f"cannot expand parameter {name!r}: its list of values is empty")
        variants *= len(value) if isinstance(value, list) else 1
    if variants > MOST_VARIANTS:
        raise InvalidRequestError(
            f"cannot expand the parameters: they make {variants:,} variants, and {MOST_VARIANTS:,} is the most"
        )
    choices = [value if isinstance(value, list) else [value] for value in parameters.values()]
    return tuple(dict(zip(parameters, combination, strict=True)) for combination in product(*choices))


def batch_status(counts: Mapping[Status, int], *, started: bool, cancelled: bool) -> Status:
    """A batch's status from the counters that are kept for it.

    It is running from its first job to its last, failed when it ended with any failed job, cancelled when
    it was cancelled.
    """
    if counts[Status.PENDING] or counts[Status.RUNNING]:
        return Status.RUNNING if started else Status.PENDING
    if cancelled or counts[Status.CANCELLED] == sum(counts.values()):
        return Status.CANCELLED
    return Status.FAILED if counts[Status.FAILED] else Status.COMPLETED


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """A batch about to be created: everything but its records."""

    batch_id: str
    flow: str
    flow_version: str
    """A digest of the flow's configuration."""
    variants: tuple[Mapping[str, Any], ...]
    records: int
    owner_uid: int
    seed: int | None = None
    """The seed it was shuffled with; None where it was not."""
    priority: int = 0
    """Higher goes first."""
    concurrency: int | None = None
    """At most this many of its jobs at once; None: as many as flow and daemon allow."""
    error_policy: str = "continue"
    duplicates: int = 0
    """Record ids that were given more than once, and dropped."""
    queue: str = "local"
    """Where its jobs wait: ``local`` or ``pubsub``."""

    @property
    def total(self) -> int:
        return self.records * len(self.variants)

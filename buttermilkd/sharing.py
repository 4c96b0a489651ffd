"""What passes between the ledger and a queue that many hosts share. Plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from buttermilkd.errors import InvalidRequestError, UnreadableError
from buttermilkd.jobs import BatchSpec, Settlement, Taken
from buttermilkd.messages import BatchCreated, BatchEvent, HostAsks, JobRequest, JobUpdate, parse_update

LARGEST_BATCH = 1_000_000
"""Bytes that a batch's variants may take, written as JSON; Pub/Sub takes ten times as much."""
Update = JobUpdate | BatchEvent | HostAsks
"""What the status topic carries."""


class Topic(StrEnum):
    """Which of the two topics a message is for."""

    JOBS = "jobs"
    STATUS = "status"


@dataclass(frozen=True, slots=True)
class Lease:
    """What ``Taken.lease`` is for a job of the ledger."""

    id: int
    batch: int
    ack_id: str | None = None
    """Pub/Sub's handle of the message that asked for it; None where it waited in the ledger alone."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that asks for a job."""

    request: JobRequest
    ack_id: str
    message_id: str = ""
    published_at: float = 0.0
    """Seconds since the epoch."""


@dataclass(slots=True)
class Claimed:
    """What became of messages that ask for jobs."""

    taken: list[Taken] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    """Messages, by their ack ids, that are to be acknowledged."""
    adopted: dict[str, str] = field(default_factory=dict)
    """Ids of jobs that run here, and the messages that hold their leases from now on."""
    deferred: dict[str, float] = field(default_factory=dict)
    """Messages that are to be given out again, and after how many seconds."""
    clashing: list[Arrival] = field(default_factory=list)
    """Those whose job ids stand for other records here, or for none."""
    ended: list[str] = field(default_factory=list)
    """Batches that have ended thereby."""
    began: bool = False
    """Some batch has begun thereby."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a settlement brought about."""

    ended: list[str]
    """Batches."""
    stopping: bool
    """Some batch is being stopped and has jobs left that wait: see ``ledger.batches.cancel_portion``."""
    recorded: list[Settlement]
    """Those that changed something: the others had been settled before."""


@dataclass(slots=True)
class Merged:
    """What this host has to do about what others told."""

    cancelled: list[str] = field(default_factory=list)
    """Batches that were cancelled elsewhere."""
    superseded: list[str] = field(default_factory=list)
    """Jobs that run here, and have ended or were begun anew elsewhere."""
    ended: list[str] = field(default_factory=list)
    """Batches that have ended."""
    is_asked: bool = False
    """Another host wants to be told again what is known here first-hand."""
    postponed: list[BatchEvent] = field(default_factory=list)
    """What makes no sense before something else is heard."""


@dataclass(frozen=True, slots=True)
class Post:
    """A message in the outbox."""

    number: int
    data: bytes
    attributes: Mapping[str, str]
    ack_id: str | None
    """The message that this one takes the place of: acknowledged once this one is published."""


@dataclass(frozen=True, slots=True)
class Portion:
    """The next part of a batch that is to be told or published, and how far that is."""

    batch: int
    messages: Sequence[JobRequest | BatchEvent]
    start: int
    until: int


def check_publishable(spec: BatchSpec) -> None:
    """Whether other hosts can be told of a batch and its jobs.

    Raises:
        InvalidRequestError: they cannot; the message says why.
    """
    created = BatchCreated(spec=spec, created_at=0.0, batch_id=spec.batch_id, host="", at=0.0, sequence=0)
    try:
        data = created.encode()
        parse_update(data, created.attributes())
    except (ValueError, UnreadableError) as error:
        raise InvalidRequestError(f"cannot publish the parameters: {error}") from None
    if len(data) > LARGEST_BATCH:
        raise InvalidRequestError(
            f"cannot publish the parameters: all variants together take {len(data):,} bytes, and {LARGEST_BATCH:,} are the most",
            hint="give fewer values, or the path of a file that every host can read",
        )

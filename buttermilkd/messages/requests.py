"""A job on the jobs topic: what it looks like there, and how Buttermilk's own messages become one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from buttermilkd.clock import iso
from buttermilkd.errors import NotAJobError, UnreadableError
from buttermilkd.jobs import job_id, split_job_id
from buttermilkd.messages.events import BATCH_STATUS, HOST_STATUS
from buttermilkd.messages.fields import Fields
from buttermilkd.messages.original import read_original
from buttermilkd.messages.updates import JOB_STATUS
from buttermilkd.messages.wire import SCHEMA, check_schema, read, type_of, write

JOB_REQUEST = "job_request"
_TELLING = (JOB_STATUS, BATCH_STATUS, HOST_STATUS)
"""What comes to the jobs topic where one topic serves for both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """Asks that one attempt of a job be executed. Times are in seconds since the epoch."""

    job_id: str
    batch_id: str
    number: int
    """Of the job in its batch, from 1; the last part of ``job_id``."""
    flow: str
    record_id: str
    parameters: Mapping[str, Any]
    attempt: int = 1
    """Which execution is asked for, from 1."""
    deferrals: int = 0
    disturbances: int = 0
    interruptions: int = 0
    generation: int = 0
    """How often the job was published in another state; one that is lower than what is known is out of date."""
    batch_sequence: int = 0
    """Of what had happened last to the whole batch, as far as its publisher knew; see ``BatchEvent``."""
    not_before: float | None = None
    """It must not start before; on the wire in milliseconds."""
    priority: int = 0
    concurrency: int | None = None
    """Of its batch: at most this many at once; None: as many as flow and daemon allow."""
    created_at: float
    total: int | None = None
    """Jobs of its batch; None where nobody knows, as with those of the original's."""
    foreign: bool = False
    """Made from a message of the original's, which knows nothing of our fields."""
    original_batch_id: str | int | None = None
    """Of the original's, as it was written, where ``batch_id`` had to be another: answers carry it."""
    original_record_id: int | None = None
    """Likewise, where a number was written."""

    def encode(self) -> bytes:
        """The message's body.

        Raises:
            ValueError: the parameters hold NaN or an infinity, or are nested too deep to be read.
            OverflowError: a time lies outside the years 1 to 9999; it may be a ValueError, too.
        """
        document = {
            "type": JOB_REQUEST,
            "flow": self.flow,
            "record_id": self.record_id,
            "parameters": dict(self.parameters),
            "batch_id": self.batch_id,
            "created_at": iso(self.created_at),
            "job_id": self.job_id,
            "attempt": self.attempt,
            "not_before": iso(self.not_before),
            "priority": self.priority,
            "schema": SCHEMA,
        }
        return write(document | self._additions())

    def _additions(self) -> dict[str, Any]:
        """Fields that most messages need not carry."""
        additions = {
            "deferrals": self.deferrals,
            "disturbances": self.disturbances,
            "interruptions": self.interruptions,
            "generation": self.generation,
            "batch_sequence": self.batch_sequence or None,
            "concurrency": self.concurrency,
            "total": self.total,
            "foreign": self.foreign or None,
            "original_batch_id": self.original_batch_id,
            "original_record_id": self.original_record_id,
        }
        return {name: value for name, value in additions.items() if value is not None}

    def attributes(self) -> dict[str, str]:
        """What subscriptions may filter by."""
        return {
            "type": JOB_REQUEST,
            "batch_id": self.batch_id,
            "job_id": self.job_id,
            "flow": self.flow,
            "attempt": str(self.attempt),
            "schema": str(SCHEMA),
        }

    @classmethod
    def parse(cls, data: bytes, attributes: Mapping[str, str], message_id: str, published_at: float) -> Self:
        """The job that this message asks for; the same one at each delivery, on each host.

        ``message_id`` is Pub/Sub's own, ``published_at`` its time in seconds since the epoch; both serve where the
        message does not say better.

        Raises:
            UnreadableError: it cannot be read, or is of a type that nobody knows: whoever sent it may have meant a job.
            NotAJobError: it tells of something.
        """
        document = read(data)
        kind = type_of(document, attributes) or JOB_REQUEST
        if kind in _TELLING:
            raise NotAJobError(f"the message is of type {kind!r}, and asks for no job")
        if kind != JOB_REQUEST:
            raise UnreadableError(
                f"field 'type' must be {JOB_REQUEST} on the jobs topic, and is {kind[:40]!r}"
            )
        if _is_ours(document):
            return cls._of_ours(document, published_at)
        return cls._of_the_originals(document, message_id, published_at)

    @classmethod
    def _of_ours(cls, document: Mapping[str, Any], published_at: float) -> Self:
        check_schema(document)
        fields = Fields(document)
        batch_id, number = _identity(fields)
        parameters = fields.mapping("parameters")
        written_record = fields.identifier("original_record_id")
        return cls(
            job_id=job_id(batch_id, number),
            batch_id=batch_id,
            number=number,
            flow=fields.flow(),
            record_id=fields.record_id(),
            parameters={} if parameters is None else parameters,
            attempt=fields.whole("attempt", least=1, default=1),
            deferrals=fields.whole("deferrals", default=0),
            disturbances=fields.whole("disturbances", default=0),
            interruptions=fields.whole("interruptions", default=0),
            generation=fields.whole("generation", default=0),
            batch_sequence=fields.whole("batch_sequence", default=0),
            not_before=fields.time("not_before"),
            priority=fields.priority(),
            concurrency=fields.optional_whole("concurrency", least=1),
            created_at=fields.time("created_at", default=published_at),
            total=fields.optional_whole("total"),
            foreign=fields.flag("foreign"),
            original_batch_id=fields.identifier("original_batch_id"),
            original_record_id=written_record if isinstance(written_record, int) else None,
        )

    @classmethod
    def _of_the_originals(cls, document: Mapping[str, Any], message_id: str, published_at: float) -> Self:
        original = read_original(document, message_id)
        fields = Fields(document)
        return cls(
            job_id=job_id(original.batch_id, original.number),
            batch_id=original.batch_id,
            number=original.number,
            flow=original.flow,
            record_id=original.record_id,
            parameters=original.parameters,
            attempt=fields.whole("attempt", least=1, default=1),
            not_before=fields.time("not_before"),
            priority=fields.priority(),
            created_at=fields.readable_time("created_at", default=published_at),
            foreign=True,
            original_batch_id=original.original_batch_id,
            original_record_id=original.original_record_id,
        )


def _is_ours(document: Mapping[str, Any]) -> bool:
    """Whether it has an id of ours. A version of the original's may have written an id of its own making."""
    identifier = document.get("job_id")
    if not identifier:
        return False
    return isinstance(document.get("schema"), int) or (
        isinstance(identifier, str) and split_job_id(identifier) is not None
    )


def _identity(fields: Fields) -> tuple[str, int]:
    """Batch id and number.

    Raises:
        UnreadableError: they are none, or the job is not of that batch.
    """
    batch_id, identifier = fields.batch_id(), fields.needed_text("job_id")
    parts = split_job_id(identifier)
    if parts is None or parts[0] != batch_id:
        raise UnreadableError(f"field 'job_id' must be {batch_id}.NUMBER, and is {identifier[:80]!r}")
    return parts

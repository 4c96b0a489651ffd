"""What the status topic carries: what became of a job, in a form that Buttermilk's own code reads as well."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from buttermilkd.clock import iso
from buttermilkd.errors import NotAnUpdateError, UnreadableError
from buttermilkd.jobs import Status, split_job_id
from buttermilkd.messages.events import (
    BATCH_STATUS,
    HOST_STATUS,
    BatchEvent,
    HostAsks,
    parse_asking,
    parse_event,
)
from buttermilkd.messages.fields import Fields
from buttermilkd.messages.original import our_batch_id
from buttermilkd.messages.wire import SCHEMA, check_schema, read, type_of, write

JOB_STATUS = "job_status"

RANKS = {Status.PENDING: 0, Status.RUNNING: 0, Status.CANCELLED: 1, Status.FAILED: 2, Status.COMPLETED: 3}
"""Where hosts differ on how one execution ended, the higher counts, on all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """The whole state of one job as of ``at``. Times are in seconds since the epoch; on the wire in milliseconds."""

    batch_id: str
    """Ours; on the wire it is the original's where that differs."""
    record_id: str
    status: Status
    job_id: str | None = None
    """None in a message of the original's: it does not say which variant of the record it speaks of, and only
    a ledger knows whether there are others."""
    flow: str | None = None
    attempt: int = 1
    """The latest execution, from 1."""
    host: str | None = None
    """Who says so; None in a message of the original's, which has neither ``at`` nor ``sequence``."""
    at: float | None = None
    sequence: int = 0
    """Of a hybrid logical clock: microseconds since the epoch, more than any that its host had seen."""
    generation: int = 0
    batch_sequence: int = 0
    """Of what had happened last to the whole batch, as far as the host knew; see ``BatchEvent``."""
    deferrals: int = 0
    disturbances: int = 0
    interruptions: int = 0
    error: str | None = None
    cause: str | None = None
    due: float | None = None
    """While it waits to be tried again: not before."""
    started_at: float | None = None
    ended_at: float | None = None
    result: str | None = None
    """JSON text, which on the wire is a string too, so that it arrives as it was written."""
    parameters: Mapping[str, Any] | None = None
    """Of jobs made from the original's messages only: no batch of ours lists them."""
    created_at: float | None = None
    """Of those likewise: when their batch was made, as far as its host knew."""
    original_batch_id: str | int | None = None
    original_record_id: int | None = None
    """As the original wrote them, where ours had to be others."""

    @property
    def precedence(self) -> tuple[int, int, int]:
        """An update applies only where this is greater than that of the last one which did."""
        return self.generation, RANKS[self.status], self.sequence

    def encode(self) -> bytes:
        """The message's body.

        Raises:
            ValueError: the parameters hold NaN or an infinity, or are nested too deep to be read.
            OverflowError: a time lies outside the years 1 to 9999; it may be a ValueError, too.
        """
        document = {
            "type": JOB_STATUS,
            "batch_id": _first(self.original_batch_id, self.batch_id),
            "record_id": _first(self.original_record_id, self.record_id),
            "status": self.status,
            "error": self.error,
        }
        return write(document | (self._additions() if self.job_id else {}))

    def _additions(self) -> dict[str, Any]:
        """What the original does not know."""
        return {
            "job_id": self.job_id,
            "flow": self.flow,
            "attempt": self.attempt,
            "host": self.host,
            "at": iso(self.at),
            "sequence": self.sequence,
            "generation": self.generation,
            "deferrals": self.deferrals,
            "disturbances": self.disturbances,
            "interruptions": self.interruptions,
            "cause": self.cause,
            "due": iso(self.due),
            "started_at": iso(self.started_at),
            "ended_at": iso(self.ended_at),
            "result": self.result,
            "schema": SCHEMA,
        } | self._seldom()

    def _seldom(self) -> dict[str, Any]:
        additions = {
            "batch_sequence": self.batch_sequence or None,
            "parameters": None if self.parameters is None else dict(self.parameters),
            "created_at": iso(self.created_at),
        }
        return {name: value for name, value in additions.items() if value is not None}

    def attributes(self) -> dict[str, str]:
        """What subscriptions may filter by; the batch's id is ours."""
        attributes = {
            "type": JOB_STATUS,
            "batch_id": self.batch_id,
            "job_id": self.job_id,
            "flow": self.flow,
            "attempt": str(self.attempt),
            "status": self.status.value,
            "host": self.host,
            "schema": str(SCHEMA),
        }
        return {name: value for name, value in attributes.items() if value is not None}

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Self:
        """Raises UnreadableError: a field is missing or wrong."""
        fields = Fields(document)
        if not document.get("job_id"):
            return cls(**_named(fields, None))
        check_schema(document)
        identifier = fields.needed_text("job_id")
        return cls(
            **_named(fields, identifier),
            job_id=identifier,
            flow=fields.flow(),
            attempt=fields.whole("attempt", default=1),
            host=fields.needed_text("host"),
            at=fields.needed_time("at"),
            sequence=fields.needed_whole("sequence"),
            generation=fields.whole("generation", default=0),
            batch_sequence=fields.whole("batch_sequence", default=0),
            deferrals=fields.whole("deferrals", default=0),
            disturbances=fields.whole("disturbances", default=0),
            interruptions=fields.whole("interruptions", default=0),
            cause=fields.text("cause"),
            due=fields.time("due"),
            started_at=fields.time("started_at"),
            ended_at=fields.time("ended_at"),
            result=_json(fields, "result"),
            parameters=fields.mapping("parameters"),
            created_at=fields.time("created_at"),
        )


def parse_update(data: bytes, attributes: Mapping[str, str]) -> JobUpdate | BatchEvent | HostAsks:
    """What this message of the status topic says; those of the original's say less.

    Raises:
        NotAnUpdateError: it is of another type.
        UnreadableError: it cannot be read.
    """
    document = read(data)
    kind = type_of(document, attributes)
    if kind == JOB_STATUS:
        return JobUpdate.of_document(document)
    if kind == BATCH_STATUS:
        return parse_event(document)
    if kind == HOST_STATUS:
        return parse_asking(document)
    if kind is None:
        raise UnreadableError("field 'type' is missing")
    raise NotAnUpdateError(f"the message is of type {kind[:40]!r}, and tells of no status")


def _named(fields: Fields, identifier: str | None) -> dict[str, Any]:
    """The fields that the original writes, too."""
    written_batch, written_record = (
        fields.needed_identifier("batch_id"),
        fields.needed_identifier("record_id"),
    )
    batch_id = our_batch_id(written_batch) if identifier is None else _batch_of(identifier)
    return {
        "batch_id": batch_id,
        "original_batch_id": written_batch if written_batch != batch_id else None,
        "record_id": str(written_record),
        "original_record_id": written_record if isinstance(written_record, int) else None,
        "status": _status(fields),
        "error": fields.text("error"),
    }


def _batch_of(identifier: str) -> str:
    parts = split_job_id(identifier)
    if parts is None:
        raise UnreadableError(f"field 'job_id' must be BATCH.NUMBER, and is {identifier[:80]!r}")
    return parts[0]


def _status(fields: Fields) -> Status:
    text = fields.needed_text("status")
    try:
        return Status(text.lower())
    except ValueError:
        known = ", ".join(Status)
        raise UnreadableError(f"field 'status' must be one of {known}, and is {text[:40]!r}") from None


def _json(fields: Fields, name: str) -> str | None:
    text = fields.text(name)
    try:
        if text is not None:
            json.loads(text)
    except (ValueError, RecursionError):
        raise UnreadableError(f"field {name!r} must be JSON in a string, and is not") from None
    return text


def _first(one: Any, other: Any) -> Any:
    return other if one is None else one

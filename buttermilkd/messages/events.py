"""What the status topic carries of batches: every host knows of each, and of jobs that nobody has begun."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from buttermilkd.clock import iso
from buttermilkd.errors import UnreadableError
from buttermilkd.jobs import BatchSpec, Status
from buttermilkd.messages.creation import ERROR_POLICIES
from buttermilkd.messages.fields import Fields
from buttermilkd.messages.wire import SCHEMA, check_schema, write

BATCH_STATUS = "batch_status"
HOST_STATUS = "host_status"
PLAIN_EVENTS = ("cancelled", "stopped", "reopened")
"""Those that say nothing but which batch it happened to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEvent:
    """What happened to a batch: ``cancelled``, ``stopped`` by a failure, ``reopened``, or one of the classes below."""

    event: str
    batch_id: str
    host: str
    """Where it happened."""
    at: float
    """Seconds since the epoch; on the wire in milliseconds."""
    sequence: int
    """Of a hybrid logical clock: microseconds since the epoch, more than any that its host had seen."""

    def encode(self) -> bytes:
        """The message's body.

        Raises:
            ValueError: the parameters hold NaN or an infinity, or are nested too deep to be read.
            OverflowError: a time lies outside the years 1 to 9999; it may be a ValueError, too.
        """
        document = {
            "type": BATCH_STATUS,
            "event": self.event,
            "batch_id": self.batch_id,
            "host": self.host,
            "at": iso(self.at),
            "sequence": self.sequence,
            "schema": SCHEMA,
        }
        return write(document | self._particulars())

    def _particulars(self) -> dict[str, Any]:
        return {}

    def attributes(self) -> dict[str, str]:
        """What subscriptions may filter by."""
        return {
            "type": BATCH_STATUS,
            "event": self.event,
            "batch_id": self.batch_id,
            "host": self.host,
            "schema": str(SCHEMA),
        }

    @classmethod
    def of_fields(cls, fields: Fields, common: Mapping[str, Any]) -> Self:
        """Raises UnreadableError: a field is missing or wrong."""
        return cls(event=fields.needed_text("event"), **common)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCreated(BatchEvent):
    """A batch exists; its records follow in events of their own."""

    event: str = field(default="created", init=False)
    spec: BatchSpec
    created_at: float

    def _particulars(self) -> dict[str, Any]:
        spec = self.spec
        return {
            "flow": spec.flow,
            "flow_version": spec.flow_version,
            "variants": [dict(variant) for variant in spec.variants],
            "records": spec.records,
            "total": spec.total,
            "duplicates": spec.duplicates,
            "seed": spec.seed,
            "priority": spec.priority,
            "concurrency": spec.concurrency,
            "error_policy": spec.error_policy,
            "owner_uid": spec.owner_uid,
            "created_at": iso(self.created_at),
        }

    @classmethod
    def of_fields(cls, fields: Fields, common: Mapping[str, Any]) -> Self:
        return cls(spec=_spec(fields), created_at=fields.needed_time("created_at"), **common)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRecords(BatchEvent):
    """Some of a batch's records, in its order."""

    event: str = field(default="records", init=False)
    first: int
    """Index of the first of them in the batch, from 0."""
    records: tuple[str, ...]

    def _particulars(self) -> dict[str, Any]:
        return {"first": self.first, "records": self.records}

    @classmethod
    def of_fields(cls, fields: Fields, common: Mapping[str, Any]) -> Self:
        return cls(first=fields.needed_whole("first"), records=fields.identifiers("records"), **common)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEnded(BatchEvent):
    """A batch's last job has ended."""

    event: str = field(default="ended", init=False)
    counts: Mapping[Status, int]
    """How many of its jobs have which status."""

    def _particulars(self) -> dict[str, Any]:
        return {"counts": {status.value: self.counts.get(status, 0) for status in Status}}

    @classmethod
    def of_fields(cls, fields: Fields, common: Mapping[str, Any]) -> Self:
        counts = Fields(fields.needed_mapping("counts"))
        return cls(counts={status: counts.whole(status.value, default=0) for status in Status}, **common)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAsks:
    """A host knows nothing yet, or may have missed something: the others tell again what they know first-hand."""

    host: str
    at: float
    sequence: int

    def encode(self) -> bytes:
        """The message's body."""
        document = {
            "type": HOST_STATUS,
            "event": "asks",
            "host": self.host,
            "at": iso(self.at),
            "sequence": self.sequence,
            "schema": SCHEMA,
        }
        return write(document)

    def attributes(self) -> dict[str, str]:
        """What subscriptions may filter by."""
        return {"type": HOST_STATUS, "event": "asks", "host": self.host, "schema": str(SCHEMA)}


def parse_asking(document: Mapping[str, Any]) -> HostAsks:
    """Raises UnreadableError: a field is missing or wrong."""
    check_schema(document)
    fields = Fields(document)
    return HostAsks(
        host=fields.needed_text("host"),
        at=fields.needed_time("at"),
        sequence=fields.needed_whole("sequence"),
    )


_CLASSES: Mapping[str, type[BatchEvent]] = {
    "created": BatchCreated,
    "records": BatchRecords,
    "ended": BatchEnded,
    **dict.fromkeys(PLAIN_EVENTS, BatchEvent),
}


def parse_event(document: Mapping[str, Any]) -> BatchEvent:
    """The event that this message tells of.

    Raises:
        UnreadableError: a field is missing or wrong.
    """
    check_schema(document)
    fields = Fields(document)
    name = fields.needed_text("event")
    if name not in _CLASSES:
        raise UnreadableError(f"field 'event' must be one of {', '.join(_CLASSES)}, and is {name[:40]!r}")
    common = {
        "batch_id": fields.batch_id(),
        "host": fields.needed_text("host"),
        "at": fields.needed_time("at"),
        "sequence": fields.needed_whole("sequence"),
    }
    return _CLASSES[name].of_fields(fields, common)


def _spec(fields: Fields) -> BatchSpec:
    policy = fields.text("error_policy") or ERROR_POLICIES[0]
    if policy not in ERROR_POLICIES:
        raise UnreadableError(
            f"field 'error_policy' must be {' or '.join(ERROR_POLICIES)}, and is {policy[:40]!r}"
        )
    return BatchSpec(
        batch_id=fields.batch_id(),
        flow=fields.flow(),
        flow_version=fields.text("flow_version") or "",
        variants=fields.mappings("variants"),
        records=fields.needed_whole("records"),
        owner_uid=fields.needed_whole("owner_uid"),
        seed=fields.optional_whole("seed"),
        priority=fields.priority(),
        concurrency=fields.optional_whole("concurrency", least=1),
        error_policy=policy,
        duplicates=fields.whole("duplicates", default=0),
    )

"""Buttermilk's own job messages, of every version that it has had, and which of our jobs each of them is.

They are ``RunRequest``s as JSON, without attributes and without an id. What a version has renamed is understood under
each name, and whatever nobody here knows is handed to the flow's code as a parameter, which is what it was meant for.
Everything that is made here follows from the message alone, so that every host makes the same of it, at each delivery.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from buttermilkd.errors import UnreadableError
from buttermilkd.jobs import BATCH_ID
from buttermilkd.messages.fields import Fields, is_usable, kind_of
from buttermilkd.messages.wire import MAX_DEPTH, TOO_DEEP, is_deep

NUMBERS = 10**12 - 1
"""The highest number that a job's id can hold."""

_NAMING = ("flow", "batch_id", "record_id", "parameters")
"""What later versions have under ``inputs`` as well."""
_OURS = ("job_id", "attempt", "not_before", "priority")
"""Additions of ours that a message without a ``schema`` may carry: understood, never a parameter."""
_BOOKKEEPING = frozenset(
    (
        *("type", "status", "created_at", "started_at", "completed_at", "error", "result_uri"),
        *("session_id", "client_callback", "callback_to_ui", "ui_type"),
    )
)
"""What ``RunRequest`` keeps about the run itself. A flow's code has no use for it, and some of it is random."""


@dataclass(frozen=True, slots=True)
class Original:
    """What a message of the original's asks for, in our terms."""

    flow: str
    batch_id: str
    original_batch_id: str | int | None
    """As it was written, where ours had to be another."""
    record_id: str
    original_record_id: int | None
    """As it was written, where that was a number."""
    parameters: dict[str, Any]
    number: int


def read_original(document: Mapping[str, Any], message_id: str) -> Original:
    """What this message asks for.

    Raises:
        UnreadableError: it names no flow, or something in it cannot be what it should be.
    """
    if is_deep(document, MAX_DEPTH - 1):
        # A field that becomes a parameter is one object deeper when the job is published again, for a retry.
        raise UnreadableError(TOO_DEEP)
    known, others = _sorted(document)
    fields = Fields(known)
    flow = fields.flow()
    written_batch = fields.identifier("batch_id")
    written_record = fields.identifier("record_id")
    parameters = {**others, **known["parameters"]}
    record_id = _record_id(written_record, parameters.get("uri"), message_id)
    batch_id = single_batch_id(flow) if written_batch is None else our_batch_id(written_batch)
    # Without a batch nobody says that two messages are one job: whoever publishes a record again means it.
    identity = [message_id] if written_batch is None else [flow, record_id, parameters]
    return Original(
        flow=flow,
        batch_id=batch_id,
        original_batch_id=written_batch if written_batch != batch_id else None,
        record_id=record_id,
        original_record_id=written_record if isinstance(written_record, int) else None,
        parameters=parameters,
        number=_number(identity),
    )


def our_batch_id(written: str | int) -> str:
    """The batch id itself where it is one of ours too; else one that shows what can be shown of it."""
    text = str(written)
    return text if BATCH_ID.fullmatch(text) else _readable("batch", text)


def single_batch_id(flow: str) -> str:
    """The batch of a flow's messages that name none.

    There is one for each flow, since a batch has one flow; and not one for each message, which would bury all
    others in a list of batches of one job.
    """
    return _readable("single", flow, always="single-")


def _readable(default: str, text: str, *, always: str = "") -> str:
    digest = sha256(text.encode()).hexdigest()[:12]
    shown = re.sub(r"[^A-Za-z0-9_]+", "-", text[:200]).strip("-_")[:40].rstrip("-_")
    return f"{always}{shown or default}-{digest}"


def _sorted(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields that name the job, and those that nobody here knows."""
    top = {name: value for name, value in document.items() if _says_something(value)}
    inputs = top.pop("inputs") if isinstance(top.get("inputs"), dict) else {}
    if isinstance(top.get("schema"), int):
        del top["schema"]
    known = {name: top.get(name, inputs.get(name)) for name in _NAMING}
    known["parameters"] = _both(inputs.get("parameters"), top.get("parameters"))
    others = {name: value for name, value in top.items() if name not in _BOOKKEEPING and name not in _OURS}
    # Who writes a "status" among the inputs means the flow's code, not the run.
    return known, {name: value for name, value in {**inputs, **others}.items() if name not in _NAMING}


def _says_something(value: Any) -> bool:
    """Whether the original would not leave it out when it reads; but 0 and false are answers of a flow's own."""
    return value is not None and value not in ("", [], {})


def _both(below: Any, above: Any) -> dict[str, Any]:
    parts = [value for value in (below, above) if _says_something(value)]
    for value in parts:
        if not isinstance(value, dict):
            raise UnreadableError(f"field 'parameters' must be an object, and is {kind_of(value)}")
    return {name: value for part in parts for name, value in part.items()}


def _record_id(written: str | int | None, uri: Any, message_id: str) -> str:
    if written is not None:
        return str(written)
    return uri if isinstance(uri, str) and is_usable(uri) else message_id


def _number(identity: list[Any]) -> int:
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"))
    return int.from_bytes(sha256(text.encode()).digest()[:8]) % NUMBERS + 1

"""Dead letters: jobs that failed for good, and messages from the queue that could not be read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

from buttermilkd.errors import InvalidRequestError

MOST_AT_ONCE = 1000
"""Dead letters that one request may name."""


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message from the queue that could not be read, just as it came."""

    message_id: str
    """The queue's own id: a redelivery has the same one."""
    reason: str
    """Why it could not be read, in one sentence."""
    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)
    published_at: float | None = None
    """Seconds since the epoch."""


class DeadLetterView(TypedDict):
    """One dead letter. What only the other kind has is null.

    ``attributes`` and ``data`` only where one message is asked for.
    """

    id: str
    """A job's own id, or ``message-`` and a number."""
    kind: str
    """``job`` or ``message``."""
    at: str
    """When it became a dead letter."""
    reason: str
    batch_id: str | None
    job_id: str | None
    flow: str | None
    record_id: str | None
    parameters: Mapping[str, Any] | None
    attempt: int | None
    error: str | None
    message_id: str | None
    published_at: str | None
    size: int | None
    """Bytes of the message."""
    attributes: NotRequired[Mapping[str, str]]
    data: NotRequired[str]
    """The message's bytes as base64."""


class DeadLettersView(TypedDict):
    dead: list[DeadLetterView]
    next: str | None


class DeadOutcomeView(TypedDict):
    """What became of one id. Where it was not ``done``, the rest says why, as a problem document would."""

    id: str
    """In full, or as it was given where there is no such dead letter."""
    done: bool
    kind: str | None
    """The error's kind, for example ``not-found``."""
    detail: str | None
    hint: str | None


class DeadOutcomesView(TypedDict):
    """The answer to a requeue or a drop: one outcome for each id, in the order given."""

    outcomes: list[DeadOutcomeView]


def parse_ids(document: Mapping[str, Any]) -> Sequence[str]:
    """The ids that a requeue or a drop names, each once, in the order given.

    Raises:
        InvalidRequestError: there are none, too many, or something that is no id.
    """
    ids = document.get("ids")
    unknown = [name for name in document if name != "ids"]
    if unknown:
        raise InvalidRequestError(f"cannot use field {unknown[0][:40]!r}: there is only 'ids'")
    if not isinstance(ids, list) or not ids or not all(isinstance(item, str) for item in ids):
        raise InvalidRequestError(
            "cannot tell which dead letters are meant: field 'ids' must be a list of ids"
        )
    if len(ids) > MOST_AT_ONCE:
        raise InvalidRequestError(
            f"cannot take {len(ids):,} dead letters at once: {MOST_AT_ONCE:,} is the most",
            hint="name them in several requests",
        )
    return list(dict.fromkeys(ids))

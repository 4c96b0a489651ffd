"""Asking for a batch, and the answer."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self, TypedDict

from buttermilkd.errors import InvalidRequestError

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

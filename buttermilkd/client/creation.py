"""What is posted to create a batch, and what comes back."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from itertools import chain, islice
from typing import Any, Self

from buttermilkd.client.transport import Body
from buttermilkd.errors import InvalidRequestError
from buttermilkd.messages import NDJSON, CreateBatch

_MOST_IN_ONE_DOCUMENT = 10_000
_RECORDS_PER_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class Created:
    """A batch that was created, or with ``dry_run`` would have been."""

    batch_id: str
    flow: str
    jobs: int
    records: int
    variants: int
    duplicates: int
    """Record ids that were given more than once, and dropped."""
    seed: int | None
    """What its records were shuffled with."""
    dry_run: bool

    @classmethod
    def of(cls, view: Mapping[str, Any]) -> Self:
        """The answer of a daemon, which may be newer and say more."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in view.items() if name in known})


def create_body(request: CreateBatch, records: Iterable[str] | None) -> tuple[Body, str]:
    """What to post, and its content type."""
    if isinstance(records, str):
        raise InvalidRequestError("cannot create a batch: records must be a list of ids, not one string")
    if records is None or (isinstance(records, list) and len(records) <= _MOST_IN_ONE_DOCUMENT):
        return json.dumps({**asdict(request), "records": records}).encode(), "application/json"
    iterator = iter(records)
    # A source that cannot be read shows it at its first record, before the daemon is bothered.
    first = list(islice(iterator, 1))
    if not first:
        raise InvalidRequestError("cannot create a batch of nothing: there are no records")
    return _record_lines(request, chain(first, iterator)), NDJSON


def _record_lines(request: CreateBatch, records: Iterator[str]) -> Iterator[bytes]:
    yield request.head()
    while some := list(islice(records, _RECORDS_PER_CHUNK)):
        yield "".join(f"{json.dumps(record)}\n" for record in some).encode()

"""How a batch is created: of which records, with which parameters."""

import asyncio
import logging
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from buttermilkd.errors import InvalidRequestError, MisconfiguredError, NotFoundError
from buttermilkd.jobs import MAX_RECORD_ID, BatchSpec, check_batch_id, expand_variants, new_batch_id
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.creation import Answer
from buttermilkd.messages import CreateBatch, CreatedView
from buttermilkd.plurals import count
from buttermilkd.records import FlowSource, from_flow, unique
from buttermilkd.runner.launcher.environment import inherited
from buttermilkd.sharing import check_publishable

logger = logging.getLogger(__name__)

MOST_JOBS = 100_000_000
"""In one batch."""
FEW = 100
"""Records that are looked at in less time than another thread needs to begin."""


class Flow(FlowSource, Protocol):
    """What creating a batch needs of a flow's settings."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> Mapping[str, Any]: ...

    @property
    def shuffle(self) -> bool: ...

    @property
    def version(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the key that makes asking twice the same as asking once."""

    uid: int
    keep: Callable[[CreatedView], Answer] | None = None
    """Makes the answer to keep with what was created."""


class Creation:
    """Creates batches, one at a time."""

    def __init__(
        self,
        *,
        flows: Mapping[str, Flow],
        check: Callable[[str], Awaitable[str | None]],
        ledger: Ledger,
        queue: str,
    ) -> None:
        self._flows = flows
        self._check = check
        self._ledger = ledger
        self._queue = queue
        self._writing = asyncio.Lock()

    async def create(self, request: CreateBatch, given: Iterable[str] | None, caller: Caller) -> CreatedView:
        """See ``Batches.create``."""
        flow = await self._flow(request.flow)
        spec, records = await self._planned(flow, request, given, caller)
        if self._queue == "pubsub":
            check_publishable(spec)
        created = _created(spec, dry_run=request.dry_run)
        if not request.dry_run:
            # One at a time: a batch's jobs are one contiguous range of the ledger's table.
            async with self._writing:
                await self._ledger.create(spec, iter(records), caller.keep(created) if caller.keep else None)
            jobs = count(spec.total, "job")
            told = about(spec, Kind.BATCH_CREATED, peer_uid=caller.uid)
            logger.info("created %s: %s of %s", spec.batch_id, jobs, spec.flow, extra=told)
        return created

    async def _planned(
        self, flow: Flow, request: CreateBatch, given: Iterable[str] | None, caller: Caller
    ) -> tuple[BatchSpec, list[str]]:
        """What the batch will be, and its records in their order."""
        if request.batch_id is not None:
            check_batch_id(request.batch_id)
        variants = expand_variants({**flow.parameters, **request.parameters})
        source = given if given is not None else await from_flow(flow, inherited(os.environ))
        shuffle = flow.shuffle if request.shuffle is None else request.shuffle
        seed = _seed(request.seed) if shuffle else None
        records, duplicates = await _arranged(source, seed, request.limit)
        _check_size(len(records) * len(variants))
        spec = BatchSpec(
            batch_id=request.batch_id or new_batch_id(),
            flow=flow.name,
            flow_version=flow.version,
            variants=variants,
            records=len(records),
            owner_uid=caller.uid,
            seed=seed,
            priority=request.priority,
            concurrency=request.concurrency,
            error_policy=request.error_policy,
            duplicates=duplicates,
            queue=self._queue,
        )
        return spec, records

    async def _flow(self, name: str) -> Flow:
        flow = self._flows.get(name)
        if flow is None:
            close = get_close_matches(name, self._flows, 1)
            known = ", ".join(sorted(self._flows)) or "none"
            hint = f'did you mean "{close[0]}"?' if close else f"configured flows: {known}"
            raise NotFoundError(f"cannot find flow {name[:80]!r}", hint=hint)
        if problem := await self._check(name):
            raise MisconfiguredError(
                f"cannot run flow {name!r} here: {problem}", hint="see `buttermilkctl flows`"
            )
        return flow


def _seed(asked: int | None) -> int:
    return secrets.randbelow(2**31) if asked is None else asked


def _check_size(jobs: int) -> None:
    if jobs > MOST_JOBS:
        raise InvalidRequestError(
            f"cannot create a batch of {jobs:,} jobs: {MOST_JOBS:,} is the most",
            hint="split the records, or leave out values of parameters",
        )


async def _arranged(source: Iterable[str], seed: int | None, limit: int | None) -> tuple[list[str], int]:
    """See ``_arrange``: off the loop, unless that takes longer than it would on it."""
    if isinstance(source, list) and len(source) <= FEW:
        return _arrange(source, seed, limit)
    return await asyncio.to_thread(_arrange, source, seed, limit)


def _arrange(source: Iterable[str], seed: int | None, limit: int | None) -> tuple[list[str], int]:
    """The records as their batch will have them, and how many were given more than once.

    Raises:
        InvalidRequestError: there is none, or one is too long or empty.
    """
    records, duplicates = unique(source)
    if not records:
        raise InvalidRequestError(
            "cannot create a batch of nothing: no record was given", hint="give record ids"
        )
    wrong = next((record for record in records if not _usable(record)), None)
    if wrong is not None:
        raise InvalidRequestError(
            f"cannot use {wrong[:40]!r} as a record id: it must have 1 to {MAX_RECORD_ID:,} characters, "
            "none of them NUL or half of a surrogate pair"
        )
    if seed is not None:
        random.Random(seed).shuffle(records)  # noqa: S311 - an order that can be made again, no secret
    return records[:limit], duplicates


def _usable(record: str) -> bool:
    """Whether an argument, a file and the ledger can hold this id."""
    if not 0 < len(record) <= MAX_RECORD_ID or "\0" in record:
        return False
    try:
        record.encode()
    except UnicodeEncodeError:
        return False
    return True


def _created(spec: BatchSpec, *, dry_run: bool) -> CreatedView:
    return CreatedView(
        batch_id=spec.batch_id,
        flow=spec.flow,
        jobs=spec.total,
        records=spec.records,
        variants=len(spec.variants),
        duplicates=spec.duplicates,
        seed=spec.seed,
        dry_run=dry_run,
    )

"""What people ask to happen to batches and jobs: create, cancel, retry."""

import asyncio
import logging
import os
import random
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Protocol

from buttermilkd.errors import (
    ButtermilkError,
    ConflictError,
    InvalidRequestError,
    MisconfiguredError,
    NotFoundError,
)
from buttermilkd.jobs import (
    MAX_RECORD_ID,
    TRANSITIONS,
    BatchSpec,
    Ending,
    Event,
    Outcome,
    Status,
    check_batch_id,
    expand_variants,
    new_batch_id,
    transition,
)
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger, queries
from buttermilkd.ledger.creation import Answer
from buttermilkd.messages import CreateBatch, CreatedView, ReceiptView, RetriedView
from buttermilkd.plurals import count
from buttermilkd.records import FlowSource, from_flow, unique
from buttermilkd.runner.launcher.environment import inherited
from buttermilkd.sharing import Merged, check_publishable

logger = logging.getLogger(__name__)

MOST_JOBS = 100_000_000
"""In one batch."""


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


class Dispatcher(Protocol):
    """What cancelling needs of the dispatcher."""

    @property
    def running_ids(self) -> Mapping[str, list[str]]:
        """Ids of the jobs that run here, by batch id."""

    def refuse(self, subject: str) -> None: ...

    def accept(self, subject: str) -> None: ...

    async def stop(self, job_ids: Collection[str], *, now: bool = False) -> list[Outcome]: ...


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the key that makes asking twice the same as asking once."""

    uid: int
    keep: Callable[[CreatedView], Answer] | None = None
    """Makes the answer to keep with what was created."""


class Batches:
    """Creates, cancels and requeues. Everything that it answers is durable."""

    def __init__(
        self,
        *,
        flows: Mapping[str, Flow],
        check: Callable[[str], Awaitable[str | None]],
        ledger: Ledger,
        dispatcher: Dispatcher,
        queue: str,
    ) -> None:
        """``queue`` is where jobs wait: ``local`` or ``pubsub``."""
        self._flows = flows
        self._check = check
        self._ledger = ledger
        self._dispatcher = dispatcher
        self._queue = queue
        self._writing = asyncio.Lock()

    # Create

    async def create(self, request: CreateBatch, given: Iterable[str] | None, caller: Caller) -> CreatedView:
        """Create a batch of the records given, or of the flow's own; all of it or nothing.

        Raises:
            NotFoundError: no such flow.
            MisconfiguredError: the flow cannot run here.
            InvalidRequestError: no records, or wrong ones.
            ConflictError: the batch id is taken.
        """
        flow = await self._flow(request.flow)
        if request.batch_id is not None:
            check_batch_id(request.batch_id)
        variants = expand_variants({**flow.parameters, **request.parameters})
        source = given if given is not None else await from_flow(flow, inherited(os.environ))
        shuffle = flow.shuffle if request.shuffle is None else request.shuffle
        seed = request.seed
        if shuffle and seed is None:
            seed = secrets.randbelow(2**31)
        records, duplicates = await asyncio.to_thread(
            _arrange, source, seed if shuffle else None, request.limit
        )
        if len(records) * len(variants) > MOST_JOBS:
            raise InvalidRequestError(
                f"cannot create a batch of {len(records) * len(variants):,} jobs: {MOST_JOBS:,} is the most",
                hint="split the records, or leave out values of parameters",
            )
        spec = BatchSpec(
            batch_id=request.batch_id or new_batch_id(),
            flow=flow.name,
            flow_version=flow.version,
            variants=variants,
            records=len(records),
            owner_uid=caller.uid,
            seed=seed if shuffle else None,
            priority=request.priority,
            concurrency=request.concurrency,
            error_policy=request.error_policy,
            duplicates=duplicates,
            queue=self._queue,
        )
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

    # Cancel

    async def cancel(self, batch_id: str, *, now: bool, by: int | None = None) -> ReceiptView:
        """Cancel a batch: what waits at once, what runs by SIGTERM, grace and SIGKILL, or at once by SIGKILL.

        Asking again while it goes on is the same as asking once. ``by`` is the user who asks, here and below.

        Raises:
            NotFoundError: there is none.
            ConflictError: it has ended.
        """
        self._dispatcher.refuse(batch_id)
        try:
            key, ended = await self._ledger.begin_cancel(batch_id)
            dropped, outcomes = await self._end_all(key, batch_id, now=now)
        finally:
            self._dispatcher.accept(batch_id)
        receipt = _receipt(batch_id, dropped, outcomes, ended)
        row = await self._ledger.query(lambda db: queries.batch_row(db, batch_id))
        if row["queue"] == "pubsub" and row["running"]:
            # Those that ran here have ended. The others' hosts hear of it, and stop them.
            receipt["summary"] += f", {row['running']:,} on other hosts are told to stop"
        told = about(batch_id, Kind.CANCEL_ASKED, peer_uid=by)
        logger.info("cancelled %s: %s", batch_id, receipt["summary"], extra=told)
        return receipt

    async def _end_all(self, key: int, batch_id: str, *, now: bool) -> tuple[int, list[Outcome]]:
        """Cancel what waits and what runs of a batch that is being stopped; how many waited, and how the others ended."""
        async with asyncio.TaskGroup() as tasks:
            dropping = tasks.create_task(self._ledger.finish_cancel(key))
            running = self._dispatcher.running_ids.get(batch_id, [])
            stopping = tasks.create_task(self._dispatcher.stop(running, now=now))
        return dropping.result(), stopping.result()

    async def follow(self, merged: Merged) -> None:
        """Do here what was done on another host: end the jobs of cancelled batches, and those that ended elsewhere."""
        try:
            for batch_id in merged.cancelled:
                await self._follow_cancel(batch_id)
            for job_id in merged.superseded:
                logger.info("%s has gone on elsewhere: stopping it here", job_id, extra=about(job_id))
            await self._dispatcher.stop(merged.superseded)
        except ButtermilkError as error:
            logger.error("cannot do here what was done on another host: %s", error)  # noqa: TRY400

    async def _follow_cancel(self, batch_id: str) -> None:
        self._dispatcher.refuse(batch_id)
        try:
            key = (await self._ledger.query(lambda db: queries.batch_row(db, batch_id)))["key"]
            dropped, outcomes = await self._end_all(key, batch_id, now=False)
        finally:
            self._dispatcher.accept(batch_id)
        logger.info(
            "%s was cancelled on another host: %d dropped, %d stopped",
            batch_id,
            dropped,
            len(outcomes),
            extra=about(batch_id, Kind.CANCEL_ASKED),
        )

    async def cancel_job(self, job_id: str, *, now: bool, by: int | None = None) -> ReceiptView:
        """Cancel one job, waiting or running.

        Raises:
            NotFoundError: there is none.
            ConflictError: it has ended.
        """
        self._dispatcher.refuse(job_id)
        try:
            while not await self._ledger.cancel_job(job_id):
                if outcomes := await self._dispatcher.stop([job_id], now=now):
                    return _job_receipt(job_id, 0, outcomes, by)
                # Neither: it has ended, or is just on its way from one to the other.
                transition(await self._ledger.job_status(job_id), Event.CANCEL)
        finally:
            self._dispatcher.accept(job_id)
        return _job_receipt(job_id, 1, [], by)

    # Retry

    async def retry(self, batch_id: str, *, failed: bool, by: int | None = None) -> RetriedView:
        """Run a batch's failed and cancelled jobs again, or the failed ones alone, each with all of its attempts.

        Raises:
            NotFoundError: there is no such batch.
            ConflictError: it has no such job, or is being cancelled.
        """
        statuses = (Status.FAILED,) if failed else TRANSITIONS[Event.REQUEUE][0]
        requeued = await self._ledger.requeue_batch(batch_id, statuses)
        if not requeued:
            raise ConflictError(f"cannot retry {batch_id}: none of its jobs is {' or '.join(statuses)}")
        told = about(batch_id, Kind.RETRY_ASKED, peer_uid=by)
        logger.info("retrying %s: %s", batch_id, count(requeued, "job"), extra=told)
        return RetriedView(id=batch_id, requeued=requeued)

    async def retry_job(self, job_id: str, *, by: int | None = None) -> RetriedView:
        """Run one failed or cancelled job again.

        Raises:
            NotFoundError: there is none.
            ConflictError: it is neither failed nor cancelled.
        """
        status = await self._ledger.job_status(job_id)
        if status not in TRANSITIONS[Event.REQUEUE][0]:
            raise ConflictError(f"cannot retry {job_id}: it is {status}, and neither failed nor cancelled")
        requeued = await self._ledger.requeue_job(job_id, TRANSITIONS[Event.REQUEUE][0])
        logger.info("retrying %s", job_id, extra=about(job_id, Kind.RETRY_ASKED, peer_uid=by))
        return RetriedView(id=job_id, requeued=requeued)


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


def _job_receipt(job_id: str, dropped: int, outcomes: Sequence[Outcome], by: int | None) -> ReceiptView:
    """Of one job, which is told."""
    receipt = _receipt(job_id, dropped, outcomes, 0)
    told = about(job_id, Kind.CANCEL_ASKED, peer_uid=by)
    logger.info("cancelled %s: %s", job_id, receipt["summary"], extra=told)
    return receipt


def _receipt(subject: str, dropped: int, outcomes: Sequence[Outcome], ended: int) -> ReceiptView:
    stopped = sum(outcome.ending is not Ending.COMPLETED for outcome in outcomes)
    killed = sum(outcome.killed for outcome in outcomes)
    ended += len(outcomes) - stopped
    kills = f" ({killed:,} killed)" if killed else ""
    summary = f"{dropped:,} dropped, {stopped:,} stopped{kills}, {ended:,} already ended"
    return ReceiptView(
        id=subject, dropped=dropped, stopped=stopped, killed=killed, ended=ended, summary=summary
    )

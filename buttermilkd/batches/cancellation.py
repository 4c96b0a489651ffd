"""How batches and jobs are cancelled, here or by what another host tells."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from buttermilkd.errors import ButtermilkError
from buttermilkd.jobs import Ending, Event, Outcome, transition
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger, queries
from buttermilkd.messages import ReceiptView
from buttermilkd.sharing import Merged

logger = logging.getLogger(__name__)


class Dispatcher(Protocol):
    """What cancelling needs of the dispatcher."""

    @property
    def running_ids(self) -> Mapping[str, list[str]]:
        """Ids of the jobs that run here, by batch id."""

    def refuse(self, subject: str) -> None: ...

    def accept(self, subject: str) -> None: ...

    async def stop(self, job_ids: Collection[str], *, now: bool = False) -> list[Outcome]: ...


class Cancellation:
    """Ends what waits in the ledger and what runs at the dispatcher."""

    def __init__(self, *, ledger: Ledger, dispatcher: Dispatcher) -> None:
        self._ledger = ledger
        self._dispatcher = dispatcher

    async def cancel(self, batch_id: str, *, now: bool, by: int | None = None) -> ReceiptView:
        """See ``Batches.cancel``."""
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
        """See ``Batches.follow``."""
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
        """See ``Batches.cancel_job``."""
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

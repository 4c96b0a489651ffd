"""What people ask for, as the rest of the daemon sees it."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from buttermilkd.batches.cancellation import Cancellation, Dispatcher
from buttermilkd.batches.creation import Caller, Creation, Flow
from buttermilkd.errors import ConflictError
from buttermilkd.jobs import TRANSITIONS, Event, Status
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.messages import CreateBatch, CreatedView, ReceiptView, RetriedView
from buttermilkd.plurals import count
from buttermilkd.sharing import Merged

logger = logging.getLogger(__name__)


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
        self._creation = Creation(flows=flows, check=check, ledger=ledger, queue=queue)
        self._cancellation = Cancellation(ledger=ledger, dispatcher=dispatcher)
        self._ledger = ledger

    async def create(self, request: CreateBatch, given: Iterable[str] | None, caller: Caller) -> CreatedView:
        """Create a batch of the records given, or of the flow's own; all of it or nothing.

        Raises:
            NotFoundError: no such flow.
            MisconfiguredError: the flow cannot run here.
            InvalidRequestError: no records, or wrong ones.
            ConflictError: the batch id is taken.
        """
        return await self._creation.create(request, given, caller)

    async def cancel(self, batch_id: str, *, now: bool, by: int | None = None) -> ReceiptView:
        """Cancel a batch: what waits at once, what runs by SIGTERM, grace and SIGKILL, or at once by SIGKILL.

        Asking again while it goes on is the same as asking once. ``by`` is the user who asks, here and below.

        Raises:
            NotFoundError: there is none.
            ConflictError: it has ended.
        """
        return await self._cancellation.cancel(batch_id, now=now, by=by)

    async def cancel_job(self, job_id: str, *, now: bool, by: int | None = None) -> ReceiptView:
        """Cancel one job, waiting or running.

        Raises:
            NotFoundError: there is none.
            ConflictError: it has ended.
        """
        return await self._cancellation.cancel_job(job_id, now=now, by=by)

    async def follow(self, merged: Merged) -> None:
        """Do here what was done on another host: end the jobs of cancelled batches, and those that ended elsewhere."""
        await self._cancellation.follow(merged)

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

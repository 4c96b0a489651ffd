"""Creates a batch at Pub/Sub from a machine where no daemon runs. Imported only by ``create --direct``."""

import asyncio
import os
import tempfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from buttermilkd.batches import Batches, Caller
from buttermilkd.clock import SystemClock
from buttermilkd.config.load import load
from buttermilkd.config.settings import Settings
from buttermilkd.errors import MisconfiguredError
from buttermilkd.jobs import Outcome
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.shared import SharedLedger
from buttermilkd.messages import CreateBatch, CreatedView
from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.queues.pubsub.google import open_broker


def create_directly(config: Path | None, request: CreateBatch, records: Iterable[str] | None) -> CreatedView:
    """Publish a batch and all of its jobs; when this returns, Pub/Sub has them.

    The configuration names the flow, its records and parameters; that the flow can run on this machine is not needed.

    Raises:
        MisconfiguredError: the queue is not Pub/Sub, or it cannot be used.
        UnavailableError: Pub/Sub does not answer; a part of the batch may be there, which can be cancelled.
        NotFoundError, InvalidRequestError: as a daemon would.
    """
    settings = load(config, os.environ)
    if settings.queue != "pubsub":
        raise MisconfiguredError(
            f'cannot create a batch directly: queue = "{settings.queue}" is in the daemon\'s own ledger',
            hint="leave --direct out, where a daemon runs",
        )
    return asyncio.run(_create(settings, request, records))


async def _create(settings: Settings, request: CreateBatch, records: Iterable[str] | None) -> CreatedView:
    async with AsyncExitStack() as stack:
        # All that a daemon does to make a batch is done in a ledger that is thrown away afterwards.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="buttermilkd-direct-")))
        clock = SystemClock()
        host = f"{settings.daemon.host} (direct)"
        ledger = await Ledger.open(folder, clock, stack, host)
        batches = Batches(
            flows=settings.flows, check=_anything, ledger=ledger, dispatcher=_Nothing(), queue="pubsub"
        )
        created = await batches.create(request, records, Caller(os.getuid()))
        if not request.dry_run:
            await _publish(settings, SharedLedger(ledger, clock))
        return created


async def _publish(settings: Settings, ledger: SharedLedger) -> None:
    pubsub = settings.pubsub
    broker = await open_broker(pubsub.project or "", pubsub.credentials, os.environ)
    try:
        # It imports Google's packages, which are there where a broker is.
        from buttermilkd.queues.pubsub.resources import ensure, resources_of  # noqa: PLC0415

        await ensure(broker, resources_of(pubsub, settings.daemon.host).for_creating(), create=pubsub.create)
        while (told := await ledger.announcement()) is not None:
            await broker.publish(
                pubsub.status_topic, [Outgoing(one.encode(), one.attributes()) for one in told.messages]
            )
            await ledger.announced(told)
        while (jobs := await ledger.publication()) is not None:
            await broker.publish(
                pubsub.jobs_topic, [Outgoing(one.encode(), one.attributes()) for one in jobs.messages]
            )
            await ledger.published(jobs)
    finally:
        await broker.close()


async def _anything(_flow: str) -> None:
    """Whether a flow can run is for the hosts to say that run it."""


class _Nothing:
    """Where no daemon is, nothing runs."""

    running_ids: Mapping[str, list[str]] = {}

    def refuse(self, subject: str) -> None:
        """Nothing is to be refused."""

    def accept(self, subject: str) -> None:
        """Nothing was refused."""

    async def stop(self, job_ids: Collection[str], *, now: bool = False) -> list[Outcome]:
        del job_ids, now
        return []

"""The queue at Pub/Sub, put together. Only a daemon that is configured for it imports this."""

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from buttermilkd.clock import Clock
from buttermilkd.config.in_force import InForce
from buttermilkd.config.settings import PubsubSettings
from buttermilkd.errors import ButtermilkError, UnavailableError
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.recovery import Recovered
from buttermilkd.ledger.shared import SharedLedger
from buttermilkd.queues.pubsub.api import Broker
from buttermilkd.queues.pubsub.google import open_broker
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.queues.pubsub.queue import Names, PubsubQueue

if TYPE_CHECKING:
    from buttermilkd.queues.pubsub.adapter import GoogleBroker


class Cloud:
    """What the daemon needs at Google: a connection, then topics and subscriptions."""

    def __init__(self, settings: PubsubSettings, host: str, note_loss: Callable[[], Awaitable[None]]) -> None:
        """``note_loss`` records that what was published is lost; it may raise StorageError."""
        self._settings = settings
        self._host = host
        self._note_loss = note_loss
        self._was_missing = False
        self._broker: GoogleBroker | None = None

    async def connect(self) -> Broker:
        """Raises MisconfiguredError, UnavailableError."""
        self._broker = await open_broker(self._settings.project or "", self._settings.credentials, os.environ)
        return self._broker

    async def prepare(self, _broker: Broker) -> bool:
        """See to it that topics and subscriptions are there; whether any was missing, whoever has made it.

        Raises as ``resources.ensure``, and UnavailableError while the loss cannot be noted: nothing is made before.
        """
        from buttermilkd.queues.pubsub.resources import ensure, resources_of  # noqa: PLC0415 - Google's packages

        if self._broker is None:
            return False
        resources = resources_of(self._settings, self._host)
        await ensure(self._broker, resources, create=self._settings.create, on_missing=self._missing)
        was_missing, self._was_missing = self._was_missing, False
        return was_missing

    async def _missing(self) -> None:
        try:
            await self._note_loss()
        except ButtermilkError as error:
            raise UnavailableError(
                f"cannot record that Pub/Sub has lost what was published: {error}"
            ) from error
        self._was_missing = True


def shared_queue(
    in_force: InForce, ledger: Ledger, recovered: Recovered, clock: Clock, stack: AsyncExitStack
) -> PubsubQueue:
    """The queue, which connects when it is run, and again whenever it has to; ``stack`` closes it.

    What a dead daemon held goes back at once, so that its jobs need not wait for the end of their leases.
    """
    pubsub, host = in_force.settings.pubsub, ledger.teller.host
    shared = SharedLedger(ledger, clock)
    cloud = Cloud(pubsub, host, shared.note_loss)
    queue = PubsubQueue(
        link=Link(cloud.connect, cloud.prepare, clock),
        names=Names(
            jobs_topic=pubsub.jobs_topic,
            status_topic=pubsub.status_topic,
            subscription=pubsub.subscription,
            status_subscription=pubsub.status_subscription.replace("{host}", host),
        ),
        ledger=shared,
        flows=in_force.flows,
        lease=pubsub.lease,
        unknown_flow_after=pubsub.unknown_flow_after,
        clock=clock,
    )
    queue.release(given_back=recovered.given_back, dropped=recovered.dropped)
    if recovered.is_incomplete:
        queue.make_up()
    stack.push_async_callback(queue.close)
    return queue

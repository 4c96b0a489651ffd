"""Google Cloud Pub/Sub by single calls of the asyncio clients: no streams, no threads, no retries but our own."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PullResponse

from buttermilkd.errors import ButtermilkError, UnavailableError
from buttermilkd.plurals import count
from buttermilkd.queues.pubsub import batching
from buttermilkd.queues.pubsub.api import Message, Outgoing
from buttermilkd.queues.pubsub.connection import Connection, ask, connect

__all__ = ["LIMITS", "GoogleBroker", "Limits", "connect"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that requests may take."""

    publish: float = 30.0
    """One request, which may be nearly 10 MB."""
    lease: float = 10.0
    """One request about leases."""
    close: float = 20.0
    """Pulls in flight, when the broker is closed."""


LIMITS = Limits()


class GoogleBroker:
    """Implements ``api.Broker``."""

    def __init__(self, connection: Connection, limits: Limits = LIMITS) -> None:
        self.connection = connection
        self._limits = limits
        self._in_flight: set[asyncio.Task[Any]] = set()
        """Pulls, and the giving back of what they brought to nobody."""
        self._is_closed = False

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        path = self.connection.topic(topic)
        for portion in batching.in_requests(messages):
            plain = [{"data": one.data, "attributes": one.attributes} for one in portion]
            request = {"topic": path, "messages": plain}
            await ask("publish to", path, self.connection.publisher.publish, request, self._limits.publish)

    async def pull(self, subscription: str, limit: int, patience: float) -> list[Message]:
        call = self._start(self._pull(self.connection.subscription(subscription), limit, patience))
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if call.cancelled() and self._is_closed:
                raise UnavailableError("cannot pull: the connection was closed") from None
            # A call that is cancelled leaves the service none the wiser: it would deliver the next message to
            # nobody, and keep it from all others until its lease is over.
            call.add_done_callback(lambda _: self._send_back(subscription, call))
            raise

    async def _pull(self, path: str, limit: int, patience: float) -> list[Message]:
        request = {"subscription": path, "max_messages": limit}
        try:
            response = await ask("pull from", path, self.connection.subscriber.pull, request, patience)
        except UnavailableError as error:
            if isinstance(error.__cause__, DeadlineExceeded):
                return []  # the service answers so, too, where nothing came
            raise
        return _messages(response)

    def _send_back(self, subscription: str, call: asyncio.Task[list[Message]]) -> None:
        if call.cancelled() or call.exception() is not None:
            return
        if ack_ids := [message.ack_id for message in call.result()]:
            self._start(self._give_back(subscription, ack_ids))

    async def _give_back(self, subscription: str, ack_ids: Sequence[str]) -> None:
        try:
            await self.extend(subscription, ack_ids, 0)
        except ButtermilkError as error:
            # Their leases end by themselves.
            logger.info(
                "could not give back %s that came too late: %s", count(len(ack_ids), "message"), error
            )

    async def extend(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        path, call = (
            self.connection.subscription(subscription),
            self.connection.subscriber.modify_ack_deadline,
        )
        for portion in batching.ids_in_requests(ack_ids):
            request = {"subscription": path, "ack_ids": portion, "ack_deadline_seconds": seconds}
            await ask("change leases of", path, call, request, self._limits.lease)

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        path, call = self.connection.subscription(subscription), self.connection.subscriber.acknowledge
        for portion in batching.ids_in_requests(ack_ids):
            await ask(
                "acknowledge to", path, call, {"subscription": path, "ack_ids": portion}, self._limits.lease
            )

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task that ``close`` waits for."""
        task = asyncio.create_task(work)
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)
        return task

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._limits.close):
                # What a pull brings is given back by another task: so look again.
                while self._in_flight:
                    await asyncio.wait(self._in_flight)
                    await asyncio.sleep(0)
        except TimeoutError:
            logger.warning("%s may be delivered to nobody: no answer", count(len(self._in_flight), "pull"))
        self._is_closed = True
        await self.connection.close()


def _messages(response: PullResponse) -> list[Message]:
    """By way of the plain protocol buffers, which cost a tenth of their wrappers."""
    return [
        Message(
            ack_id=received.ack_id,
            message_id=received.message.message_id,
            data=received.message.data,
            attributes=dict(received.message.attributes),
            published_at=received.message.publish_time.ToNanoseconds() / 1e9,
        )
        for received in PullResponse.pb(response).received_messages
    ]

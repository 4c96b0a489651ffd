"""A project of the test's own at a Pub/Sub service, with a topic and a subscription."""

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from buttermilkd.queues.pubsub.adapter import LIMITS, GoogleBroker, Limits
from buttermilkd.queues.pubsub.api import Message, Outgoing
from buttermilkd.queues.pubsub.google import open_broker

LONG = 600
"""Seconds of a lease that no test lives through."""
PATIENCE = 30.0
"""Seconds to wait for a message that comes."""


class Service(Protocol):
    """The emulator or the fake."""

    @property
    def environ(self) -> Mapping[str, str]: ...


class Scene:
    """The topic ``jobs`` and the subscription ``jobs-sub``."""

    def __init__(self, broker: GoogleBroker) -> None:
        self.broker = broker
        self.connection = broker.connection

    async def make_topic(self, name: str = "jobs") -> None:
        await self.connection.publisher.create_topic(request={"name": self.connection.topic(name)})

    async def make_subscription(
        self, name: str = "jobs-sub", topic: str = "jobs", lease: int = LONG, **settings: Any
    ) -> None:
        request = {
            "name": self.connection.subscription(name),
            "topic": self.connection.topic(topic),
            "ack_deadline_seconds": lease,
            **settings,
        }
        await self.connection.subscriber.create_subscription(request=request)

    async def publish(self, *bodies: str) -> None:
        await self.broker.publish("jobs", [Outgoing(body.encode(), {}) for body in bodies])

    async def pull(self, limit: int = 100, patience: float = PATIENCE) -> list[Message]:
        return await self.broker.pull("jobs-sub", limit, patience)

    async def pulled(self, number: int) -> list[str]:
        """So many messages, whatever number of pulls they need."""
        found: list[str] = []
        while len(found) < number:
            found += [message.data.decode() for message in await self.pull()]
        return found


@asynccontextmanager
async def scene(service: Service, *, made: bool = True, limits: Limits = LIMITS) -> AsyncIterator[Scene]:
    """One at this service; ``made``: with the topic and the subscription."""
    opened = await open_broker(f"test-{uuid.uuid4().hex[:12]}", None, service.environ)
    broker = GoogleBroker(opened.connection, limits)
    there = Scene(broker)
    if made:
        await there.make_topic()
        await there.make_subscription()
    try:
        yield there
    finally:
        await broker.close()

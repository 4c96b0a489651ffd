"""Pub/Sub in memory, on an injected clock: passes the same contract suite as Google's emulator."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from buttermilkd.bell import Bell, first_of
from buttermilkd.clock import Clock
from buttermilkd.errors import InvalidRequestError
from buttermilkd.queues.pubsub.api import GoneError, Message, Outgoing

DEADLINE = 20.0


@dataclass
class Held:
    """A message in one subscription."""

    message_id: str
    content: Outgoing
    published_at: float
    ack_id: str = ""
    hidden_until: float = 0.0


@dataclass
class Cloud:
    """What all brokers of one test share."""

    clock: Clock
    topics: dict[str, list[str]] = field(default_factory=dict)
    """Subscriptions by topic."""
    subscriptions: dict[str, dict[str, Held]] = field(default_factory=dict)
    news: Bell = field(default_factory=Bell)
    numbers: "count[int]" = field(default_factory=count)
    refused: bytes = b""
    """What no message may hold."""

    def make(self, topic: str, subscription: str) -> bool:
        """Where they are missing; whether they were."""
        if subscription in self.subscriptions:
            return False
        self.topics.setdefault(topic, []).append(subscription)
        self.subscriptions[subscription] = {}
        return True

    def available(self, subscription: str) -> bool:
        """Whether a pull would bring anything now."""
        now = self.clock.monotonic()
        return any(one.hidden_until <= now for one in self.subscriptions.get(subscription, {}).values())

    def is_done(self, subscription: str) -> bool:
        """Whether everything in it is acknowledged, or put off."""
        now = self.clock.monotonic()
        left = self.subscriptions.get(subscription, {}).values()
        return all(0 < one.hidden_until - now <= DEADLINE for one in left)

    def lose_everything(self) -> None:
        self.topics.clear()
        self.subscriptions.clear()
        self.news.ring()


class MemoryBroker:
    """Implements ``Broker``. ``is_down`` makes every call fail as in an outage."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.down: Exception | None = None

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        await self._enter()
        if topic not in self.cloud.topics:
            raise _gone(topic)
        if self.cloud.refused and any(self.cloud.refused in content.data for content in messages):
            raise InvalidRequestError(f"cannot publish to {topic}: too large")
        now = self.cloud.clock.now()
        for subscription in self.cloud.topics[topic]:
            for content in messages:
                number = str(next(self.cloud.numbers))
                self.cloud.subscriptions[subscription][number] = Held(number, content, now)
        self.cloud.news.ring()

    async def pull(self, subscription: str, limit: int, patience: float) -> list[Message]:
        end = self.cloud.clock.monotonic() + patience
        while True:
            seen = self.cloud.news.ring_count
            await self._enter()
            if found := self._available(subscription, limit):
                return found
            now = self.cloud.clock.monotonic()
            if now >= end:
                return []
            hidden = [one.hidden_until for one in self._held(subscription).values()]
            wake = min([end, *hidden])
            await first_of([self.cloud.news.heard(seen), self.cloud.clock.sleep(max(0.001, wake - now))])

    def _available(self, subscription: str, limit: int) -> list[Message]:
        now = self.cloud.clock.monotonic()
        found: list[Message] = []
        for one in self._held(subscription).values():
            if one.hidden_until <= now and len(found) < limit:
                one.ack_id = f"{one.message_id}:{next(self.cloud.numbers)}"
                one.hidden_until = now + DEADLINE
                found.append(
                    Message(
                        one.ack_id, one.message_id, one.content.data, one.content.attributes, one.published_at
                    )
                )
        return found

    async def extend(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        await self._enter()
        now = self.cloud.clock.monotonic()
        for one in self._held(subscription).values():
            if one.ack_id in ack_ids and one.hidden_until > now:
                one.hidden_until = now + seconds
        self.cloud.news.ring()

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        await self._enter()
        held = self._held(subscription)
        for message_id in [one.message_id for one in held.values() if one.ack_id in ack_ids]:
            del held[message_id]

    def _held(self, subscription: str) -> dict[str, Held]:
        try:
            return self.cloud.subscriptions[subscription]
        except KeyError:
            raise _gone(subscription) from None

    async def _enter(self) -> None:
        await asyncio.sleep(0)
        if self.down is not None:
            raise self.down

    async def close(self) -> None:
        """Nothing is open."""


def _gone(resource: str) -> GoneError:
    return GoneError(f"cannot find {resource}", resource=resource)

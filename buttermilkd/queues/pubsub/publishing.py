"""Publishes what the ledger's outbox holds, and the jobs of batches that were created here."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError, InvalidRequestError, UnreadableError
from buttermilkd.journal import about
from buttermilkd.messages import JobUpdate, parse_update
from buttermilkd.queues.pubsub.api import Broker, Outgoing
from buttermilkd.queues.pubsub.leases import Leases
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.queues.pubsub.ports import SharedLedger
from buttermilkd.sharing import Portion, Post, Topic

logger = logging.getLogger(__name__)

PAUSE = 5.0
"""Seconds until the ledger is asked again that could not be read."""


class Publishing:
    """What is published is forgotten after that: a crash in between publishes it twice, which does no harm."""

    def __init__(
        self, link: Link, ledger: SharedLedger, leases: Leases, topics: dict[Topic, str], clock: Clock
    ) -> None:
        self._link = link
        self._clock = clock
        self._ledger = ledger
        self._leases = leases
        self._topics = topics

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, step in (
                ("status updates", lambda: self._posts(Topic.STATUS)),
                ("jobs again", lambda: self._posts(Topic.JOBS)),
                ("announcements", lambda: self._portion(Topic.STATUS)),
                ("jobs", lambda: self._portion(Topic.JOBS)),
            ):
                tasks.create_task(self._again(step), name=name)

    async def _again(self, step: Callable[[], Awaitable[bool]]) -> None:
        while True:
            seen = self._ledger.posted.ring_count
            try:
                is_more = await step()
            except ButtermilkError as error:
                logger.error("cannot publish what there is to publish: %s; trying again", error)  # noqa: TRY400
                await self._clock.sleep(PAUSE)
                continue
            if not is_more:
                await self._ledger.posted.heard(seen)

    async def _posts(self, topic: Topic) -> bool:
        """Publish the next messages of the outbox, in their order; whether there were any."""
        posts = await self._ledger.posts(topic)
        if not posts:
            return False
        if not await self._publish_all(topic, posts):
            return True
        await self._ledger.remove(posts)
        self._leases.acknowledge([post.ack_id for post in posts if post.ack_id is not None])
        return True

    async def flush(self) -> None:
        """Publish what is in the outbox, and return."""
        for topic in (Topic.JOBS, Topic.STATUS):
            while await self._posts(topic):
                pass

    async def _publish_all(self, topic: Topic, posts: Sequence[Post]) -> bool:
        """Whether they may be forgotten: else Pub/Sub has lost what it had, and perhaps these, and has to have them again."""
        try:
            return await self._publish(topic, posts)
        except InvalidRequestError:
            # One of them is refused for ever: the others must not wait for it.
            return all([await self._publish_alone(topic, post) for post in posts])

    async def _publish(self, topic: Topic, posts: Sequence[Post]) -> bool:
        outgoing = [Outgoing(post.data, post.attributes) for post in posts]
        losses = 0

        def publish(broker: Broker) -> Awaitable[None]:
            nonlocal losses
            losses = self._link.losses
            return broker.publish(self._topics[topic], outgoing)

        await self._link.do("publish", publish)
        return losses == self._link.losses

    async def _publish_alone(self, topic: Topic, post: Post) -> bool:
        try:
            return await self._publish(topic, [post])
        except InvalidRequestError as error:
            subject = post.attributes.get("job_id") or post.attributes.get("batch_id", "")
            logger.error(  # noqa: TRY400
                "cannot tell other hosts all of %s: %s", subject, error, extra=about(subject or None)
            )
            if (shorter := _without_result(post)) is not None:
                with suppress(InvalidRequestError):
                    return await self._publish(topic, [shorter])
            return True

    async def _portion(self, topic: Topic) -> bool:
        """Publish the next part of a batch; whether there was any."""
        portion = await (self._ledger.announcement() if topic is Topic.STATUS else self._ledger.publication())
        if portion is None:
            return False
        posts = [Post(0, one.encode(), one.attributes(), None) for one in portion.messages]
        if posts and not await self._publish_all(topic, posts):
            return True
        await self._record(topic, portion)
        return True

    async def _record(self, topic: Topic, portion: Portion) -> None:
        if topic is Topic.STATUS:
            await self._ledger.announced(portion)
            self._ledger.posted.ring()  # its jobs may follow now
        else:
            await self._ledger.published(portion)


def _without_result(post: Post) -> Post | None:
    """The update without what may be too much of it; None where it is none."""
    try:
        update = parse_update(post.data, post.attributes)
    except UnreadableError:
        return None
    if not isinstance(update, JobUpdate):
        return None
    return replace(post, data=replace(update, result=None, error=None, parameters=None).encode())

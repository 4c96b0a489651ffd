"""Follows what other hosts tell of the jobs and batches that all of them share."""

import logging
from collections.abc import Callable, Sequence

from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError, NotAnUpdateError, UnreadableError
from buttermilkd.journal import Kind, about
from buttermilkd.messages import parse_update
from buttermilkd.queues.pubsub.api import Message
from buttermilkd.queues.pubsub.leases import Leases
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.queues.pubsub.ports import SharedLedger
from buttermilkd.sharing import Merged, Update

logger = logging.getLogger(__name__)

MOST_PULLED = 1_000
AGAIN = 2.0
"""Seconds after which what cannot be taken over yet is looked at again …"""
OLDEST = 600.0
"""… until it is this old."""
REPEATED_EVERY = 60.0
"""Seconds after which is said again what runs here."""


class Follower:
    """From this host's own subscription to the ledger."""

    def __init__(
        self,
        *,
        link: Link,
        subscription: str,
        leases: Leases,
        ledger: SharedLedger,
        patience: float,
        clock: Clock,
    ) -> None:
        """``patience``: seconds that one pull waits."""
        self._patience = patience
        self._link = link
        self._subscription = subscription
        self._leases = leases
        self._ledger = ledger
        self._clock = clock
        self.on_merged: Callable[[Merged], None] = lambda _: None
        """Called with what this host has to do about what it was told."""

    async def run(self) -> None:
        """Follow until cancelled, whether jobs may begin or not."""
        while True:
            messages = await self._link.do(
                "follow", lambda broker: broker.pull(self._subscription, MOST_PULLED, self._patience)
            )
            if messages:
                await self._take_over(messages)

    async def _take_over(self, messages: Sequence[Message]) -> None:
        self._leases.hold(message.ack_id for message in messages)
        updates = [(message, update) for message in messages if (update := _read(message)) is not None]
        try:
            merged = await self._ledger.merge([update for _, update in updates])
        except ButtermilkError as error:
            logger.error(  # noqa: TRY400
                "cannot record what other hosts tell: %s; trying again",
                error,
                extra=about(kind=Kind.STORAGE_TROUBLE),
            )
            self._leases.defer({message.ack_id: AGAIN for message in messages})
            return
        now = self._clock.now()
        early = {
            message.ack_id: AGAIN
            for message, update in updates
            if any(update is one for one in merged.postponed) and now - message.published_at < OLDEST
        }
        self._leases.defer(early)
        self._leases.acknowledge([one.ack_id for one in messages if one.ack_id not in early])
        self.on_merged(merged)

    async def repeat(self) -> None:
        """Tell the others every minute what still runs here, until cancelled."""
        while True:
            await self._clock.sleep(REPEATED_EVERY)
            try:
                await self._ledger.repeat()
            except ButtermilkError as error:
                logger.error("cannot tell other hosts what runs here: %s", error)  # noqa: TRY400


def _read(message: Message) -> Update | None:
    """What a message tells; None where it tells nothing that anybody here can do something about."""
    try:
        return parse_update(message.data, message.attributes)
    except NotAnUpdateError:
        return None  # as where one topic serves for both
    except UnreadableError as error:
        logger.warning("ignoring status message %s: %s", message.message_id, error)
        return None

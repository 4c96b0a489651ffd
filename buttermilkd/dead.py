"""What people ask to happen to dead letters: requeue, drop. Each of several is on its own."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from buttermilkd.errors import ButtermilkError, ConflictError, NotFoundError
from buttermilkd.journal import Fields, Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.dead import message, message_number, resolve
from buttermilkd.messages import DeadMessage, DeadOutcomesView, DeadOutcomeView

logger = logging.getLogger(__name__)

Republish = Callable[[DeadMessage], Awaitable[None]]
"""Gives a message to its queue once more; returns when the queue has it. Raises ButtermilkError."""


class DeadLetters:
    """Requeues and drops. What it says to be done is durable; what it could not do, it says why.

    Args:
        retry: queues a failed job again, as its batch's users would.
        republish: None where the queue has nothing to publish to.
    """

    def __init__(
        self, *, ledger: Ledger, retry: Callable[[str], Awaitable[Any]], republish: Republish | None
    ) -> None:
        self._ledger = ledger
        self._retry = retry
        self._republish = republish
        self._publishing = asyncio.Lock()

    async def requeue(self, ids: Iterable[str]) -> DeadOutcomesView:
        """Run these jobs again, each with all of its attempts, and publish these messages again."""
        return await self._each(ids, self._requeue)

    async def drop(self, ids: Iterable[str]) -> DeadOutcomesView:
        """List these jobs no longer, which stay failed in their batches, and delete these messages."""
        return await self._each(ids, self._drop)

    async def _each(self, ids: Iterable[str], act: Callable[[str], Awaitable[None]]) -> DeadOutcomesView:
        # All at once, so that the ledger commits them together.
        outcomes = await asyncio.gather(*(self._outcome(one, act) for one in ids))
        return DeadOutcomesView(outcomes=outcomes)

    async def _outcome(self, given: str, act: Callable[[str], Awaitable[None]]) -> DeadOutcomeView:
        name = given
        try:
            name = await self._ledger.query(lambda db: resolve(db, given))
            await act(name)
        except ButtermilkError as error:
            return DeadOutcomeView(id=name, done=False, kind=error.kind, detail=str(error), hint=error.hint)
        return DeadOutcomeView(id=name, done=True, kind=None, detail=None, hint=None)

    async def _drop(self, letter_id: str) -> None:
        if not await self._ledger.drop([letter_id]):
            raise NotFoundError(f"cannot drop {letter_id}: it has just been dropped or requeued")
        logger.info("dropped dead letter %s", letter_id, extra=_about(letter_id, Kind.DEAD_LETTER_DROPPED))

    async def _requeue(self, letter_id: str) -> None:
        if message_number(letter_id) is None:
            await self._retry(letter_id)
        else:
            await self._publish(letter_id)
        logger.info("requeued dead letter %s", letter_id, extra=_about(letter_id, Kind.DEAD_LETTER_REQUEUED))

    async def _publish(self, letter_id: str) -> None:
        """Raises ConflictError, NotFoundError, and what ``republish`` raises."""
        if self._republish is None:
            raise ConflictError(
                f"cannot requeue {letter_id}: it is a message from Pub/Sub, and the embedded queue has no topic to publish to",
                hint='set queue = "pubsub" and restart, or look at it and drop it: '
                f"buttermilkctl dead show {letter_id}",
            )
        # Published first, deleted then: a crash in between publishes it twice and never loses it. One at a time,
        # so that asking twice at once does not.
        async with self._publishing:
            letter = await self._ledger.query(lambda db: message(db, letter_id))
            await self._republish(letter)
            await self._ledger.republished(letter_id)


def _about(letter_id: str, kind: Kind) -> dict[str, Fields]:
    """A message is about no job that anybody knows."""
    return about(None if message_number(letter_id) is not None else letter_id, kind)

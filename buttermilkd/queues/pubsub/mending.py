"""What is to be told and asked for again: Pub/Sub came back empty, this host is new to it, or another one asks."""

import asyncio
import logging

from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError
from buttermilkd.queues.pubsub.ports import SharedLedger

logger = logging.getLogger(__name__)

HEARSAY = 5.0
"""Seconds in which hosts tell each other again what they know, when Pub/Sub has lost everything."""


class Mending:
    """Of one host."""

    def __init__(self, ledger: SharedLedger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._is_incomplete = asyncio.Event()
        self._is_telling = False

    def emptied(self) -> None:
        """What others have told may not have come here, and what was published from here may be lost."""
        self._is_incomplete.set()

    async def run(self) -> None:
        """Mend it, until cancelled."""
        while True:
            await self._is_incomplete.wait()
            self._is_incomplete.clear()
            try:
                await self._mend()
            except ButtermilkError as error:
                logger.error("cannot tell other hosts again what is known here: %s", error)  # noqa: TRY400
                await self._clock.sleep(HEARSAY)
                self._is_incomplete.set()

    async def _mend(self) -> None:
        await self._ledger.note_loss()
        await self._tell()
        await self._ledger.ask()
        # What has ended elsewhere should be heard of before it is asked for again.
        await self._clock.sleep(HEARSAY)
        await self._ledger.begin_again()

    async def answer(self) -> None:
        """Tell another host, which asks, what is known here first-hand."""
        try:
            await self._tell()
        except ButtermilkError as error:
            logger.error("cannot tell another host what is known here: %s", error)  # noqa: TRY400

    async def _tell(self) -> None:
        if self._is_telling:
            return  # who asks now hears of most of it anyway, and asks again when it joins anew
        self._is_telling = True
        try:
            await self._ledger.tell_again()
        finally:
            self._is_telling = False

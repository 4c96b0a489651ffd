"""What becomes of batches is told from the ledger, whoever brought it about: a failure, a recovery, a retry."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from buttermilkd.daemon.story import tell_batches
from buttermilkd.jobs import BatchSpec, Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.journal import Kind, fields_in
from buttermilkd.ledger import Ledger
from buttermilkd.testing import HandMovedClock

SPEC = BatchSpec("b", "f", "0" * 12, ({},), records=1, owner_uid=0)
HowItEnds = tuple[Event, Outcome]
COMPLETED = (Event.COMPLETE, Outcome(Ending.COMPLETED))
FAILED = (Event.FAIL, Outcome(Ending.FAILED, cause="bad"))


class Story:
    """A ledger whose batches are told."""

    def __init__(self, ledger: Ledger, records: list[logging.LogRecord]) -> None:
        self.ledger = ledger
        self._records = records

    async def take(self) -> list[Taken]:
        return (await self.ledger.take({"f": 10}, 10)).taken

    async def end(self, event: Event, outcome: Outcome) -> None:
        await self.ledger.settle([Settlement(one, event, outcome) for one in await self.take()])

    async def until(self, kind: Kind) -> list[tuple[str, str]]:
        """What was told up to this: the kind and the sentence of each record."""
        while not self._told() or self._told()[-1][0] != kind:  # noqa: ASYNC110 - a log rings no bell
            await asyncio.sleep(0.001)
        return self._told()

    def _told(self) -> list[tuple[str, str]]:
        for record in self._records:
            fields = fields_in(record)
            assert (fields["BATCH_ID"], fields["FLOW"]) == ("b", "f")
        return [(str(fields_in(record)["MESSAGE_ID"]), record.getMessage()) for record in self._records]


Telling = Callable[[], AbstractAsyncContextManager[Story]]


@pytest.fixture
def telling(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Telling:
    caplog.set_level(logging.INFO, "buttermilkd.daemon.story")

    @asynccontextmanager
    async def told() -> AsyncIterator[Story]:
        async with AsyncExitStack() as stack:
            ledger = await Ledger.open(tmp_path, HandMovedClock(), stack)
            await ledger.recover(0)
            teller = asyncio.ensure_future(tell_batches(ledger))
            caplog.clear()
            try:
                yield Story(ledger, caplog.records)
            finally:
                teller.cancel()
                await asyncio.wait([teller])

    return told


@pytest.mark.parametrize(
    ("end", "kind", "text"),
    [
        (COMPLETED, Kind.BATCH_COMPLETED, "b has ended completed: 1 completed, 0 failed, 0 cancelled"),
        (FAILED, Kind.BATCH_FAILED, "b has ended failed: 0 completed, 1 failed, 0 cancelled"),
    ],
)
async def test_a_batch_begins_and_ends(telling: Telling, end: HowItEnds, kind: Kind, text: str) -> None:
    async with telling() as story:
        await story.ledger.create(SPEC, iter(["r"]), None)
        await story.end(*end)
        assert await story.until(kind) == [(Kind.BATCH_STARTED, "b has begun"), (kind, text)]


async def test_a_batch_that_is_cancelled_has_not_begun(telling: Telling) -> None:
    async with telling() as story:
        await story.ledger.create(SPEC, iter(["r"]), None)
        key, _ = await story.ledger.begin_cancel("b")
        await story.ledger.finish_cancel(key)
        assert await story.until(Kind.BATCH_CANCELLED) == [
            (Kind.BATCH_CANCELLED, "b has ended cancelled: 0 completed, 0 failed, 1 cancelled")
        ]


async def test_a_retried_batch_goes_on_and_ends_again(telling: Telling) -> None:
    async with telling() as story:
        await story.ledger.create(SPEC, iter(["r"]), None)
        await story.end(*FAILED)
        await story.until(Kind.BATCH_FAILED)
        await story.ledger.requeue_batch("b", [Status.FAILED])
        await story.until(Kind.BATCH_REOPENED)
        await story.end(*COMPLETED)
        kinds = [kind for kind, _ in await story.until(Kind.BATCH_COMPLETED)]
        assert kinds == [Kind.BATCH_STARTED, Kind.BATCH_FAILED, Kind.BATCH_REOPENED, Kind.BATCH_COMPLETED]


async def test_what_a_recovery_ends_is_told_and_what_was_told_before_is_not(telling: Telling) -> None:
    async with telling() as story:
        await story.ledger.create(SPEC, iter(["r"]), None)
        await story.take()
        await story.until(Kind.BATCH_STARTED)
    async with telling() as story:
        assert await story.until(Kind.BATCH_FAILED) == [
            (Kind.BATCH_FAILED, "b has ended failed: 0 completed, 1 failed, 0 cancelled")
        ]

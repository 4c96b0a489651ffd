"""The ledger as the rest of the daemon sees it: open it, ask it, tell it."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

from buttermilkd.bell import Bell
from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError
from buttermilkd.jobs import TRANSITIONS, BatchSpec, Claim, Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import (
    batches,
    claims,
    creation,
    dead,
    events,
    history,
    integrity,
    queries,
    recovery,
    settling,
)
from buttermilkd.ledger.opening import opened
from buttermilkd.ledger.reader import Reader
from buttermilkd.ledger.teller import Teller
from buttermilkd.ledger.writer import Writer
from buttermilkd.messages import DeadLettersView, DeadMessage
from buttermilkd.sharing import Settled

T = TypeVar("T")

logger = logging.getLogger(__name__)

FILE = integrity.FILE
SLEWED = 1.0
"""Seconds that a clock may lose between two looks without having been set."""


class Ledger:
    """Batches, jobs, attempts and events. One daemon at a time may have it open: see ``host.instance``.

    What changes something returns after it is durable, and may raise StorageError: then nothing was changed.
    """

    def __init__(self, writer: Writer, reader: Reader, clock: Clock, host: str) -> None:
        self._writer = writer
        self.teller = Teller(host)
        self._reader = reader
        self._clock = clock
        self._holds: frozenset[str] = frozenset()
        self._ahead = clock.now() - clock.monotonic()
        """Seconds by which the wall clock was ahead of the other one: less where it was set back."""
        self.told_before = 0
        """The number of the last event before this daemon."""
        self.work = Bell()
        """Rings when there may be more to take."""
        self.stops = Bell()
        """Rings when a failure has stopped a batch: ``finish_stops`` is wanted."""
        self.changes = Bell()
        """Rings when a batch began, ended, or changed otherwise than by its jobs."""
        self.posted = Bell()
        """Rings when there may be more to tell other hosts, where they share a queue with this one."""

    @classmethod
    async def open(
        cls,
        folder: Path,
        clock: Clock,
        stack: AsyncExitStack,
        host: str = "localhost",
        worked: Callable[[], None] | None = None,
    ) -> Self:
        """Open the ledger in this folder, made or migrated where needed; ``stack`` closes it.

        ``host`` names this one for others that share a queue with it. ``worked`` is called again and again, in
        other threads, while SQLite works, until ``recover`` is through.

        Raises:
            StorageError: it cannot be read or written, is damaged, or comes from a newer version.
        """
        connection = await asyncio.to_thread(opened, folder, worked)
        writer, reader = Writer(connection), Reader(folder / FILE)

        def mark() -> None:
            if not (writer.is_doubtful or reader.is_doubtful):
                integrity.Mark(folder).set()

        stack.push_async_callback(asyncio.to_thread, mark)
        writer.start()
        stack.push_async_callback(writer.close)
        stack.push_async_callback(reader.close)
        ledger = cls(writer, reader, clock, host)
        ledger._holds = frozenset(await writer.call(batches.holds))
        ledger.told_before = await writer.call(events.last)
        return ledger

    async def query(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Ask one of ``queries``. Raises what it raises, and StorageError."""
        return await self._reader.query(operation)

    async def answers(self) -> None:
        """Return once the writer's thread has had its turn, whether or not it could write."""
        with suppress(ButtermilkError):
            await self._writer.call(lambda _: None)

    def write(self, operation: Callable[[sqlite3.Connection], T]) -> "asyncio.Future[T]":
        """Have the writer do this, in a commit that the answer waits for. It is done even if nobody waits."""
        return self._writer.call(operation)

    async def recover(self, most_interruptions: int) -> recovery.Recovered:
        """Put right what a daemon's sudden death left: call it before anything is taken."""
        for left in await self._writer.call(creation.staged):
            await self._discard(left)
        now = self._clock.now()
        await self._writer.call(lambda db: recovery.set_back(db, now))
        recovered = await self._writer.call(
            lambda db: recovery.recover(db, most_interruptions, self.teller, now)
        )
        await self.finish_stops(cancelled=True)
        await self._writer.call(lambda db: db.set_progress_handler(None, 0))
        return recovered

    # Batches

    async def create(self, spec: BatchSpec, records: Iterator[str], answer: creation.Answer | None) -> None:
        """Write a batch: all of it or nothing. ``records`` yields as many as the spec says, each once.

        Raises:
            ConflictError: the batch id is taken.
        """
        portion = max(1, creation.PORTION // len(spec.variants))
        try:
            if spec.records <= portion:
                whole = list(records)
                await self._open(lambda db, now: creation.write(db, spec, whole, answer, now))
            else:
                await self._create_in_portions(spec, records, portion, answer)
        finally:  # who was cancelled meanwhile may have created it all the same
            self.changes.ring()
            self.posted.ring()

    async def _create_in_portions(
        self, spec: BatchSpec, records: Iterator[str], most: int, answer: creation.Answer | None
    ) -> None:
        now = self._clock.now()
        staged = await self._finish(lambda db: creation.stage(db, spec, now))
        try:
            start = 0
            while portion := list(islice(records, most)):
                at, chunk = start, portion
                await self._finish(lambda db: creation.fill(db, staged, at, len(spec.variants), chunk))  # noqa: B023
                start += len(portion)
            await self._open(lambda db, now: creation.activate(db, staged, answer, now))
        except BaseException:
            await asyncio.shield(self._discard_quietly(staged))
            raise

    async def _open(self, operation: Callable[[sqlite3.Connection, float], None]) -> None:
        """Have an operation carried out that makes jobs takeable. Raises what it raises.

        Who waits for work is called before it is done: what is asked of the writer now comes behind it, and may
        take those jobs in the same commit. It gets the time of this moment, which is before they are taken.
        """
        now = self._clock.now()
        call = self._writer.call(lambda db: operation(db, now))
        self.work.ring()
        await self._finished(call)

    async def _finish(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Wait for the operation even when cancelled, so that what is undone afterwards is known."""
        return await self._finished(self._writer.call(operation))

    @staticmethod
    async def _finished(call: "asyncio.Future[T]") -> T:
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            if not call.done():
                await asyncio.wait([call])
            raise

    async def _discard_quietly(self, staged: creation.Staged) -> None:
        # A full disk may refuse this too; the next start discards what is left.
        with suppress(Exception):
            await self._discard(staged)

    async def _discard(self, staged: creation.Staged) -> None:
        while await self._writer.call(lambda db: creation.discard(db, staged)):
            pass

    async def begin_cancel(self, batch_id: str) -> tuple[int, int]:
        """Stop giving out a batch's jobs; its key, and how many of them have ended already.

        Raises:
            NotFoundError, ConflictError: there is none, or it has ended.
        """
        now = self._clock.now()
        begun = await self._writer.call(lambda db: batches.begin_cancel(db, batch_id, self.teller, now))
        self.posted.ring()
        return begun

    async def finish_cancel(self, batch: int) -> int:
        """Cancel the waiting jobs of a batch that is being stopped; how many."""
        dropped, left = 0, True
        while left:
            count, left = await self._writer.call(
                lambda db: batches.cancel_portion(db, batch, self._clock.now())
            )
            dropped += count
        self.changes.ring()
        return dropped

    async def finish_stops(self, *, cancelled: bool = False) -> None:
        """The same for every batch that a failure stopped, and with ``cancelled`` for those that were cancelled."""
        for batch in await self._writer.call(lambda db: batches.stopping(db, cancelled=cancelled)):
            await self.finish_cancel(batch)

    async def cancel_job(self, job_id: str) -> bool:
        """Cancel one waiting job; whether it was still waiting. Raises NotFoundError."""
        row = await self.query(lambda db: queries.job_row(db, job_id))
        now = self._clock.now()
        cancelled = await self._writer.call(
            lambda db: batches.cancel_job(db, row["id"], row["batch"], self.teller, now)
        )
        self.changes.ring()
        self.posted.ring()
        return cancelled

    async def job_status(self, job_id: str) -> Status:
        """Raises NotFoundError."""
        row = await self.query(lambda db: queries.job_row(db, job_id))
        return Status(row["status"])

    async def requeue_batch(self, batch_id: str, statuses: Sequence[Status]) -> int:
        """Make a batch's jobs of these statuses pending again; how many.

        Raises:
            NotFoundError, ConflictError: there is none, or it is being cancelled.
        """
        row = await self.query(lambda db: queries.batch_row(db, batch_id))
        jobs = range(row["first_job"], row["first_job"] + row["span"])
        return await self._requeue(row["key"], jobs, statuses)

    async def requeue_job(self, job_id: str, statuses: Sequence[Status]) -> int:
        """The same for one job: 1, or 0 where it has another status. Raises NotFoundError."""
        row = await self.query(lambda db: queries.job_row(db, job_id))
        return await self._requeue(row["batch"], range(row["id"], row["id"] + 1), statuses)

    async def _requeue(self, batch: int, jobs: range, statuses: Sequence[Status]) -> int:
        requeued = 0
        while jobs:
            left = jobs
            count, jobs = await self._writer.call(
                lambda db: batches.requeue(db, batch, left, statuses, self.teller, self._clock.now())  # noqa: B023
            )
            requeued += count
        if requeued:
            self.work.ring()
            self.changes.ring()
            self.posted.ring()
        return requeued

    # Jobs

    def take(self, rooms: Mapping[str, int], limit: int) -> "asyncio.Future[Claim]":
        """Take jobs, and record them as running. See ``queues.base.Queue.take`` for the order."""
        held, now = self._holds, self._clock.now()
        if "*" in held:
            rooms = {}
        was_ahead, self._ahead = self._ahead, now - self._clock.monotonic()
        was_set_back = self._ahead < was_ahead - SLEWED

        def take(db: sqlite3.Connection) -> Claim:
            if was_set_back:
                recovery.set_back(db, now)
            return claims.take(db, rooms, limit, held, now)

        claim = self._writer.call(take)
        claim.add_done_callback(self._claimed)
        return claim

    def _claimed(self, claim: "asyncio.Future[Claim]") -> None:
        if not claim.cancelled() and claim.exception() is None and claim.result().began:
            self.changes.ring()

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record what became of taken jobs; see ``queues.base.Queue.settle``."""
        now = self._clock.now()
        settled = await self._writer.call(lambda db: settling.settle(db, settlements, now))
        if any(TRANSITIONS[settlement.event][1] is Status.PENDING for settlement in settlements):
            self.work.ring()
        if settled.stopping:
            self.stops.ring()
        if settled.ended:
            self.changes.ring()

    def release(self, taken: Sequence[Taken]) -> None:
        """Give jobs back that were taken for somebody who no longer waits; does not wait for it either."""
        given_back = [Settlement(one, Event.GIVE_BACK, Outcome(Ending.GIVEN_BACK)) for one in taken]
        now = self._clock.now()
        self._writer.call(lambda db: settling.settle(db, given_back, now)).add_done_callback(report_failure)
        self.work.ring()

    async def totals(self) -> tuple[int, int]:
        """Pending and running jobs of all batches."""
        by_flow = (await self.query(queries.totals)).values()
        return sum(pending for pending, _ in by_flow), sum(running for _, running in by_flow)

    # Dead letters

    async def bury(self, letter: DeadMessage) -> str:
        """Keep a message that could not be read; its letter's id, the same one where it is delivered again."""
        now = self._clock.now()
        letter_id = await self._writer.call(lambda db: dead.bury(db, letter, now))
        self.changes.ring()
        return letter_id

    async def dead(self, page: dead.DeadPage) -> DeadLettersView:
        """A page of dead letters, jobs and messages, the newest first. Raises InvalidRequestError."""
        return await self.query(lambda db: dead.letters(db, page))

    async def drop(self, letter_ids: Sequence[str]) -> list[str]:
        """Drop dead letters by their whole ids, in one commit; which of them there still were."""
        now = self._clock.now()
        dropped = await self._writer.call(lambda db: dead.drop(db, letter_ids, now))
        self.changes.ring()
        return dropped

    async def republished(self, letter_id: str) -> None:
        """Forget a message that has been published again."""
        now = self._clock.now()
        await self._writer.call(lambda db: dead.drop_messages(db, [letter_id], now, requeued=True))
        self.changes.ring()

    # Holds, events, answers

    @property
    def holds(self) -> frozenset[str]:
        """Names of paused flows; ``*`` stands for all."""
        return self._holds

    async def hold(self, flow: str, uid: int) -> None:
        """Pause a flow, or with ``*`` all; it outlives the daemon."""
        now = self._clock.now()
        await self._writer.call(lambda db: batches.hold(db, flow, uid, now))
        self._holds |= {flow}
        self.changes.ring()

    async def release_hold(self, flow: str) -> None:
        """Resume a flow, or with ``*`` everything."""
        now = self._clock.now()
        await self._writer.call(lambda db: batches.release(db, flow, now))
        self._holds = frozenset() if flow == "*" else self._holds - {flow}
        self.work.ring()
        self.changes.ring()

    async def record(self, kind: str, message: str) -> None:
        """Add an event of the daemon's own."""
        now = self._clock.now()
        await self._writer.call(lambda db: events.record(db, now, kind, message))
        self.changes.ring()

    async def add_history(self, slices: Sequence[history.Slice]) -> None:
        """Add to what is known of the machine's time."""
        now = self._clock.now()
        await self._writer.call(lambda db: history.add(db, slices, now))

    async def keep_answer(self, answer: creation.Answer) -> None:
        """Keep the answer to a request with an ``Idempotency-Key``."""
        now = self._clock.now()
        await self._writer.call(lambda db: creation.keep_answer(db, answer, now))


def report_failure(settled: asyncio.Future[Settled]) -> None:
    if not settled.cancelled() and (error := settled.exception()) is not None:
        told = about(kind=Kind.STORAGE_TROUBLE)
        logger.error("cannot give jobs back, they stay taken until the next start: %s", error, extra=told)

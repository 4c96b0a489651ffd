"""The ledger as a queue needs it that many hosts share: what messages ask for, what others tell, what goes out."""

import asyncio
import sqlite3
from collections.abc import Collection, Sequence

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Event, Outcome, Settlement, Taken
from buttermilkd.ledger import outbox, publication, requests
from buttermilkd.ledger.ledger import Ledger, report_failure
from buttermilkd.ledger.merging import merge
from buttermilkd.ledger.teller import SHARED
from buttermilkd.messages import DeadMessage, HostAsks
from buttermilkd.sharing import Arrival, Claimed, Merged, Portion, Post, Settled, Topic, Update

_BETWEEN_PORTIONS = 0.2
"""Seconds until it is looked again whether the outbox has room."""


class SharedLedger:
    """What changes something returns after it is durable, and may raise StorageError: then nothing was changed."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self._clock = clock
        self.work = ledger.work
        self.posted = ledger.posted
        """Rings when there may be something to publish."""

    @property
    def host(self) -> str:
        return self.ledger.teller.host

    @property
    def holds(self) -> frozenset[str]:
        """Names of paused flows; ``*`` stands for all."""
        return self.ledger.holds

    # Jobs

    def claim(self, arrivals: Sequence[Arrival], executing: Collection[str]) -> "asyncio.Future[Claimed]":
        """Judge these messages, and record as running what may run; see ``requests.claim``."""
        teller, now = self.ledger.teller, self._clock.now()
        claim = self.ledger.write(lambda db: requests.claim(db, arrivals, executing, teller, now))
        claim.add_done_callback(self._claimed)
        return claim

    def _claimed(self, claim: "asyncio.Future[Claimed]") -> None:
        self.posted.ring()
        if claim.cancelled() or claim.exception() is not None:
            return
        if claim.result().ended or claim.result().began:
            self.ledger.changes.ring()

    def release(self, taken: Sequence[Taken]) -> None:
        """Give jobs back that were taken for somebody who no longer waits; does not wait for it either."""
        given_back = [Settlement(one, Event.GIVE_BACK, Outcome(Ending.GIVEN_BACK)) for one in taken]
        teller, now = self.ledger.teller, self._clock.now()
        release = self.ledger.write(lambda db: requests.settle(db, given_back, teller, now))
        release.add_done_callback(report_failure)
        self.posted.ring()

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        """Record what became of taken jobs; see ``queues.base.Queue.settle``."""
        teller, now = self.ledger.teller, self._clock.now()
        settled = await self.ledger.write(lambda db: requests.settle(db, settlements, teller, now))
        self.posted.ring()
        if settled.stopping:
            self.ledger.stops.ring()
        if settled.ended:
            self.ledger.changes.ring()
        return settled

    async def merge(self, updates: Sequence[Update]) -> Merged:
        """Take over what other hosts tell."""
        teller, now = self.ledger.teller, self._clock.now()
        merged = await self.ledger.write(lambda db: merge(db, updates, teller, now))
        self.ledger.stops.ring()
        self.ledger.changes.ring()
        self.posted.ring()
        return merged

    async def repeat(self) -> int:
        """Tell the others again what runs here, so that they believe it; how many jobs that are."""
        now = self._clock.now()

        def tell(db: sqlite3.Connection) -> int:
            rows = db.execute(
                """SELECT jobs.id, jobs.batch FROM jobs INDEXED BY jobs_running
                   JOIN batches ON batches.key = jobs.batch
                   WHERE jobs.status = 'running' AND jobs.host IS NULL AND batches.queue = ?""",
                (SHARED,),
            ).fetchall()
            for row in rows:
                self.ledger.teller.tell_jobs(db, row["batch"], [row["id"]], now)
            return len(rows)

        told = await self.ledger.write(tell)
        if told:
            self.posted.ring()
        return told

    async def totals(self) -> tuple[int, int]:
        """Pending and running jobs of all batches, as far as this host knows."""
        return await self.ledger.totals()

    async def bury(self, letter: DeadMessage) -> None:
        """Keep a message that cannot be read as a dead letter."""
        await self.ledger.bury(letter)

    # What goes out

    async def posts(self, topic: Topic) -> list[Post]:
        """The next messages for this topic: as many as one request takes."""
        return await self.ledger.query(lambda db: outbox.posts(db, topic))

    async def remove(self, posts: Sequence[Post]) -> None:
        """They are published."""
        await self.ledger.write(lambda db: outbox.remove(db, posts))

    async def announcement(self) -> Portion | None:
        """The next part of what other hosts do not know of a batch that was created here."""
        return await self.ledger.query(lambda db: publication.announcement(db, self.host))

    async def publication(self) -> Portion | None:
        """The next jobs of a batch that was created here that are not at Pub/Sub yet."""
        now = self._clock.now()
        return await self.ledger.query(lambda db: publication.publication(db, now))

    async def announced(self, portion: Portion) -> None:
        await self.ledger.write(lambda db: publication.announced(db, portion))

    async def published(self, portion: Portion) -> None:
        await self.ledger.write(lambda db: publication.published(db, portion))

    async def ask(self) -> None:
        """Have the other hosts tell again what they know first-hand."""
        teller, now = self.ledger.teller, self._clock.now()
        asking = HostAsks(host=teller.host, at=now, sequence=teller.sequence.next(now))
        await self.ledger.write(lambda db: outbox.put(db, Topic.STATUS, asking))
        self.posted.ring()

    async def tell_again(self) -> int:
        """Tell what is known here first-hand of batches that go on or ended lately; how many jobs that are."""
        now, told, after = self._clock.now(), 0, 0
        await self.ledger.write(lambda db: publication.announce_again(db, now))
        self.posted.ring()
        while True:
            start = after
            jobs, after = await self.ledger.write(
                lambda db: self.ledger.teller.tell_again(db, start, now)  # noqa: B023
            )
            self.posted.ring()
            told += jobs
            if not jobs:
                return told
            # The outbox need not hold all that this host ever ran.
            while len(await self.posts(Topic.STATUS)) == outbox.PORTION:
                await self._clock.sleep(_BETWEEN_PORTIONS)

    async def unpublished(self) -> set[str]:
        """Messages, by their ack ids, whose successors are not published yet."""
        return await self.ledger.query(outbox.unpublished)

    async def note_loss(self) -> None:
        """Pub/Sub has lost everything: ``begin_again`` is wanted, even if this daemon dies before."""
        await self.ledger.write(publication.note_loss)

    async def begin_again(self) -> int:
        """Publish anew what was asked for here and has not ended: Pub/Sub has lost it. How many batches that are."""
        now = self._clock.now()
        batches = await self.ledger.write(lambda db: publication.begin_again(db, now))
        self.posted.ring()
        return batches

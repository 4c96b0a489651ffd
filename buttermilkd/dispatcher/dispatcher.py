"""Gate → queue → runner → queue: the one loop that everything else exists for."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from buttermilkd.bell import Bell, first_of
from buttermilkd.chronicle import Chronicle
from buttermilkd.clock import Clock
from buttermilkd.dispatcher.ports import Gate, Runner
from buttermilkd.dispatcher.recorder import FIRST_PAUSE, LONGEST_PAUSE, TROUBLE, Recorder
from buttermilkd.errors import ButtermilkError
from buttermilkd.jobs import Ending, Job, Outcome, Taken
from buttermilkd.journal import Kind, about
from buttermilkd.plurals import count
from buttermilkd.queues.base import Queue
from buttermilkd.retries import RetryLimits

logger = logging.getLogger(__name__)

LAST_PATIENCE = 10.0
"""Seconds for which a daemon that stops tries to record ends: what it has not recorded is begun again."""

MANY = 32
GATHERING = 0.002
"""Seconds for which ends are gathered while that many jobs go on, as short calls do that are queued in a worker: a commit, and
the ten turns of the loop around it, cost as much for one job as for all of them."""


class Dispatcher:
    """Takes jobs while the gate is open and there is room, runs them, and settles what has ended.

    Intake and settlement are two loops, so that a slow commit of one job's end delays no other's start;
    what both ask of the ledger at the same moment is one commit.
    """

    def __init__(
        self, *, queue: Queue, runner: Runner, gate: Gate, limits: Callable[[str], RetryLimits], clock: Clock
    ) -> None:
        self._queue = queue
        self._runner = runner
        self._gate = gate
        self._clock = clock
        self._chronicle = Chronicle(clock)
        self._running: dict[str, Taken] = {}
        self._ended: list[tuple[Taken, Outcome]] = []
        self._something_ended = asyncio.Event()
        self._settled = Bell()
        self._news = Bell()
        """Rings when more may be taken than before: intake waits for it."""
        runner.on_room = self._news.ring
        self._refused: set[str] = set()
        self._awaited: list[dict[str, Outcome | None]] = []
        self._taking = asyncio.Lock()
        self._pause = FIRST_PAUSE
        """Seconds until it is tried again to take jobs, should it fail."""
        self._recorder = Recorder(queue, limits, self._is_refused, self._chronicle, clock)
        self.draining = False

    @property
    def trouble(self) -> str | None:
        """Why ends cannot be recorded at present; nothing is taken meanwhile."""
        return self._recorder.trouble

    async def run(self) -> None:
        """Run until cancelled; ``drain`` first, so that nothing is left unrecorded."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._intake(), name="intake")
            tasks.create_task(self._settlement(), name="settlement")
            tasks.create_task(self._follow_gate(), name="gate")

    # Intake

    async def _intake(self) -> None:
        while True:
            seen = self._news.ring_count
            limit = self._room()
            if not self._may_begin:
                self._queue.recall()
            if limit <= 0 or not (rooms := self._runner.rooms()):
                await self._news.heard(seen)
            elif not await self._take(rooms, limit):
                await self._news.heard_or(seen, self._queue.arrival())

    def _room(self) -> int:
        """How many more jobs may be taken now.

        An ended job keeps its place until its end has been handed to the queue. The queue carries calls out in
        their order, so no job begins before the end of the one whose place it takes is durable: a
        crash repeats no more jobs than may run at once.
        """
        if not self._may_begin:
            return 0
        room = self._runner.room() - len(self._ended)
        allowance = self._gate.allowance()
        return room if allowance is None else min(room, allowance - len(self._running))

    @property
    def _may_begin(self) -> bool:
        """Else what is held for jobs that may begin soon goes back: other hosts may be able to run them."""
        troubles = self.trouble, self._runner.trouble
        return self._gate.is_open and not self.draining and troubles == (None, None)

    async def _take(self, rooms: Mapping[str, int], limit: int) -> bool:
        """Take and begin; whether it is worth to ask again at once: there were as many as asked for, or it failed."""
        try:
            async with self._taking:
                taken = await self._queue.take(rooms, limit)
                self._begin(taken)
        except ButtermilkError as error:
            logger.error(  # noqa: TRY400
                "cannot take jobs: %s; trying again in %.0f s", error, self._pause, extra=TROUBLE
            )
            await self._clock.sleep(self._pause)
            self._pause = min(LONGEST_PAUSE, self._pause * 2)
            return True
        self._pause = FIRST_PAUSE
        return len(taken) == limit

    def _begin(self, taken: Iterable[Taken]) -> None:
        """Start what was taken, or give it straight back where the gate has closed meanwhile, or an end could not be recorded.

        It may have been taken all the same, and would run in the place of a job whose end is not durable.
        """
        for one in taken:
            job = one.job
            self._running[job.job_id] = one
            if self._is_refused(job):
                self._end(one, Outcome(Ending.CANCELLED, error="cancelled before it began"))
            elif not self._may_begin:
                self._end(one, Outcome(Ending.GIVEN_BACK))
            else:
                self._runner.start(job, partial(self._ended_by_itself, one))
                self._chronicle.begun(job)

    async def _follow_gate(self) -> None:
        while True:
            seen = self._gate.changed.ring_count
            if not self._gate.is_open:
                self._runner.recall()
                self._queue.recall()
            self._news.ring()
            await self._gate.changed.heard(seen)

    # Settlement

    def _ended_by_itself(self, taken: Taken, _job: Job, outcome: Outcome) -> None:
        self._end(taken, outcome)

    def _end(self, taken: Taken, outcome: Outcome) -> None:
        self._ended.append((taken, outcome))
        for outcomes in self._awaited:
            if taken.job.job_id in outcomes:
                outcomes[taken.job.job_id] = outcome
        self._something_ended.set()

    async def _settlement(self) -> None:
        while True:
            await self._something_ended.wait()
            if len(self._running) - len(self._ended) >= MANY:
                await self._clock.sleep(GATHERING)
            self._something_ended.clear()
            ended, self._ended = self._ended, []
            self._news.ring()  # intake goes on once this loop waits: behind the settlement, not beside it
            at_once = await self._recorder.record(ended)
            for taken, _ in ended:
                # A job given back may have been taken anew the moment that it was recorded.
                if self._running.get(taken.job.job_id) is taken:
                    del self._running[taken.job.job_id]
            self._settled.ring()
            if not at_once or self._gate.allowance() is not None:  # else there is no more room than before
                self._news.ring()

    # From outside

    @property
    def running(self) -> Collection[Taken]:
        """What is taken and not yet settled."""
        return self._running.values()

    @property
    def running_ids(self) -> dict[str, list[str]]:
        """Ids of the jobs that run here, by batch id."""
        found: dict[str, list[str]] = {}
        for taken in self._running.values():
            found.setdefault(taken.job.batch_id, []).append(taken.job.job_id)
        return found

    async def stop(self, job_ids: Collection[str], *, now: bool = False) -> list[Outcome]:
        """Cancel those of these jobs that run here; their outcomes, once they are durable.

        One that ended by itself meanwhile has the outcome that it would have had.
        """
        wanted = self._running.keys() & job_ids
        outcomes: dict[str, Outcome | None] = dict.fromkeys(wanted)
        self._awaited.append(outcomes)
        try:
            await self._runner.stop(wanted, Ending.CANCELLED, now=now)
            await self._until_settled(wanted)
        finally:
            self._awaited = [one for one in self._awaited if one is not outcomes]
        return [outcome for outcome in outcomes.values() if outcome is not None]

    def refuse(self, subject: str) -> None:
        """Neither begin nor retry jobs of this batch, or this job: it is being cancelled."""
        self._refused.add(subject)

    def accept(self, subject: str) -> None:
        """The cancel is over: what is requeued later may run."""
        self._refused.discard(subject)

    def _is_refused(self, job: Job) -> bool:
        return not self._refused.isdisjoint((job.job_id, job.batch_id))

    async def drain(self, patience: float) -> None:
        """Begin nothing more; wait ``patience`` seconds for what runs; give the rest back; record it all.

        Where that cannot be recorded, as on a full disk, it is left as it stands: running, to be recovered.
        """
        self.draining = True
        async with self._taking:  # what is being taken right now is given back
            self._runner.recall()
            self._queue.recall()
        await first_of([self._until_settled(set(self._running)), self._clock.sleep(patience)])
        await self._runner.stop(list(self._running), Ending.GIVEN_BACK)
        await first_of([self._until_settled(set(self._running)), self._until_hopeless()])
        if self._running:
            left = count(len(self._running), "job")
            about_left = about(self._running, Kind.STORAGE_TROUBLE)
            logger.error("stopping with %s as they stand: %s", left, self.trouble, extra=about_left)
        self._chronicle.finish()

    async def _until_hopeless(self) -> None:
        """Return once nothing could be recorded for a while."""
        while True:
            seen = self._settled.ring_count
            await self._clock.sleep(LAST_PATIENCE)
            if self.trouble is not None and self._settled.ring_count == seen:
                return

    async def _until_settled(self, job_ids: Collection[str]) -> None:
        while self._running.keys() & job_ids:
            await self._settled.heard()

"""Doubles for tests, of this project and of others: a hand-moved clock, a scripted machine, a memory queue and so on.

Each passes the same contract suite as the real thing; what they hold can be looked at.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from buttermilkd.bell import Bell, first_of
from buttermilkd.cgroups import Membership
from buttermilkd.clock import Clock
from buttermilkd.host.notifier import Notifier
from buttermilkd.idle.policy.observations import Load, Measure, Protection
from buttermilkd.idle.policy.settings import Settings
from buttermilkd.jobs import Ending, Event, Job, Settlement, Status, Taken, job_id, transition
from buttermilkd.queues.base import Depth
from buttermilkd.sharing import Merged


class HandMovedClock:
    """Implements ``Clock``. Time passes only in ``advance``."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._wall = now
        self._monotonic = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def now(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator would."""
        self._wall += seconds

    async def advance(self, seconds: float) -> None:
        """Let time pass: wake each sleeper at its moment, in order, and let it act before the next one."""
        await settle_loop()
        end = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            at, _, woken = heapq.heappop(self._sleepers)
            self._pass(at - self._monotonic)
            if not woken.done():
                woken.set_result(None)
            await settle_loop()
        self._pass(end - self._monotonic)
        await settle_loop()

    def _pass(self, seconds: float) -> None:
        # What was woken may itself have moved the clock on.
        self._monotonic += max(0.0, seconds)
        self._wall += max(0.0, seconds)


async def settle_loop(turns: int = 20) -> None:
    """Let what is ready run."""
    for _ in range(turns):
        await asyncio.sleep(0)


class ScriptedMachine:
    """Implements the gate's ``Machine``: a machine that does what ``load`` says; calm, unless it is told otherwise."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.load = Load(at=0.0, foreign=Measure(0.03))
        """What is seen at the next look; ``at`` is filled in."""
        self.proof = Protection()
        self.ticks: list[float] = []
        """The tick of each look so far."""

    def look(self, tick: float, web: frozenset[Membership]) -> Load:
        del web
        self.ticks.append(tick)
        return replace(self.load, at=self._clock.monotonic())

    def protection(self, web: frozenset[Membership]) -> Protection:
        del web
        return self.proof

    def reconfigure(self, settings: Settings) -> None:
        """It watches for no threshold."""


class RecordingNotifier(Notifier):
    """Implements ``Notifier``: remembers what systemd would have been told."""

    listened = True

    def __init__(self, clock: Clock, watchdog: float | None = None) -> None:
        super().__init__(clock)
        self.watchdog = watchdog
        self.messages: list[dict[str, str]] = []
        """The assignments of each message so far."""
        self.closed = False

    def send(self, message: Mapping[str, str]) -> None:
        if not self.closed:
            self.messages.append({name: " ".join(value.split()) for name, value in message.items()})

    def close(self) -> None:
        self.closed = True


@dataclass
class Entry:
    """A job in the memory queue."""

    job: Job
    priority: int
    concurrency: int | None
    number: int
    status: Status = Status.PENDING
    due: float = 0.0
    again: bool = False
    settlements: list[Settlement] = field(default_factory=list)


class MemoryQueue:
    """Implements ``queues.base.Queue`` without a file. ``entries`` may be looked at."""

    kind = "memory"
    trouble = None
    republish = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._bell = Bell()
        self._rung = 0
        self.entries: dict[str, Entry] = {}
        self.holds: set[str] = set()

    def add(
        self,
        batch_id: str,
        flow: str,
        records: Sequence[str],
        *,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> None:
        """Add a batch of jobs."""
        for number, record in enumerate(records, 1):
            name = job_id(batch_id, number)
            job = Job(name, batch_id, flow, record, {}, attempt=0)
            self.entries[name] = Entry(job, priority, concurrency, len(self.entries))
        self._bell.ring()

    def release(self, flow: str) -> None:
        self.holds.discard(flow)
        self._bell.ring()

    async def take(self, rooms: Mapping[str, int], limit: int) -> list[Taken]:
        self._rung = self._bell.ring_count
        left = dict(rooms)
        taken: list[Taken] = []
        for entry in self._takeable():
            if len(taken) == limit:
                break
            flow = entry.job.flow
            if left.get(flow, 0) > 0 and flow not in self.holds and not self._is_full(entry):
                left[flow] -= 1
                taken.append(self._take(entry))
        return taken

    def _takeable(self) -> list[Entry]:
        now = self._clock.now()
        waiting = [e for e in self.entries.values() if e.status is Status.PENDING and e.due <= now]
        first = {batch: min(e.number for e in self._of(batch)) for batch in {e.job.batch_id for e in waiting}}
        return sorted(waiting, key=lambda e: (-e.priority, first[e.job.batch_id], not e.again, e.number))

    def _of(self, batch_id: str) -> list[Entry]:
        return [entry for entry in self.entries.values() if entry.job.batch_id == batch_id]

    def _is_full(self, entry: Entry) -> bool:
        running = sum(other.status is Status.RUNNING for other in self._of(entry.job.batch_id))
        return entry.concurrency is not None and running >= entry.concurrency

    def _take(self, entry: Entry) -> Taken:
        entry.status = transition(entry.status, Event.TAKE)
        entry.job = replace(entry.job, attempt=entry.job.attempt + 1)
        return Taken(entry.job, entry.job.job_id)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            entry = self.entries[settlement.taken.job.job_id]
            if entry.status is not Status.RUNNING or entry.job.attempt != settlement.taken.job.attempt:
                continue
            entry.status = transition(entry.status, settlement.event)
            entry.settlements.append(settlement)
            entry.due = self._clock.now() + settlement.delay
            entry.again = entry.status is Status.PENDING
            entry.job = _counted(entry.job, settlement)
        self._bell.ring()

    def recall(self) -> None:
        """It holds nothing that it has not given out."""

    def reconfigure(self) -> None:
        """It holds nothing of any flow."""

    async def arrival(self) -> None:
        now = self._clock.now()
        due = min(
            (e.due for e in self.entries.values() if e.status is Status.PENDING and e.due > now), default=None
        )
        heard = self._bell.heard(self._rung)
        await first_of([heard] if due is None else [heard, self._clock.sleep(due - now)])

    async def depth(self) -> Depth:
        statuses = [entry.status for entry in self.entries.values()]
        return Depth(self.kind, statuses.count(Status.PENDING), statuses.count(Status.RUNNING))

    async def run(self) -> None:
        """Nothing goes on beside it."""
        await asyncio.get_running_loop().create_future()

    def attend(self, follow: Callable[[Merged], Coroutine[Any, Any, None]]) -> None:
        """There are no other hosts."""


def _counted(job: Job, settlement: Settlement) -> Job:
    """The job with what its end takes back and adds."""
    if settlement.event is Event.GIVE_BACK:
        return replace(job, attempt=job.attempt - 1)
    if settlement.event is Event.DISTURB:
        return replace(job, attempt=job.attempt - 1, disturbances=job.disturbances + 1)
    if settlement.event is Event.INTERRUPT:
        return replace(job, attempt=job.attempt - 1, interruptions=job.interruptions + 1)
    if settlement.event is Event.RETRY and settlement.outcome.ending is Ending.DEFERRED:
        return replace(job, deferrals=job.deferrals + 1)
    return job

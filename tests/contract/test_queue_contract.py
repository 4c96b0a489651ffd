"""What every queue promises, run over each of them: see ``buttermilkd.queues.base``."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from buttermilkd.jobs import BatchSpec, Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.ledger import Ledger
from buttermilkd.queues.base import Queue
from buttermilkd.queues.local import LocalQueue
from buttermilkd.testing import HandMovedClock, MemoryQueue, settle_loop
from tests.pubsub_host import Host, MovableClock, Patient, SteppedClock, host_at_emulator, host_in_memory

DONE = Outcome(Ending.COMPLETED, result='{"words": 3}')
FAULT = Outcome(Ending.FAILED, error="exit status 1", cause="exit status 1")
LATER = Outcome(Ending.DEFERRED, error="exit status 75", cause="exit status 75")
CUT_OFF = Outcome(Ending.INTERRUPTED, error="launcher died", cause="launcher died")
BACK = Outcome(Ending.GIVEN_BACK)


class Bench(Protocol):
    """A queue, and what a test must be able to arrange and see around it."""

    @property
    def queue(self) -> Queue: ...

    @property
    def clock(self) -> MovableClock: ...

    async def add(
        self,
        batch: str,
        flow: str,
        records: Sequence[str],
        *,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> None: ...

    async def hold(self, flow: str) -> None: ...

    async def release(self, flow: str) -> None: ...

    async def status(self, job: str) -> Status: ...


@dataclass
class MemoryBench:
    queue: MemoryQueue
    clock: HandMovedClock

    async def add(
        self,
        batch: str,
        flow: str,
        records: Sequence[str],
        *,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> None:
        self.queue.add(batch, flow, records, priority=priority, concurrency=concurrency)

    async def hold(self, flow: str) -> None:
        self.queue.holds.add(flow)

    async def release(self, flow: str) -> None:
        self.queue.release(flow)

    async def status(self, job: str) -> Status:
        return self.queue.entries[job].status


@dataclass
class LocalBench:
    queue: LocalQueue
    clock: HandMovedClock
    ledger: Ledger

    async def add(
        self,
        batch: str,
        flow: str,
        records: Sequence[str],
        *,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> None:
        spec = BatchSpec(
            batch, flow, "0" * 12, ({},), len(records), 1000, priority=priority, concurrency=concurrency
        )
        await self.ledger.create(spec, iter(records), None)

    async def hold(self, flow: str) -> None:
        await self.ledger.hold(flow, 1000)

    async def release(self, flow: str) -> None:
        await self.ledger.release_hold(flow)

    async def status(self, job: str) -> Status:
        return await self.ledger.job_status(job)


@dataclass
class PubsubBench:
    """A queue at Pub/Sub, and the host that it belongs to."""

    queue: Queue
    host: Host
    clock: MovableClock

    async def add(
        self,
        batch: str,
        flow: str,
        records: Sequence[str],
        *,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> None:
        await self.host.add(batch, flow, records, priority=priority, concurrency=concurrency)

    async def hold(self, flow: str) -> None:
        await self.host.ledger.hold(flow, 1000)

    async def release(self, flow: str) -> None:
        await self.host.ledger.release_hold(flow)
        await self.clock.advance(60)  # what came while the flow was paused went back for some time

    async def status(self, job: str) -> Status:
        return await self.host.ledger.job_status(job)


@pytest.fixture(params=["memory", "local", "pubsub in memory", "pubsub at the emulator"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    clock = HandMovedClock()
    async with AsyncExitStack() as stack:
        if request.param == "memory":
            yield MemoryBench(MemoryQueue(clock), clock)
        elif request.param == "local":
            ledger = await Ledger.open(tmp_path, clock, stack)
            yield LocalBench(LocalQueue(ledger, clock), clock, ledger)
        elif request.param == "pubsub in memory":
            host = await stack.enter_async_context(host_in_memory(tmp_path, clock))
            yield PubsubBench(Patient(host), host, clock)
        else:
            emulator = request.getfixturevalue("shared_emulator")
            stepped = SteppedClock()
            host = await stack.enter_async_context(host_at_emulator(tmp_path, stepped, emulator))
            yield PubsubBench(Patient(host), host, stepped)


def ids(taken: list[Taken]) -> list[str]:
    return [one.job.job_id for one in taken]


async def test_jobs_come_in_the_order_of_their_numbers(bench: Bench) -> None:
    await bench.add("b", "f", ["x", "y", "z"])
    taken = await bench.queue.take({"f": 2}, 10)
    assert [(one.job.job_id, one.job.record_id, one.job.attempt) for one in taken] == [
        ("b.1", "x", 1),
        ("b.2", "y", 1),
    ]
    assert ids(await bench.queue.take({"f": 9}, 10)) == ["b.3"]


async def test_a_taken_job_is_running_and_is_not_given_out_again(bench: Bench) -> None:
    await bench.add("b", "f", ["x"])
    await bench.queue.take({"f": 1}, 1)
    assert await bench.status("b.1") is Status.RUNNING
    assert await bench.queue.take({"f": 1}, 1) == []


async def test_batches_come_by_priority_and_then_by_age(bench: Bench) -> None:
    await bench.add("old", "f", ["x"])
    await bench.add("young", "f", ["x"])
    await bench.add("urgent", "f", ["x"], priority=5)
    assert ids(await bench.queue.take({"f": 9}, 9)) == ["urgent.1", "old.1", "young.1"]


async def test_no_flow_gets_more_than_its_room_and_none_without_room_anything(bench: Bench) -> None:
    await bench.add("a", "f", ["x", "y"])
    await bench.add("b", "g", ["x", "y"])
    await bench.add("c", "h", ["x", "y"])
    assert ids(await bench.queue.take({"f": 1, "g": 2}, 9)) == ["a.1", "b.1", "b.2"]


async def test_the_limit_holds_over_all_flows(bench: Bench) -> None:
    await bench.add("a", "f", ["x", "y"])
    await bench.add("b", "g", ["x", "y"])
    assert ids(await bench.queue.take({"f": 9, "g": 9}, 3)) == ["a.1", "a.2", "b.1"]


async def test_a_batch_is_never_run_over_its_own_concurrency(bench: Bench) -> None:
    await bench.add("b", "f", ["x", "y", "z"], concurrency=2)
    taken = await bench.queue.take({"f": 9}, 9)
    assert ids(taken) == ["b.1", "b.2"]
    assert await bench.queue.take({"f": 9}, 9) == []
    await bench.queue.settle([Settlement(taken[0], Event.COMPLETE, DONE)])
    await bench.clock.advance(10)  # a shared queue looks again after some seconds
    assert ids(await bench.queue.take({"f": 9}, 9)) == ["b.3"]


async def test_nothing_of_a_paused_flow_is_given_out(bench: Bench) -> None:
    await bench.add("b", "f", ["x"])
    await bench.hold("f")
    assert await bench.queue.take({"f": 1}, 1) == []
    await bench.release("f")
    assert ids(await bench.queue.take({"f": 1}, 1)) == ["b.1"]


@pytest.mark.parametrize(
    ("event", "outcome", "status"),
    [
        (Event.COMPLETE, DONE, Status.COMPLETED),
        (Event.FAIL, FAULT, Status.FAILED),
        (Event.CANCEL, Outcome(Ending.CANCELLED), Status.CANCELLED),
    ],
)
async def test_an_ended_job_never_comes_back_and_its_end_is_recorded_once(
    bench: Bench, event: Event, outcome: Outcome, status: Status
) -> None:
    await bench.add("b", "f", ["x"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, event, outcome)])
    await bench.queue.settle([Settlement(taken, Event.FAIL, FAULT)])
    await bench.queue.settle([Settlement(taken, Event.GIVE_BACK, BACK)])
    assert await bench.status("b.1") is status
    assert await bench.queue.take({"f": 1}, 1) == []


async def test_a_retried_job_waits_for_its_delay_and_has_used_an_attempt(bench: Bench) -> None:
    await bench.add("b", "f", ["x"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, Event.RETRY, FAULT, delay=10.0)])
    await bench.clock.advance(9.0)
    assert await bench.queue.take({"f": 1}, 1) == []
    await bench.clock.advance(1.5)
    (again,) = await bench.queue.take({"f": 1}, 1)
    assert (again.job.attempt, again.job.deferrals) == (2, 0)


async def test_a_disturbed_job_waits_for_its_delay_and_is_the_same_attempt_again(bench: Bench) -> None:
    await bench.add("b", "f", ["x"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, Event.DISTURB, FAULT, delay=10.0)])
    assert await bench.status("b.1") is Status.PENDING
    assert await bench.queue.take({"f": 1}, 1) == []
    await bench.clock.advance(10)
    (again,) = await bench.queue.take({"f": 1}, 1)
    assert (again.job.attempt, again.job.disturbances, again.job.deferrals) == (1, 1, 0)


async def test_an_interrupted_job_is_there_at_once_as_the_same_attempt_and_that_is_counted(
    bench: Bench,
) -> None:
    await bench.add("b", "f", ["x"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, Event.INTERRUPT, CUT_OFF)])
    (again,) = await bench.queue.take({"f": 1}, 1)
    assert (again.job.attempt, again.job.interruptions, again.job.disturbances) == (1, 1, 0)


async def test_a_deferral_is_counted_as_one(bench: Bench) -> None:
    await bench.add("b", "f", ["x"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, Event.RETRY, LATER)])
    (again,) = await bench.queue.take({"f": 1}, 1)
    assert (again.job.attempt, again.job.deferrals) == (2, 1)


async def test_a_job_given_back_is_there_at_once_before_the_others_and_has_used_no_attempt(
    bench: Bench,
) -> None:
    await bench.add("b", "f", ["x", "y"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, Event.GIVE_BACK, BACK)])
    first, second = await bench.queue.take({"f": 2}, 2)
    assert (first.job.job_id, first.job.attempt) == ("b.1", 1)
    assert second.job.job_id == "b.2"


async def test_arrival_returns_when_a_batch_is_created(bench: Bench) -> None:
    assert await bench.queue.take({"f": 1}, 1) == []
    arrival = asyncio.ensure_future(bench.queue.arrival())
    await settle_loop()
    assert not arrival.done()
    await bench.add("b", "f", ["x"])
    await asyncio.wait_for(arrival, 5)
    assert ids(await bench.queue.take({"f": 1}, 1)) == ["b.1"]


async def test_arrival_does_not_miss_what_came_just_before_it_was_asked(bench: Bench) -> None:
    assert await bench.queue.take({"f": 1}, 1) == []
    await bench.add("b", "f", ["x"])
    await asyncio.wait_for(bench.queue.arrival(), 5)
    assert ids(await bench.queue.take({"f": 1}, 1)) == ["b.1"]


async def test_arrival_returns_when_a_job_falls_due(bench: Bench) -> None:
    await bench.add("b", "f", ["x"])
    (taken,) = await bench.queue.take({"f": 1}, 1)
    await bench.queue.settle([Settlement(taken, Event.RETRY, FAULT, delay=30.0)])
    assert await bench.queue.take({"f": 1}, 1) == []
    arrival = asyncio.ensure_future(bench.queue.arrival())
    await bench.clock.advance(29.0)
    assert not arrival.done()
    await bench.clock.advance(1.5)
    await asyncio.wait_for(arrival, 5)


async def test_arrival_can_be_cancelled(bench: Bench) -> None:
    arrival = asyncio.ensure_future(bench.queue.arrival())
    await settle_loop()
    arrival.cancel()
    with pytest.raises(asyncio.CancelledError):
        await arrival
    await bench.add("b", "f", ["x"])
    assert ids(await bench.queue.take({"f": 1}, 1)) == ["b.1"]


@pytest.mark.parametrize("turns", range(6))
async def test_a_take_that_is_cancelled_at_any_moment_loses_no_job(bench: Bench, turns: int) -> None:
    await bench.add("b", "f", ["x"])
    take = asyncio.ensure_future(bench.queue.take({"f": 1}, 1))
    await settle_loop(turns)
    if take.cancel():
        await asyncio.wait([take])
        assert take.cancelled()
        found: list[Taken] = []
        while not found:
            found = await bench.queue.take({"f": 1}, 1)
        assert [(one.job.job_id, one.job.attempt) for one in found] == [("b.1", 1)]
    else:
        assert ids(take.result()) == ["b.1"]


async def test_the_depth_counts_what_waits_and_what_runs(bench: Bench) -> None:
    await bench.add("b", "f", ["x", "y", "z"])
    await bench.queue.take({"f": 1}, 1)
    depth = await bench.queue.depth()
    assert (depth.pending, depth.running) == (2, 1)

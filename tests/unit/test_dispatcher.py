"""The dispatcher between a queue in memory, a gate moved by hand and a runner that ends jobs when told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pytest

from buttermilkd.bell import Bell
from buttermilkd.dispatcher import LAST_PATIENCE, Dispatcher
from buttermilkd.dispatcher.dispatcher import GATHERING, MANY
from buttermilkd.errors import StorageError
from buttermilkd.jobs import Ending, Job, Outcome, Settlement, Status, Taken
from buttermilkd.retries import RetryLimits
from buttermilkd.testing import HandMovedClock, MemoryQueue, settle_loop

LIMITS = RetryLimits(max_retries=1, max_deferrals=2, max_interruptions=5, backoff=10.0, max_backoff=60.0)
DONE = Outcome(Ending.COMPLETED)


class HandGate:
    """Opened and closed by hand."""

    def __init__(self) -> None:
        self.changed = Bell()
        self.is_open = False
        self.allowed: int | None = None

    def allowance(self) -> int | None:
        return self.allowed

    def set(self, *, is_open: bool, allowed: int | None = None) -> None:
        self.is_open, self.allowed = is_open, allowed
        self.changed.ring()


class HandRunner:
    """Runs nothing: jobs end when the test says so."""

    def __init__(self, concurrency: int) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self.concurrency = concurrency
        self.jobs: dict[str, tuple[Job, Callable[[Job, Outcome], None]]] = {}
        self.begun: list[str] = []
        self.recalls = 0
        self.trouble: str | None = None

    def room(self) -> int:
        return self.concurrency - len(self.jobs)

    def rooms(self) -> dict[str, int]:
        return {"f": self.room()} if self.room() else {}

    def start(self, job: Job, ended: Callable[[Job, Outcome], None]) -> None:
        self.jobs[job.job_id] = (job, ended)
        self.begun.append(job.job_id)

    def recall(self) -> None:
        self.recalls += 1

    def end(self, job_id: str, outcome: Outcome = DONE) -> None:
        job, ended = self.jobs.pop(job_id)
        ended(job, outcome)
        self.on_room()

    async def stop(self, job_ids: Iterable[str], ending: Ending, *, now: bool = False) -> None:
        await asyncio.sleep(0)
        for job_id in list(job_ids):
            if job_id in self.jobs:
                self.end(job_id, Outcome(ending, killed=now))


class BrokenQueue(MemoryQueue):
    """Cannot record while its disk is full, and takes its time while it is slow."""

    full = broken = lingers = False
    recalls = 0

    def __init__(self, clock: HandMovedClock) -> None:
        super().__init__(clock)
        self.disk = asyncio.Event()
        self.disk.set()
        self.out = asyncio.Event()
        """Cleared while it takes its time to tell what it has taken."""
        self.out.set()
        self.settled: list[int] = []
        """How many were recorded each time."""

    def recall(self) -> None:
        self.recalls += 1

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self.disk.wait()
        if self.full:
            raise StorageError("cannot use the ledger: database or disk is full")
        await super().settle(settlements)
        self.settled.append(len(settlements))
        if self.lingers:
            self.disk.clear()
            await self.disk.wait()

    async def take(self, rooms: Mapping[str, int], limit: int) -> list[Taken]:
        if self.broken:
            raise StorageError("cannot use the ledger: disk I/O error")
        taken = await super().take(rooms, limit)
        await self.out.wait()
        return taken


@dataclass
class Scene:
    clock: HandMovedClock
    queue: BrokenQueue
    gate: HandGate
    runner: HandRunner
    dispatcher: Dispatcher

    def status(self, job: str) -> Status:
        return self.queue.entries[job].status


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock, gate, runner = HandMovedClock(), HandGate(), HandRunner(2)
    queue = BrokenQueue(clock)
    dispatcher = Dispatcher(queue=queue, runner=runner, gate=gate, limits=lambda _: LIMITS, clock=clock)
    running = asyncio.ensure_future(dispatcher.run())
    await settle_loop()
    yield Scene(clock, queue, gate, runner, dispatcher)
    assert not running.done(), "the dispatcher must outlive whatever a test does"
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_nothing_is_asked_of_the_queue_while_the_gate_is_closed(scene: Scene) -> None:
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    assert scene.status("b.1") is Status.PENDING
    scene.gate.set(is_open=True)
    await settle_loop()
    assert scene.runner.begun == ["b.1"]


async def test_no_more_is_taken_than_there_is_room_for_and_the_next_as_soon_as_one_has_ended(
    scene: Scene,
) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y", "z"])
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2"]
    assert scene.status("b.3") is Status.PENDING
    scene.runner.end("b.1")
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2", "b.3"]
    assert scene.status("b.1") is Status.COMPLETED


async def test_while_many_jobs_go_on_ends_are_gathered_and_recorded_together(scene: Scene) -> None:
    scene.runner.concurrency = MANY + 5
    scene.queue.add("b", "f", [str(n) for n in range(MANY + 5)])
    scene.gate.set(is_open=True)
    await settle_loop()
    for number in range(1, 6):
        scene.runner.end(f"b.{number}")
        await settle_loop()
    assert (scene.status("b.1"), scene.queue.settled) == (Status.RUNNING, [])
    await scene.clock.advance(GATHERING)
    assert scene.queue.settled == [5]
    scene.runner.end("b.6")
    await settle_loop()
    assert scene.queue.settled == [5, 1], "the last few wait for no others"


async def test_the_gates_allowance_bounds_what_runs(scene: Scene) -> None:
    scene.queue.add("b", "f", ["x", "y", "z"])
    scene.gate.set(is_open=True, allowed=1)
    await settle_loop()
    assert scene.runner.begun == ["b.1"]
    scene.gate.set(is_open=True, allowed=2)
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2"]


async def test_closing_the_gate_recalls_what_has_not_begun(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    await settle_loop()
    recalls = scene.runner.recalls
    scene.gate.set(is_open=False)
    await settle_loop()
    assert scene.runner.recalls == recalls + 1


async def test_a_runner_that_can_begin_nothing_gives_up_what_is_held_for_it_and_takes_nothing(
    scene: Scene,
) -> None:
    scene.gate.set(is_open=True)
    await settle_loop()
    recalls = scene.queue.recalls
    scene.runner.trouble = "the launcher of jobs does not answer"
    scene.runner.on_room()
    await settle_loop()
    assert scene.queue.recalls > recalls
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    assert scene.runner.begun == []
    scene.runner.trouble = None
    scene.runner.on_room()
    await settle_loop()
    assert scene.runner.begun == ["b.1"]


async def test_a_failed_job_is_retried_after_its_delay_and_fails_when_its_attempts_are_used_up(
    scene: Scene,
) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    scene.runner.end("b.1", Outcome(Ending.FAILED, cause="exit status 1"))
    await settle_loop()
    assert scene.status("b.1") is Status.PENDING
    await scene.clock.advance(10.0)
    assert scene.runner.begun == ["b.1", "b.1"]
    scene.runner.end("b.1", Outcome(Ending.FAILED, cause="exit status 1"))
    await settle_loop()
    assert scene.status("b.1") is Status.FAILED


async def test_an_end_that_cannot_be_recorded_is_kept_and_recorded_later(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    scene.queue.full = True
    scene.runner.end("b.1")
    await settle_loop()
    assert scene.dispatcher.trouble is not None
    assert "disk is full" in scene.dispatcher.trouble
    scene.queue.full = False
    await scene.clock.advance(1.0)
    assert scene.status("b.1") is Status.COMPLETED
    assert scene.dispatcher.trouble is None


async def test_nothing_is_taken_while_ends_cannot_be_recorded(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y", "z"])
    await settle_loop()
    scene.queue.full = True
    scene.runner.end("b.1")
    await settle_loop()
    scene.runner.end("b.2")
    await settle_loop()
    assert len(scene.runner.begun) <= 3
    scene.queue.full = False
    await scene.clock.advance(1.0)
    assert scene.status("b.2") is Status.COMPLETED
    assert scene.runner.begun == ["b.1", "b.2", "b.3"]


async def test_what_was_taken_while_an_end_could_not_be_recorded_is_given_back(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y", "z"])
    await settle_loop()
    scene.queue.disk.clear()
    scene.queue.out.clear()
    scene.runner.end("b.1")
    await settle_loop()
    assert scene.status("b.3") is Status.RUNNING, "it is taken"
    scene.queue.full = True
    scene.queue.disk.set()
    await settle_loop()
    scene.queue.out.set()
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2"]
    scene.queue.full = False
    await scene.clock.advance(3)
    assert scene.status("b.1") is Status.COMPLETED
    assert scene.runner.begun == ["b.1", "b.2", "b.3"]


async def test_no_job_takes_the_place_of_one_whose_end_has_not_been_handed_to_the_queue(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y", "z", "u"])
    await settle_loop()
    scene.queue.disk.clear()
    scene.runner.end("b.1")
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2", "b.3"]
    scene.runner.end("b.2")
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2", "b.3"]
    scene.queue.disk.set()
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.2", "b.3", "b.4"]


async def test_stopping_jobs_answers_with_their_durable_outcomes(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y"])
    await settle_loop()
    assert scene.dispatcher.running_ids == {"b": ["b.1", "b.2"]}
    (outcome,) = await scene.dispatcher.stop(["b.1", "never-heard-of.1"], now=True)
    assert (outcome.ending, outcome.killed) == (Ending.CANCELLED, True)
    assert (scene.status("b.1"), scene.status("b.2")) == (Status.CANCELLED, Status.RUNNING)


async def test_a_job_of_a_refused_batch_neither_begins_nor_is_retried(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y"])
    await settle_loop()
    scene.dispatcher.refuse("b")
    scene.runner.end("b.1", Outcome(Ending.FAILED, cause="exit status 1"))
    await settle_loop()
    assert scene.status("b.1") is Status.CANCELLED
    scene.queue.add("b2", "f", ["x"])
    scene.dispatcher.refuse("b2.1")
    scene.runner.end("b.2")
    await settle_loop()
    assert scene.status("b2.1") is Status.CANCELLED
    assert "b2.1" not in scene.runner.begun


async def test_draining_waits_for_what_runs_and_begins_nothing_more(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x", "y", "z"])
    await settle_loop()
    draining = asyncio.ensure_future(scene.dispatcher.drain(60.0))
    await settle_loop()
    scene.runner.end("b.1")
    await scene.clock.advance(30.0)
    assert not draining.done()
    scene.runner.end("b.2")
    await asyncio.wait_for(draining, 5)
    assert [scene.status(f"b.{n}") for n in (1, 2, 3)] == [Status.COMPLETED, Status.COMPLETED, Status.PENDING]


async def test_draining_gives_back_what_has_not_ended_in_time(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    draining = asyncio.ensure_future(scene.dispatcher.drain(60.0))
    await scene.clock.advance(60.0)
    await asyncio.wait_for(draining, 5)
    assert scene.status("b.1") is Status.PENDING
    assert scene.runner.begun == ["b.1"]


async def test_draining_ends_also_where_nothing_can_be_recorded(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    scene.queue.full = True
    draining = asyncio.ensure_future(scene.dispatcher.drain(60.0))
    await scene.clock.advance(60.0)
    assert not draining.done()
    await scene.clock.advance(LAST_PATIENCE)
    await asyncio.wait_for(draining, 5)
    assert "stopping with 1 job as they stand" in caplog.text
    assert scene.status("b.1") is Status.RUNNING


async def test_a_take_that_failed_is_tried_again_soon_and_then_more_and_more_seldom(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.queue.add("b", "f", ["x"])
    scene.queue.broken = True
    scene.gate.set(is_open=True)
    await scene.clock.advance(60.0)
    pauses = [record.args[1] for record in caplog.records if isinstance(record.args, tuple)][-6:]
    assert pauses == [1, 2, 4, 8, 16, 30]
    assert scene.runner.begun == []
    scene.queue.broken = False
    await scene.clock.advance(30.0)
    assert scene.runner.begun == ["b.1"]
    scene.queue.add("c", "f", ["x"])
    scene.queue.broken = True
    scene.runner.end("b.1")
    await settle_loop()
    scene.queue.broken = False
    await scene.clock.advance(1.0)
    assert scene.runner.begun == ["b.1", "c.1"]


async def test_a_job_given_back_and_taken_anew_at_once_is_running(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    scene.queue.lingers = True
    scene.runner.end("b.1", Outcome(Ending.GIVEN_BACK))
    await settle_loop()
    assert scene.runner.begun == ["b.1", "b.1"]
    scene.queue.lingers = False
    scene.queue.disk.set()
    await settle_loop()
    assert scene.dispatcher.running_ids == {"b": ["b.1"]}
    scene.runner.end("b.1")
    await settle_loop()
    assert scene.status("b.1") is Status.COMPLETED


async def test_two_who_stop_the_same_job_both_hear_how_it_ended(scene: Scene) -> None:
    scene.gate.set(is_open=True)
    scene.queue.add("b", "f", ["x"])
    await settle_loop()
    both = await asyncio.gather(scene.dispatcher.stop(["b.1"]), scene.dispatcher.stop(["b.1"]))
    assert [[outcome.ending for outcome in outcomes] for outcomes in both] == [[Ending.CANCELLED]] * 2

"""Whatever crosses on its way between hosts, each job is counted once, and in the same state on all of them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import pytest

from buttermilkd.batches import Batches
from buttermilkd.bell import Bell
from buttermilkd.dispatcher import Dispatcher
from buttermilkd.jobs import BatchSpec, Ending, Event, Job, Outcome, Settlement, Status
from buttermilkd.messages import BatchCreated, BatchEvent, JobRequest, JobUpdate
from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.retries import RetryLimits
from tests.integration.fleet import BACK, DONE, FAULT, Fleet, cancel, end, follow, nobody, take, until
from tests.memory_broker import MemoryBroker
from tests.pubsub_host import Host

LIMITS = RetryLimits(max_retries=1, max_deferrals=1, max_interruptions=5, backoff=1.0, max_backoff=1.0)


async def test_jobs_whose_ids_clash_are_dead_letters_where_that_is_seen_and_change_nothing_else(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await asyncio.gather(one.add("b", "f", ["x"]), two.add("b", "f", ["y", "z"]))
    await one.add("c", "f", ["o"])
    await fleet.told()
    before = await fleet.batch(two), await fleet.jobs(two)
    ran = await take(one, 9)
    assert sorted((taken.job.job_id, taken.job.record_id) for taken in ran) == [("b.1", "x"), ("c.1", "o")]
    for taken in ran:
        await end(one, taken)
    await fleet.told()
    assert sorted(letter[: len("b.1 is another job")] for letter in await fleet.letters(one)) == [
        "b.1 is another job",
        "b.2 is another job",
    ]
    assert await fleet.letters(two) == []
    assert (await fleet.batch(one))["completed"] == (await fleet.batch(one))["total"] == 1
    assert (await fleet.batch(two), await fleet.jobs(two)) == before
    assert (await fleet.batch(two, "c"))["completed"] == 1
    assert not fleet.waiting


async def test_a_number_beyond_its_batch_touches_no_other_batch(fleet: Fleet) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await one.add("c", "f", ["y"])
    await fleet.told()
    await one.shared.merge([told(2, "q", Status.COMPLETED, sequence=5)])
    assert [job["status"] for job in await fleet.jobs(one, "c")] == ["pending"]
    assert (await fleet.batch(one, "b"))["pending"] == 1


async def test_a_batch_that_is_cancelled_retried_and_cancelled_again_is_counted_once_on_every_host(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    for host in fleet.hosts:
        follow(host)
    await one.add("b", "f", ["x", "y", "z"])
    await fleet.told()
    await cancel(one)
    await fleet.becomes(two, Status.CANCELLED)
    await one.ledger.requeue_batch("b", [Status.CANCELLED])
    await fleet.becomes(two, Status.PENDING)
    await cancel(one)
    await fleet.becomes(two, Status.CANCELLED)
    assert [job["status"] for job in await fleet.jobs(two)] == ["cancelled"] * 3
    assert await take(two, 9) == []
    view = await fleet.batch(two)
    assert (view["pending"], view["running"], view["cancelled"], view["total"]) == (0, 0, 3, 3)


async def test_a_job_that_was_retried_and_given_back_can_be_cancelled_again(fleet: Fleet) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await fleet.told()
    await cancel(one)
    await one.ledger.requeue_batch("b", [Status.CANCELLED])
    (taken,) = await take(one)
    await end(one, taken, BACK, Event.GIVE_BACK)
    await fleet.told()
    await cancel(one)
    assert (await fleet.batch(one))["status"] == "cancelled"


async def test_a_retry_that_crosses_a_cancel_is_cancelled_on_every_host(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    for host in fleet.hosts:
        follow(host)
    await one.add("b", "f", ["x"])
    (taken,) = await take(two)
    await fleet.told()
    key, _ = await one.ledger.begin_cancel("b")
    fleet.clock.jump(0.05)
    await two.queue.settle([Settlement(taken, Event.RETRY, FAULT, delay=1.0)])
    await one.ledger.finish_cancel(key)
    for host in fleet.hosts:
        await fleet.becomes(host, Status.CANCELLED)
    await fleet.clock.advance(31)
    assert await take(two) + await take(one) == []
    await fleet.clock.advance(700)
    assert await take(one) == []
    assert [(await fleet.batch(host))["status"] for host in fleet.hosts] == ["cancelled"] * 2


async def test_jobs_unheard_of_that_were_cancelled_and_retried_are_counted_once(fleet: Fleet) -> None:
    two = await fleet.join("two")
    spec = BatchSpec("b", "f", "0" * 12, ({},), 3, 1000, queue="pubsub")
    created = BatchCreated(spec=spec, created_at=1.0, batch_id="b", host="one", at=1.0, sequence=0)
    await two.shared.merge([created, happened("cancelled", sequence=10)])
    key = (await two.ledger.query(lambda db: db.execute("SELECT key FROM batches").fetchone()))["key"]
    await two.ledger.finish_cancel(key)
    await two.shared.merge([happened("reopened", sequence=20)])
    await two.shared.merge(
        [told(n, f"r{n}", Status.PENDING, sequence=20 + n, generation=1) for n in (1, 2, 3)]
    )
    view = await fleet.batch(two)
    assert (view["pending"], view["cancelled"]) == (3, 0)


def happened(event: str, *, sequence: int) -> BatchEvent:
    """What another host tells of the batch."""
    return BatchEvent(event=event, batch_id="b", host="one", at=1.0, sequence=sequence)


def told(number: int, record: str, status: Status, *, sequence: int, generation: int = 0) -> JobUpdate:
    """What another host tells of a job of the batch."""
    return JobUpdate(
        job_id=f"b.{number}",
        batch_id="b",
        record_id=record,
        status=status,
        flow="f",
        host="one" if generation else "other",
        at=1.0,
        generation=generation,
        sequence=sequence,
    )


async def test_a_retry_in_a_batch_of_several_flows_keeps_its_own(fleet: Fleet) -> None:
    one = await fleet.join("one", "f", "g")
    for flow in ("f", "g"):
        await fleet.says({"type": "job_request", "flow": flow, "record_id": f"r-{flow}", "batch_id": "b"})
    (_,) = await take(one, 1, "f")
    (taken,) = await take(one, 1, "g")
    await one.queue.settle([Settlement(taken, Event.RETRY, FAULT)])
    await fleet.told()
    assert ("r-g", "g") in [(job["record_id"], job["flow"]) for job in fleet.waiting]


async def test_a_job_that_is_retried_while_its_run_is_being_stopped_begins_after_that_and_ends_once(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    runner = SlowRunner()
    dispatcher = dispatcher_of(two, runner)
    running = asyncio.create_task(dispatcher.run())
    await one.add("b", "f", ["x"])
    await until(lambda: len(runner.started) == 1)
    await fleet.told()
    assert await one.ledger.cancel_job("b.1")
    await fleet.told()
    await runner.stopping.wait()
    await one.ledger.requeue_job("b.1", [Status.CANCELLED])
    for _ in range(10):
        await fleet.told()
    assert len(runner.started) == 1
    runner.grace_is_over.set()
    await until(lambda: len(runner.started) == 2, fleet.clock)
    job, ended = runner.started[1]
    ended(job, DONE)
    await fleet.becomes(one, Status.COMPLETED)
    running.cancel()
    assert [job["status"] for job in await fleet.jobs(one)] == ["completed"]


class OpenGate:
    """A gate that is always open."""

    is_open = True

    def __init__(self) -> None:
        self.changed = Bell()

    def allowance(self) -> None:
        """As many as there is room for."""


class SlowRunner:
    """A runner whose jobs take as long to stop as the test likes, and end only so or by the test."""

    trouble = None

    def __init__(self) -> None:
        self.on_room: Callable[[], None] = lambda: None
        self.started: list[tuple[Job, Callable[[Job, Outcome], None]]] = []
        self.stopping = asyncio.Event()
        self.grace_is_over = asyncio.Event()

    def room(self) -> int:
        return 4

    def rooms(self) -> Mapping[str, int]:
        return {"f": 4}

    def start(self, job: Job, ended: Callable[[Job, Outcome], None]) -> None:
        self.started.append((job, ended))

    def recall(self) -> None:
        """It holds nothing back."""

    async def stop(self, job_ids: Iterable[str], ending: Ending, *, now: bool = False) -> None:
        del now
        wanted = set(job_ids)
        stopped = [(job, ended) for job, ended in self.started if job.job_id in wanted]
        if stopped:
            self.stopping.set()
            await self.grace_is_over.wait()
        for job, ended in stopped:
            ended(job, Outcome(ending))


def dispatcher_of(host: Host, runner: SlowRunner) -> Dispatcher:
    """One that runs this host's jobs, and follows what is done on others."""
    dispatcher = Dispatcher(
        queue=host.queue, runner=runner, gate=OpenGate(), limits=lambda _: LIMITS, clock=host.clock
    )
    batches = Batches(flows={}, check=nobody, ledger=host.ledger, dispatcher=dispatcher, queue="pubsub")
    host.queue.attend(batches.follow)
    return dispatcher


async def test_a_retry_that_crosses_a_failure_which_stops_its_batch_is_cancelled_on_every_host(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    spec = BatchSpec("b", "f", "0" * 12, ({},), 2, 1000, error_policy="stop", queue="pubsub")
    await one.ledger.create(spec, iter(["x", "y"]), None)
    await fleet.told()
    (failing,), (retried,) = await take(one), await take(two)
    await fleet.told()
    # As if the first host had not heard yet that the other job runs.
    unheard = "UPDATE jobs SET status = 'pending', sequence = 0, host = NULL WHERE host = 'two'"
    await one.ledger.write(lambda db: db.execute(unheard))
    await one.ledger.write(
        lambda db: db.execute("UPDATE batches SET running = running - 1, pending = pending + 1")
    )
    await end(one, failing, FAULT, Event.FAIL)
    await one.ledger.finish_stops()
    await two.queue.settle([Settlement(retried, Event.RETRY, FAULT, delay=1.0)])
    for host in fleet.hosts:
        await fleet.told()
        await host.ledger.finish_stops()
    for host in fleet.hosts:
        await fleet.becomes(host, Status.FAILED)
        assert [job["status"] for job in await fleet.jobs(host)] == ["failed", "cancelled"]
    await fleet.clock.advance(31)
    assert await take(one, 9) == await take(two, 9) == []


async def test_a_cancel_that_is_heard_of_before_its_batch_counts_all_of_its_jobs(fleet: Fleet) -> None:
    one = await fleet.join("one")
    follow(one)
    spec = BatchSpec("b", "f", "0" * 12, ({},), 3, 1000, queue="pubsub")
    cancelled = BatchEvent(event="cancelled", batch_id="b", host="two", at=1.0, sequence=5)
    created = BatchCreated(spec=spec, created_at=1.0, batch_id="b", host="two", at=1.0, sequence=0)
    for event in (cancelled, created):
        await MemoryBroker(fleet.cloud).publish("status", [Outgoing(event.encode(), event.attributes())])
        await fleet.told()
    await fleet.becomes(one, Status.CANCELLED)
    view = await fleet.batch(one)
    assert (view["total"], view["pending"], view["cancelled"]) == (3, 0, 3)


async def test_a_message_that_clashes_does_not_hold_up_who_takes_jobs(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x", "y"])
    beyond = JobRequest(
        job_id="b.9", batch_id="b", number=9, flow="f", record_id="q", parameters={}, created_at=1.0
    )
    await MemoryBroker(fleet.cloud).publish("jobs", [Outgoing(beyond.encode(), beyond.attributes())])
    monkeypatch.setattr(one.shared, "bury", lambda _: asyncio.Event().wait())  # as on a disk that hangs
    async with asyncio.timeout(5):
        taken = await take(one, 3)
    assert sorted(job.job.job_id for job in taken) == ["b.1", "b.2"]

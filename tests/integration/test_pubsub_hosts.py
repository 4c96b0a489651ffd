"""Several hosts share one queue: each job ends once, and all of them know it. Pub/Sub is in memory, time moves by hand."""

import json
from collections.abc import Collection
from pathlib import Path

import pytest

from buttermilkd.batches import Batches, Caller
from buttermilkd.clock import iso
from buttermilkd.config.settings import FlowSettings
from buttermilkd.errors import InvalidRequestError
from buttermilkd.jobs import Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.ledger import queries
from buttermilkd.ledger.dead import DeadPage
from buttermilkd.ledger.queries import BatchFilter
from buttermilkd.messages import CreateBatch
from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.integration.fleet import BACK, DONE, FAULT, Fleet, Idle, end, nobody, take
from tests.memory_broker import MemoryBroker
from tests.pubsub_host import Host


async def test_every_host_knows_a_batch_and_its_jobs_before_any_has_begun(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y"], variants=({"m": 1}, {"m": 2}), priority=3)
    await fleet.told()
    assert [(job["job_id"], job["record_id"], job["parameters"]) for job in await fleet.jobs(two)] == [
        ("b.1", "x", {"m": 1}),
        ("b.2", "x", {"m": 2}),
        ("b.3", "y", {"m": 1}),
        ("b.4", "y", {"m": 2}),
    ]
    mine, theirs = await fleet.batch(one), await fleet.batch(two)
    assert mine == theirs
    assert (theirs["total"], theirs["pending"], theirs["priority"]) == (4, 4, 3)


async def test_jobs_are_shared_and_each_host_shows_the_ends_and_results_of_all(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y"])
    (first,) = await take(one)
    (second,) = await take(two)
    assert {first.job.job_id, second.job.job_id} == {"b.1", "b.2"}
    await fleet.told()
    assert (await fleet.batch(one))["running"] == (await fleet.batch(two))["running"] == 2
    await end(one, first)
    await end(two, second, FAULT, Event.FAIL)
    await fleet.told()
    for host in fleet.hosts:
        view = await fleet.batch(host)
        assert (view["completed"], view["failed"], view["status"]) == (1, 1, "failed")
        by_id = {job["job_id"]: job for job in await fleet.jobs(host)}
        assert by_id[first.job.job_id]["result"] == {"words": 3}
        assert by_id[first.job.job_id]["host"] == "one"
        assert by_id[second.job.job_id]["error"] == "exit status 1"
        assert by_id[second.job.job_id]["host"] == "two"


async def test_what_a_host_gives_back_another_one_has_at_once_and_it_is_the_same_attempt(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    (taken,) = await take(one)
    await end(one, taken, BACK, Event.GIVE_BACK)
    await fleet.told()
    (again,) = await take(two)
    assert (again.job.job_id, again.job.attempt) == ("b.1", 1)


async def test_what_was_pulled_and_not_begun_goes_back_when_nothing_may_begin_any_more(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", [f"r{n}" for n in range(500)])
    await fleet.told()
    assert await one.queue.take({"f": 500}, 500) == []  # it wants them, but nothing is there yet
    await one.quiet()
    assert not fleet.cloud.available("jobs-sub")
    one.queue.recall()
    await settle_loop()
    assert len(await take(two, 500)) == 500


async def test_a_retry_may_run_on_another_host_and_is_the_next_attempt(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    (taken,) = await take(one)
    await host_settles_retry(one, taken)
    await fleet.told()
    assert await take(two) == []
    await fleet.clock.advance(31)
    (again,) = await take(two)
    assert again.job.attempt == 2
    await end(two, again)
    await fleet.told()
    assert [job["status"] for job in await fleet.jobs(one)] == ["completed"]
    assert [job["attempt"] for job in await fleet.jobs(one)] == [2]


async def host_settles_retry(host: Host, taken: Taken) -> None:
    await host.queue.settle([Settlement(taken, Event.RETRY, FAULT, delay=30.0)])


async def test_a_cancel_reaches_jobs_that_wait_and_those_that_run_elsewhere(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y", "z"])
    (running,) = await take(two)
    await fleet.told()
    dispatcher = Running(two, running)
    batches = Batches(flows={}, check=nobody, ledger=two.ledger, dispatcher=dispatcher, queue="pubsub")
    two.queue.attend(batches.follow)
    key, _ = await one.ledger.begin_cancel("b")
    await one.ledger.finish_cancel(key)
    while any([(await fleet.batch(host))["cancelled"] < 3 for host in fleet.hosts]):
        await fleet.told()
    assert dispatcher.stopped == [running.job.job_id]
    for host in fleet.hosts:
        view = await fleet.batch(host)
        assert (view["status"], view["cancelled"]) == ("cancelled", 3)
    assert await take(one, 9) == []
    assert not fleet.cloud.subscriptions["jobs-sub"]


FLOW = FlowSettings(name="f", command=["true"], directory=Path("/"))


class Running:
    """A dispatcher on which one job runs."""

    def __init__(self, host: Host, taken: Taken) -> None:
        self._host = host
        self._taken = taken
        self.stopped: list[str] = []

    @property
    def running_ids(self) -> dict[str, list[str]]:
        return {self._taken.job.batch_id: [self._taken.job.job_id]}

    def refuse(self, subject: str) -> None:
        """Nothing is taken meanwhile."""

    def accept(self, subject: str) -> None:
        """Nothing is taken meanwhile."""

    async def stop(self, job_ids: Collection[str], *, now: bool = False) -> list[Outcome]:
        del now
        wanted = [job_id for job_id in [self._taken.job.job_id] if job_id in job_ids]
        outcome = Outcome(Ending.CANCELLED)
        for job_id in wanted:
            self.stopped.append(job_id)
            await self._host.queue.settle([Settlement(self._taken, Event.CANCEL, outcome)])
        return [outcome] * len(wanted)


async def test_who_cancels_a_batch_is_told_how_many_of_its_jobs_run_on_other_hosts(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y", "z"])
    await take(two, 2)
    await fleet.told()
    batches = Batches(flows={}, check=nobody, ledger=one.ledger, dispatcher=Idle(), queue="pubsub")
    receipt = await batches.cancel("b", now=False)
    assert (receipt["dropped"], receipt["stopped"]) == (1, 0)
    assert receipt["summary"].endswith(", 2 on other hosts are told to stop")


async def test_a_job_that_runs_elsewhere_is_cancelled_alone(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    (running,) = await take(two)
    await fleet.told()
    dispatcher = Running(two, running)
    batches = Batches(flows={}, check=nobody, ledger=two.ledger, dispatcher=dispatcher, queue="pubsub")
    two.queue.attend(batches.follow)
    assert await one.ledger.cancel_job("b.1")
    while not dispatcher.stopped:
        await fleet.told()
    assert dispatcher.stopped == ["b.1"]
    assert (await fleet.batch(two))["status"] == "cancelled"


async def test_a_requeued_job_runs_again_wherever_it_was_requeued(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    (taken,) = await take(one)
    await end(one, taken, FAULT, Event.FAIL)
    await fleet.told()
    assert await two.ledger.requeue_batch("b", [Status.FAILED]) == 1
    await fleet.told()
    assert (await fleet.batch(one))["status"] in ("pending", "running")
    (again,) = await take(one)
    assert again.job.attempt == 1
    await end(one, again)
    await fleet.told()
    for host in fleet.hosts:
        assert (await fleet.batch(host))["status"] == "completed"


async def test_a_letter_that_was_dropped_is_one_again_when_the_job_was_requeued_and_has_failed_anew(
    fleet: Fleet,
) -> None:
    one, two, three = await fleet.join("one"), await fleet.join("two"), await fleet.join("three")
    await one.add("b", "f", ["x"])
    (taken,) = await take(one)
    await end(one, taken, FAULT, Event.FAIL)
    await fleet.told()
    assert await two.ledger.drop(["b.1"]) == await three.ledger.drop(["b.1"]) == ["b.1"]
    await one.shared.tell_again()
    await fleet.told()
    assert await fleet.letters(two) == []  # what is told again is nothing new
    await one.ledger.requeue_job("b.1", [Status.FAILED])
    (taken,) = await take(two)
    await end(two, taken, FAULT, Event.FAIL)
    await fleet.told()
    for host in fleet.hosts:
        assert await fleet.letters(host) == ["exit status 1"]


async def test_a_job_of_buttermilks_own_that_failed_is_a_letter_of_its_flow_and_can_be_dropped(
    fleet: Fleet,
) -> None:
    one = await fleet.join("one", "f", "g")
    for flow in ("f", "g"):
        await fleet.says({"type": "job_request", "flow": flow, "record_id": "r", "batch_id": "b"})
        (taken,) = await take(one, 1, flow)
        await end(one, taken, FAULT, Event.FAIL)
    (letter,) = (await one.ledger.dead(DeadPage(limit=10, flow="g")))["dead"]
    assert letter["flow"] == "g"
    assert await one.ledger.drop([letter["id"]]) == [letter["id"]]
    assert await fleet.letters(one) == ["exit status 1"]


async def test_a_message_that_is_delivered_twice_runs_once(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    await fleet.told()
    (held,) = fleet.cloud.subscriptions["jobs-sub"].values()
    await MemoryBroker(fleet.cloud).publish("jobs", [held.content])
    (taken,) = await take(one, 9)
    await fleet.told()
    assert await take(two, 9) == []
    await end(one, taken)
    await fleet.told()
    await fleet.clock.advance(10)
    assert await take(two, 9) == []
    assert not fleet.cloud.subscriptions["jobs-sub"]


async def test_a_host_that_lost_its_lease_and_one_that_ran_the_job_meanwhile_agree_on_one_end(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    (slow,) = await take(one)
    await fleet.told()
    (held,) = fleet.cloud.subscriptions["jobs-sub"].values()
    await fleet.clock.advance(200)  # as if nothing had been heard of the first host for three minutes …
    await fleet.told()
    found: list[Taken] = []
    while not found:  # what the first host still says of it may be on its way, and puts it off for a while
        await fleet.clock.advance(5)
        await two.ledger.write(lambda db: db.execute("UPDATE jobs SET heard_at = 0"))
        held.hidden_until = 0.0  # … and its lease had ended
        found = await take(two)
    (fast,) = found
    assert (fast.job.job_id, fast.job.attempt) == ("b.1", 1)
    await end(two, fast, FAULT, Event.FAIL)
    await end(one, slow)
    await fleet.told()
    for host in fleet.hosts:
        view = await fleet.batch(host)
        assert (view["total"], view["completed"] + view["failed"]) == (1, 1)
    assert (await fleet.batch(one))["status"] == (await fleet.batch(two))["status"]


async def test_a_batch_is_published_anew_where_pubsub_comes_back_empty(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y", "z"])
    (running,) = await take(two)
    (done,) = await take(one)
    await end(one, done)
    await fleet.told()
    fleet.cloud.lose_everything()
    found: list[Taken] = []
    while (
        not found
    ):  # until it is noticed, the hosts have told each other what they know, and the rest is published
        await fleet.clock.advance(10)
        await fleet.told()
        found = await take(one, 9)
    (left,) = found
    assert {left.job.job_id, running.job.job_id, done.job.job_id} == {"b.1", "b.2", "b.3"}
    await end(one, left)
    await end(two, running)
    await fleet.told()
    for host in fleet.hosts:
        assert (await fleet.batch(host))["completed"] == 3


async def test_a_message_of_buttermilks_own_runs_and_is_answered_in_its_own_words(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    cloud = fleet.cloud
    cloud.make("status", "theirs")
    batch = "batch-AbC12xYz"
    await fleet.says(
        {
            "type": "job_request",
            "flow": "f",
            "record_id": "r-1",
            "batch_id": batch,
            "parameters": {"m": "large"},
        }
    )
    await fleet.says({"type": "job_request", "flow": "f", "inputs": {"record_id": "r-2"}, "batch_id": batch})
    taken = await take(one, 9)
    assert sorted((one.job.record_id, dict(one.job.parameters)) for one in taken) == [
        ("r-1", {"m": "large"}),
        ("r-2", {}),
    ]
    for job in taken:
        await end(one, job)
    await fleet.told()
    told = [json.loads(held.content.data) for held in cloud.subscriptions["theirs"].values()]
    ends = [one for one in told if one["type"] == "job_status" and one["status"] == "completed"]
    assert {(one["batch_id"], one["record_id"], one["error"]) for one in ends} == {
        (batch, "r-1", None),
        (batch, "r-2", None),
    }
    for host in (one, two):
        assert (await fleet.batch(host, batch))["completed"] == 2


async def test_garbage_is_a_dead_letter_and_nothing_loops(fleet: Fleet) -> None:
    one = await fleet.join("one")
    await MemoryBroker(fleet.cloud).publish("jobs", [Outgoing(b"\xff\x00{", {"who": "knows"})])
    await fleet.says({"type": "job_request", "record_id": "without a flow"})
    await fleet.says({"type": "mystery", "flow": "f", "record_id": "r", "batch_id": "b"})
    await fleet.says({"type": "job_status", "batch_id": "b", "record_id": "r", "status": "running"})
    while fleet.cloud.subscriptions["jobs-sub"]:
        assert await take(one, 9) == []
    assert len(await fleet.letters(one)) == 3


async def test_a_flow_that_no_host_here_knows_goes_back_for_those_that_do_and_dies_after_ten_minutes(
    fleet: Fleet,
) -> None:
    one = await fleet.join("one", "f")
    await fleet.says({"type": "job_request", "flow": "g", "record_id": "r", "batch_id": "b"})
    assert await take(one, 9) == []
    two = await fleet.join("two", "g")
    await fleet.clock.advance(40)
    (taken,) = await take(two, 1, "g")
    await end(two, taken)
    await fleet.says({"type": "job_request", "flow": "h", "record_id": "r", "batch_id": "c"})
    for _ in range(200):
        await fleet.clock.advance(31)
        await take(one, 9)
        if await fleet.letters(one):
            break
    assert ["no host knows flow 'h'" in reason for reason in await fleet.letters(one)] == [True]


async def test_duplicates_and_disorder_of_what_is_told_disturb_nothing(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y"])
    fleet.cloud.make("status", "copy")
    for _ in range(2):
        (taken,) = await take(one)
        await end(one, taken)
    await fleet.told()
    before = await fleet.batch(two), await fleet.jobs(two)
    for held in reversed(list(fleet.cloud.subscriptions["copy"].values())):
        await MemoryBroker(fleet.cloud).publish("status", [held.content])
    await fleet.told()
    assert (await fleet.batch(two), await fleet.jobs(two)) == before
    active = await two.ledger.query(
        lambda db: queries.batches(db, BatchFilter(), 10, None, fleet.clock.now())
    )
    assert active["batches"] == []


async def test_a_host_that_joins_late_learns_of_batches_that_go_on_and_of_those_that_have_ended(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("over", "f", ["x"])
    (taken,) = await take(two)
    await end(two, taken)
    await one.add("b", "f", ["x", "y"])
    (taken,) = await take(one)
    await end(one, taken)
    await fleet.told()
    three = await fleet.join("three")
    while len((await fleet.all_batches(three))["batches"]) < 2 or len(await fleet.jobs(three)) < 2:
        await fleet.told()
    for batch_id in ("over", "b"):
        assert await fleet.batch(three, batch_id) == await fleet.batch(one, batch_id)
    assert len(await fleet.jobs(three)) == 2


async def test_a_host_that_joins_late_knows_when_a_batch_was_made_and_when_its_jobs_began_and_ended(
    fleet: Fleet,
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x", "y"])
    begun = iso(await runs_a_while(fleet, two, one))
    await fleet.clock.advance(1000)
    await fleet.told()
    mine = await fleet.batch(one)
    assert (mine["started_at"], mine["ended_at"]) == (begun, iso(fleet.clock.now() - 1000))
    three = await fleet.join("three")
    await knows_the_end(fleet, three)
    assert await fleet.batch(three) == mine


async def test_a_host_that_joins_late_knows_the_times_of_batches_of_buttermilks_own(fleet: Fleet) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    created = iso(fleet.clock.now() - 500)
    for record in ("x", "y"):
        await fleet.says({"flow": "f", "record_id": record, "batch_id": "b", "created_at": created})
    begun = iso(await runs_a_while(fleet, two, one))
    await fleet.clock.advance(1000)
    three = await fleet.join("three")
    await knows_the_end(fleet, three)
    for host in fleet.hosts:
        view = await fleet.batch(host)
        assert (view["created_at"], view["started_at"]) == (created, begun)
        assert view["ended_at"] == iso(fleet.clock.now() - 1000)


async def knows_the_end(fleet: Fleet, host: Host) -> None:
    """Return once this host knows of both jobs of the batch that they have ended."""
    while not (found := (await fleet.all_batches(host))["batches"]) or found[0]["completed"] < 2:
        await fleet.told()


async def runs_a_while(fleet: Fleet, *hosts: Host) -> float:
    """Have each of these hosts run one job, one after the other; when the first of them began."""
    begun = []
    for host in hosts:
        await fleet.clock.advance(20)
        (taken,) = await take(host)
        begun.append(fleet.clock.now())
        await fleet.clock.advance(20)
        await end(host, taken)
    return begun[0]


async def test_a_batch_that_no_other_host_could_be_told_of_is_refused_at_once(fleet: Fleet) -> None:
    one = await fleet.join("one")
    deep: object = []
    for _ in range(200):
        deep = [deep]
    batches = Batches(flows={"f": FLOW}, check=nobody, ledger=one.ledger, dispatcher=Idle(), queue="pubsub")
    for parameters in ({"m": float("nan")}, {"m": {"n": deep}}, {"m": "x" * 2_000_000}):
        with pytest.raises(InvalidRequestError, match="cannot publish the parameters"):
            await batches.create(CreateBatch(flow="f", parameters=parameters), ["r"], Caller(1000))
    await batches.create(CreateBatch(flow="f", batch_id="b"), ["r"], Caller(1000))
    assert len(await take(one)) == 1


async def test_of_what_is_too_much_for_pubsub_the_end_is_told_and_the_result_is_not(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = await fleet.join("one"), await fleet.join("two")
    fleet.cloud.refused = b"too large"
    await one.add("b", "f", ["x", "y"])
    for outcome in (Outcome(Ending.COMPLETED, result='"too large"'), DONE):
        (taken,) = await take(one)
        await end(one, taken, outcome)
    await fleet.told()
    assert [(job["status"], job["result"]) for job in await fleet.jobs(two)] == [
        ("completed", None),
        ("completed", {"words": 3}),
    ]
    assert "cannot tell other hosts all of b.1" in caplog.text
    assert (await fleet.batch(one))["completed"] == 2


async def test_a_message_whose_retry_could_not_be_published_is_a_dead_letter_and_not_begun(
    fleet: Fleet,
) -> None:
    one = await fleet.join("one")
    # As it is, Pub/Sub takes it; written as ASCII, each of these characters is six bytes.
    texts = ["é" * 1_600_000, "é" * 1_500_000]
    for number, text in enumerate(texts):
        data = json.dumps(
            {"flow": "f", "record_id": f"r-{number}", "batch_id": "b", "text": text}, ensure_ascii=False
        )
        await MemoryBroker(fleet.cloud).publish("jobs", [Outgoing(data.encode(), {})])
    taken: list[Taken] = []
    while not taken:
        taken = await take(one)
    assert [one.job.record_id for one in taken] == ["r-1"]
    (reason,) = await fleet.letters(one)
    assert reason.startswith("the message is too large to be published again for a retry: 9,600,")


async def test_a_host_whose_clock_is_an_hour_slow_disturbs_nothing(fleet: Fleet) -> None:
    one = await fleet.join("one")
    slow_clock = HandMovedClock(fleet.clock.now() - 3600)
    slow = await fleet.join("slow", clock=slow_clock)
    await one.add("b", "f", ["x", "y", "z"])
    for host in (one, slow, one):
        (taken,) = await take(host)
        await fleet.told()
        assert (await fleet.batch(one))["running"] == (await fleet.batch(slow))["running"] == 1
        await end(host, taken)
        await fleet.told()
    for host in fleet.hosts:
        assert (await fleet.batch(host))["status"] == "completed"

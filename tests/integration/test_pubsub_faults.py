"""What goes wrong at Pub/Sub and in the ledger costs no job, and ends no host's part in the queue."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from buttermilkd.errors import StorageError
from buttermilkd.jobs import Ending, Event, Outcome, Settlement, Taken
from buttermilkd.maintenance import back_up, restore
from buttermilkd.queues.pubsub import batching
from buttermilkd.queues.pubsub.api import Message, Outgoing
from buttermilkd.sharing import Post
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.integration.fleet import BACK, FAULT, Fleet, end, take, until
from tests.memory_broker import Cloud, MemoryBroker
from tests.pubsub_host import Host, host_in_memory

LOCKED = "cannot use the ledger: database is locked"


async def test_a_batch_is_published_anew_where_pubsub_was_lost_while_the_daemon_was_down(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    cloud = Cloud(clock)
    async with host_in_memory(tmp_path / "one", clock, cloud, "one", ("f",)) as one:
        await settle_loop()
        await one.add("b", "f", ["x", "y"])
        await one.told()
    cloud.lose_everything()
    async with host_in_memory(tmp_path / "one", clock, cloud, "one", ("f",)) as one:
        await until(lambda: len(cloud.subscriptions.get("jobs-sub", {})) == 2, clock)
        assert sorted(taken.job.job_id for taken in await take(one, 2)) == ["b.1", "b.2"]


async def test_a_batch_is_published_whole_where_pubsub_is_lost_in_the_midst_of_it(fleet: Fleet) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", [f"r{n}" for n in range(2500)])
    await until(lambda: len(fleet.waiting) >= 1000)
    fleet.cloud.lose_everything()
    await until(lambda: len({job["job_id"] for job in fleet.waiting}) == 2500, fleet.clock)


async def test_a_host_that_went_back_to_a_backup_asks_what_it_has_missed_and_for_the_rest_again(
    fleet: Fleet, tmp_path: Path
) -> None:
    two, state = await fleet.join("two"), tmp_path / "state"
    async with host_in_memory(state, fleet.clock, fleet.cloud, "one", ("f",)) as one:
        await settle_loop()
        await one.add("b", "f", ["x", "y", "z"])
        await one.told()
        back_up(state, tmp_path / "backup")
        (here,), (elsewhere,) = await take(one), await take(two)
        await end(one, here)
        await end(two, elsewhere)
        await one.told()
    _, lost, _ = restore(state, tmp_path / "backup")
    assert lost is not None
    assert lost.again == 2
    async with host_in_memory(state, fleet.clock, fleet.cloud, "one", ("f",)) as one:
        recovered = await one.ledger.recover(10)
        assert recovered.is_incomplete
        one.queue.make_up()
        begun = []
        while (await fleet.batch(one))["completed"] < 3:
            await fleet.clock.advance(1)
            for taken in await two.queue.take({"f": 3}, 3):
                begun.append(taken.job.job_id)
                await end(two, taken)
        assert {*begun, here.job.job_id, elsewhere.job.job_id} == {"b.1", "b.2", "b.3"}
        assert len(begun) == 1
        assert not (await one.ledger.recover(10)).is_incomplete


async def test_what_nobody_else_has_heard_of_runs_again_where_a_host_went_back_to_a_backup(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    cloud, state = Cloud(clock), tmp_path / "state"
    async with host_in_memory(state, clock, cloud) as one:
        await settle_loop()
        await one.add("b", "f", ["x"])
        await one.told()
        back_up(state, tmp_path / "backup")
        (taken,) = await take(one)
        await end(one, taken)
        await one.told()
    restore(state, tmp_path / "backup")
    async with host_in_memory(state, clock, cloud) as one:
        assert (await one.ledger.recover(10)).is_incomplete
        one.queue.make_up()
        await until(lambda: len(cloud.subscriptions["jobs-sub"]) == 1, clock)
        assert len(await take(one)) == 1
        assert not (await one.ledger.recover(10)).is_incomplete


async def test_messages_of_a_flow_that_was_removed_go_back(fleet: Fleet, tmp_path: Path) -> None:
    flows = {"f", "g"}
    async with host_in_memory(tmp_path / "one", fleet.clock, fleet.cloud, "one", flows) as one:
        await settle_loop()
        await one.add("b", "g", ["x"])
        await one.queue.take({"f": 1, "g": 1}, 2)
        await until(lambda: one.queue.held == 1)
        flows.remove("g")
        one.queue.reconfigure()
        assert one.queue.held == 0
        one.queue.recall()
        two = await fleet.join("two", "g")
        await fleet.clock.advance(5)  # it may have come to the first one again before
        assert [taken.job.job_id for taken in await take(two, flow="g")] == ["b.1"]


async def test_jobs_are_published_anew_that_were_on_their_way_while_pubsub_lost_everything(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, answer = MemoryBroker.publish, asyncio.Event()

    async def slow(broker: MemoryBroker, topic: str, messages: Sequence[Outgoing]) -> None:
        await publish(broker, topic, messages)
        if topic == "jobs":  # it has them, and nobody knows that yet
            monkeypatch.setattr(MemoryBroker, "publish", publish)
            await answer.wait()

    monkeypatch.setattr(MemoryBroker, "publish", slow)
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await until(lambda: len(fleet.waiting) == 1, fleet.clock)
    fleet.cloud.lose_everything()
    await until(lambda: one.queue._link.losses > 1, fleet.clock)
    await fleet.clock.advance(10)
    assert not fleet.waiting
    answer.set()
    await until(lambda: len(fleet.waiting) == 1, fleet.clock)


async def test_a_job_that_was_tried_elsewhere_is_asked_for_again_by_who_has_tried_it(
    fleet: Fleet, tmp_path: Path
) -> None:
    two = await fleet.join("two")
    async with host_in_memory(tmp_path / "one", fleet.clock, fleet.cloud, "one", ("f",)) as one:
        await settle_loop()
        await one.add("b", "f", ["x"])
        await one.told()
        (taken,) = await take(two)
        await two.queue.settle([Settlement(taken, Event.RETRY, FAULT, delay=1.0)])
        await fleet.told()
        two.queue.recall()
    fleet.cloud.lose_everything()  # and the host that has created it does not come back
    await until(lambda: len(fleet.waiting) == 1, fleet.clock)
    assert [(job["job_id"], job["generation"]) for job in fleet.waiting] == [("b.1", 1)]
    await fleet.clock.advance(1)
    assert len(await take(two)) == 1


async def test_a_batch_is_published_anew_though_the_ledger_could_not_be_used_as_pubsub_came_back(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await fleet.told()
    begin_again = one.shared.begin_again

    async def locked() -> int:
        monkeypatch.setattr(one.shared, "begin_again", begin_again)
        raise StorageError(LOCKED)

    monkeypatch.setattr(one.shared, "begin_again", locked)
    fleet.cloud.lose_everything()
    await until(lambda: len(fleet.waiting) == 1, fleet.clock)
    assert f"cannot tell other hosts again what is known here: {LOCKED}" in caplog.text
    assert len(await take(one)) == 1


async def test_the_queue_goes_on_where_what_runs_cannot_be_told_for_a_moment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = await fleet.join("one")

    async def locked() -> int:
        raise StorageError(LOCKED)

    monkeypatch.setattr(one.shared, "repeat", locked)
    await fleet.clock.advance(61)
    assert f"cannot tell other hosts what runs here: {LOCKED}" in caplog.text
    await one.add("b", "f", ["x"])
    assert len(await take(one)) == 1


async def test_the_queue_goes_on_where_what_was_published_cannot_be_removed_for_a_moment(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = await fleet.join("one")
    await fleet.told()
    remove = one.shared.remove

    async def locked(_: Sequence[Post]) -> None:
        monkeypatch.setattr(one.shared, "remove", remove)
        raise StorageError(LOCKED)

    monkeypatch.setattr(one.shared, "remove", locked)
    await one.shared.ask()
    await until(lambda: f"cannot publish what there is to publish: {LOCKED}" in caplog.text)
    await fleet.clock.advance(5)
    await one.add("b", "f", ["x"])
    assert len(await take(one)) == 1


async def test_a_batch_that_pubsub_refuses_keeps_no_other_from_running(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    one = await fleet.join("one")
    fleet.cloud.refused = b"poison"
    await one.add("b", "f", ["poison"])
    await one.add("c", "f", ["x"])
    assert [taken.job.job_id for taken in await take(one, 2)] == ["c.1"]
    assert "cannot tell other hosts all of b.1" in caplog.text


async def test_an_end_whose_result_fits_into_no_request_is_told_to_others(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = MemoryBroker.publish

    async def in_requests(broker: MemoryBroker, topic: str, messages: Sequence[Outgoing]) -> None:
        for portion in batching.in_requests(messages):
            await publish(broker, topic, portion)

    monkeypatch.setattr(MemoryBroker, "publish", in_requests)
    one, two = await fleet.join("one"), await fleet.join("two")
    await one.add("b", "f", ["x"])
    (taken,) = await take(one)
    await end(one, taken, Outcome(Ending.COMPLETED, result='"' + "é" * 1_700_000 + '"'))
    await fleet.told()
    assert (await fleet.batch(two))["status"] == "completed"


async def test_a_sequence_at_the_end_of_all_numbers_keeps_no_job_from_running(fleet: Fleet) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await fleet.told()
    await fleet.says(
        {
            "type": "job_status",
            "batch_id": "q",
            "job_id": "q.1",
            "record_id": "r",
            "flow": "f",
            "status": "completed",
            "host": "other",
            "at": "2024-01-01T00:00:00Z",
            "sequence": 2**63 - 1,
            "schema": 1,
        },
        topic="status",
    )
    assert len(await take(one)) == 1


async def test_no_lease_is_left_of_a_job_whose_message_came_twice_and_that_was_tried_again(
    fleet: Fleet,
) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await fleet.told()
    (held,) = fleet.cloud.subscriptions["jobs-sub"].values()
    (taken,) = await take(one)
    await MemoryBroker(fleet.cloud).publish("jobs", [held.content])
    assert await take(one) == []
    await one.queue.settle([Settlement(taken, Event.RETRY, FAULT, delay=30.0)])
    await fleet.told()
    await fleet.clock.advance(31)
    (taken,) = await take(one)
    await end(one, taken)
    await fleet.told()
    await fleet.clock.advance(3600)
    assert one.queue._leases.held == 0
    assert not fleet.waiting


async def test_what_is_given_back_while_its_lease_is_being_extended_is_free_at_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = await fleet.join("one")
    await one.add("b", "f", ["x"])
    await fleet.told()
    extend, asked, answer = MemoryBroker.extend, asyncio.Event(), asyncio.Event()

    async def overtaken(
        broker: MemoryBroker, subscription: str, ack_ids: Sequence[str], seconds: int
    ) -> None:
        if not seconds or subscription != "jobs-sub":
            await extend(broker, subscription, ack_ids, seconds)
            return
        asked.set()
        await answer.wait()
        for held in broker.cloud.subscriptions[subscription].values():
            if held.ack_id in ack_ids:
                held.hidden_until = broker.cloud.clock.monotonic() + seconds

    monkeypatch.setattr(MemoryBroker, "extend", overtaken)
    await one.queue.take({"f": 1}, 1)
    await asked.wait()
    await until(lambda: one.queue.held == 1)
    one.queue.recall()
    await settle_loop()
    answer.set()
    await settle_loop()  # the extension counts now, unless what gives back came after it
    await until(lambda: fleet.cloud.available("jobs-sub"))


async def test_what_a_host_gives_back_as_it_stops_another_one_has_at_once(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    cloud = Cloud(clock)
    async with host_in_memory(tmp_path / "two", clock, cloud, "two", ("f",)) as two:
        async with host_in_memory(tmp_path / "one", clock, cloud, "one", ("f",)) as one:
            await settle_loop()
            await one.add("b", "f", ["x"])
            await one.told()
            (taken,) = await take(one)
            await one.told()
            await two.told()
            await end(one, taken, BACK, Event.GIVE_BACK)
        (again,) = await take(two)
        assert again.job.attempt == 1


async def test_jobs_that_wait_for_one_of_their_batch_are_not_pulled_again_and_again(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    pull, pulled, taken = MemoryBroker.pull, list[Message](), list[Taken]()

    async def counted(broker: MemoryBroker, subscription: str, limit: int, patience: float) -> list[Message]:
        found = await pull(broker, subscription, limit, patience)
        pulled.extend(found if subscription == "jobs-sub" else [])
        return found

    one = await fleet.join("one")
    await one.add("b", "f", [f"r{n}" for n in range(300)], concurrency=1)
    await fleet.told()
    monkeypatch.setattr(MemoryBroker, "pull", counted)
    dispatcher = asyncio.create_task(take_on(one, taken))
    for _ in range(60):
        await fleet.clock.advance(1)
        for _ in range(5):
            await one.ledger.write(lambda _: None)  # what the dispatcher has asked for is done before this
            await settle_loop()
    dispatcher.cancel()
    assert len(taken) == 1
    assert len(pulled) <= 3 * 300


async def take_on(host: Host, taken: list[Taken]) -> None:
    """Take whatever there is room for, as the dispatcher does, until cancelled."""
    while True:
        found = await host.queue.take({"f": 4 - len(taken)}, 4 - len(taken))
        taken += found
        if not found:
            await host.queue.arrival()

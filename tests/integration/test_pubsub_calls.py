"""Rules 1 and 2 of the Pub/Sub adapter: what becomes of calls whose callers leave, or whose server does."""

import asyncio
from typing import Any

import grpc
import pytest

from buttermilkd.errors import UnavailableError
from buttermilkd.queues.pubsub.adapter import Limits
from tests.emulator import Emulator, emulator
from tests.grpc_fake import Never, Status, fake_pubsub
from tests.integration.pubsub_scene import scene


async def cancelled(task: asyncio.Task[Any]) -> None:
    """Cancel it, and wait until it is."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


# 1: never cancel a pull in flight


async def test_rule_1_a_pull_whose_caller_has_gone_is_not_broken_off_and_gives_back_what_comes() -> None:
    async with fake_pubsub() as fake, scene(fake) as here:
        pull = asyncio.create_task(here.pull())
        await fake.until(lambda: fake.asked("Pull"))
        await cancelled(pull)
        await here.publish("1")
        await fake.until(lambda: fake.asked("ModifyAckDeadline"))

        (request,) = fake.asked("ModifyAckDeadline")
        assert (len(request.ack_ids), request.ack_deadline_seconds) == (1, 0)
        assert fake.broken_off == []
        assert [message.data for message in await here.pull()] == [b"1"]


async def test_rule_1_somebody_else_gets_it_long_before_its_lease_is_over(shared_emulator: Emulator) -> None:
    async with scene(shared_emulator) as here:
        pull = asyncio.create_task(here.pull(patience=3))
        assert await here.pull(patience=0.5) == []  # by now the first is surely under way
        await cancelled(pull)
        await here.publish("1")

        assert await here.pulled(1) == ["1"]


async def test_rule_1_no_message_is_stuck_where_a_pull_is_cancelled_as_it_comes(
    shared_emulator: Emulator,
) -> None:
    async with scene(shared_emulator) as here:
        taken = []
        for number in range(30):
            pull = asyncio.create_task(here.pull(limit=1, patience=3))
            publish = asyncio.create_task(here.publish(str(number)))
            await asyncio.wait([pull if number % 2 else publish])
            pull.cancel()
            await asyncio.wait([pull, publish])
            if not pull.cancelled():
                taken += [message.data.decode() for message in pull.result()]

        while len(set(taken)) < 30:
            taken += await here.pulled(1)


async def test_rule_1_closing_waits_for_what_a_pull_still_brings_and_gives_it_back() -> None:
    async with fake_pubsub() as fake:
        async with scene(fake) as here:
            pull = asyncio.create_task(here.pull())
            await fake.until(lambda: fake.asked("Pull"))
            await cancelled(pull)
            closing = asyncio.create_task(here.broker.close())
            await asyncio.sleep(0)
            await here.publish("1")
            await closing

        assert [request.ack_deadline_seconds for request in fake.asked("ModifyAckDeadline")] == [0]
        assert fake.broken_off == []


async def test_rule_1_closing_does_not_wait_for_ever_and_says_what_that_may_cost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with fake_pubsub() as fake, scene(fake, limits=Limits(close=0.05)) as here:
        fake.on("Pull", Never())
        pull = asyncio.create_task(here.pull(patience=50))
        await fake.until(lambda: fake.asked("Pull"))

        await here.broker.close()

        with pytest.raises(UnavailableError, match="closed"):
            await pull
        assert "may be delivered to nobody" in caplog.text


async def test_rule_1_what_cannot_be_given_back_is_told_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    async with fake_pubsub() as fake, scene(fake) as here:
        fake.on("ModifyAckDeadline", Status(grpc.StatusCode.UNAVAILABLE))
        pull = asyncio.create_task(here.pull())
        await fake.until(lambda: fake.asked("Pull"))
        await cancelled(pull)
        await here.publish("1")
        await here.broker.close()

    assert "could not give back 1 message that came too late" in caplog.text


# 2: no retries but our own


async def test_rule_2_each_call_asks_once_and_an_outage_is_told_at_once() -> None:
    async with fake_pubsub() as fake, scene(fake) as here:
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.ABORTED):
            fake.requests.clear()
            for method in ("Publish", "Pull", "ModifyAckDeadline", "Acknowledge"):
                fake.on(method, Status(code))
            for call in (
                here.publish("1"),
                here.pull(),
                here.broker.extend("jobs-sub", ["id"], 60),
                here.broker.acknowledge("jobs-sub", ["id"]),
            ):
                with pytest.raises(UnavailableError, match="because the test says so"):
                    await call
            assert len(fake.requests) == 4


async def test_rule_2_a_pull_that_is_over_in_time_brought_nothing() -> None:
    async with fake_pubsub() as fake, scene(fake) as here:
        assert await here.pull(patience=0.05) == []
        fake.on("Pull", Status(grpc.StatusCode.DEADLINE_EXCEEDED))
        assert await here.pull() == []


async def test_rule_2_a_server_that_never_answers_holds_up_no_call_for_ever() -> None:
    limits = Limits(publish=0.05, lease=0.05)
    async with fake_pubsub() as fake, scene(fake, limits=limits) as here:
        for method in ("Publish", "ModifyAckDeadline", "Acknowledge"):
            fake.on(method, Never())
        for call in (
            here.publish("1"),
            here.broker.extend("jobs-sub", ["id"], 60),
            here.broker.acknowledge("jobs-sub", ["id"]),
        ):
            with pytest.raises(UnavailableError, match="no answer in time"):
                await call


async def test_rule_2_a_broker_that_stands_still_is_told_from_one_that_has_nothing() -> None:
    with emulator() as own:
        async with scene(own, limits=Limits(lease=0.2)) as here:
            own.stop()
            with pytest.raises(UnavailableError, match="no answer in time"):
                await here.broker.acknowledge("jobs-sub", ["id"])
            own.cont()
            await here.publish("1")
            assert await here.pulled(1) == ["1"]

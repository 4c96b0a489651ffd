"""The adapter for Google Cloud Pub/Sub, over the emulator and over the fake."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from buttermilkd.errors import InvalidRequestError, UnavailableError
from buttermilkd.queues.pubsub import batching
from buttermilkd.queues.pubsub.adapter import GoogleBroker
from buttermilkd.queues.pubsub.api import Broker, GoneError, Outgoing
from tests.emulator import Emulator
from tests.grpc_fake import fake_pubsub
from tests.integration.pubsub_scene import Scene, Service, scene


@pytest.fixture(params=["emulator", "fake"])
async def service(request: pytest.FixtureRequest) -> AsyncIterator[Service]:
    if request.param == "emulator":
        emulator = request.getfixturevalue("shared_emulator")
        assert isinstance(emulator, Emulator)
        yield emulator
    else:
        async with fake_pubsub() as fake:
            yield fake


@pytest.fixture
async def here(service: Service) -> AsyncIterator[Scene]:
    async with scene(service) as there:
        yield there


async def test_what_is_published_is_pulled_as_it_was(here: Scene) -> None:
    sent = [Outgoing(b'{"flow": "\xc3\xbc"}', {"batch": "b-1", "empty": ""}), Outgoing(b"", {"only": "this"})]
    await here.broker.publish("jobs", sent)

    received = await here.pull()
    while len(received) < 2:
        received += await here.pull()

    assert [Outgoing(one.data, one.attributes) for one in received] == sent
    assert len({one.ack_id for one in received}) == len({one.message_id for one in received}) == 2
    assert all(one.published_at > 1_700_000_000 for one in received)


async def test_a_pull_takes_no_more_than_it_is_told_to(here: Scene) -> None:
    await here.publish("1", "2", "3")

    assert len(await here.pull(limit=1)) == 1
    assert len(await here.pulled(2)) == 2


async def test_where_nothing_comes_a_pull_ends_with_nothing(here: Scene) -> None:
    assert await here.pull(patience=0.1) == []


async def test_a_pull_waits_for_what_is_published_later(here: Scene) -> None:
    pull = asyncio.create_task(here.pull())
    await asyncio.sleep(0)
    await here.publish("1")

    assert [message.data for message in await pull] == [b"1"]


async def test_what_is_given_back_is_delivered_again_at_once_as_the_same_message(here: Scene) -> None:
    await here.publish("1")
    (first,) = await here.pull()

    await here.broker.extend("jobs-sub", [first.ack_id], 0)
    (second,) = await here.pull()

    assert second.message_id == first.message_id
    assert second.ack_id != first.ack_id


async def test_what_is_acknowledged_late_or_twice_is_ignored(here: Scene) -> None:
    await here.publish("1")
    (message,) = await here.pull()

    for _ in range(2):
        await here.broker.acknowledge("jobs-sub", [message.ack_id])
        await here.broker.extend("jobs-sub", [message.ack_id], 60)

    assert await here.pull(patience=0.1) == []


async def test_topics_and_subscriptions_may_be_named_in_full(here: Scene) -> None:
    connection = here.connection
    await here.broker.publish(connection.topic("jobs"), [Outgoing(b"1", {})])

    assert await here.broker.pull(connection.subscription("jobs-sub"), 1, 30)


async def test_what_does_not_exist_is_named_in_full(here: Scene) -> None:
    with pytest.raises(
        GoneError, match=r"cannot publish to projects/.*/topics/none: there is no such topic"
    ) as one:
        await here.broker.publish("none", [Outgoing(b"1", {})])
    with pytest.raises(
        GoneError, match=r"cannot pull from .*/none-sub: there is no such subscription"
    ) as other:
        await here.broker.pull("none-sub", 1, 30)

    assert one.value.resource == here.connection.topic("none")
    assert other.value.resource == here.connection.subscription("none-sub")
    assert isinstance(one.value, UnavailableError)


async def test_thousands_of_messages_keep_their_order_and_need_few_requests(here: Scene) -> None:
    bodies = [str(number) for number in range(2500)]
    await here.publish(*bodies)

    assert await here.pulled(2500) == bodies


async def test_nothing_to_publish_or_acknowledge_asks_nothing(here: Scene) -> None:
    await here.broker.publish("none", [])
    await here.broker.acknowledge("none-sub", [])
    await here.broker.extend("none-sub", [], 60)


async def test_a_message_that_is_too_large_is_refused_and_so_is_all_that_was_to_go_with_it(
    here: Scene,
) -> None:
    with pytest.raises(
        InvalidRequestError, match=r"a message of 10,000,\d+ bytes: Pub/Sub takes up to 9,500,000"
    ):
        await here.broker.publish("jobs", [Outgoing(b"small", {}), Outgoing(bytes(10_000_000), {})])

    assert await here.pull(patience=0.1) == []


async def test_a_closed_broker_says_so(here: Scene) -> None:
    await here.broker.close()

    with pytest.raises(UnavailableError, match="the connection is closed"):
        await here.publish("1")
    await here.broker.close()


def test_it_is_a_broker() -> None:
    broker: type[Broker] = GoogleBroker
    assert broker is GoogleBroker


def test_requests_are_as_full_as_the_service_allows() -> None:
    small, large = Outgoing(b"x", {}), Outgoing(bytes(4_000_000), {"name": "value"})

    assert [len(one) for one in batching.in_requests([small] * 2001)] == [1000, 1000, 1]
    assert [len(one) for one in batching.in_requests([large] * 5)] == [2, 2, 1]
    assert [len(one) for one in batching.ids_in_requests(["x" * 176] * 2600)] == [1000, 1000, 600]
    assert [len(one) for one in batching.ids_in_requests(["x" * 984] * 1000)] == [480, 480, 40]

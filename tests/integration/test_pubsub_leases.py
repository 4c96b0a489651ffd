"""Messages that a host holds: extended, acknowledged, given back, lost. With a clock that is moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from buttermilkd.errors import InvalidRequestError, UnavailableError
from buttermilkd.queues.pubsub.api import Message, Outgoing
from buttermilkd.queues.pubsub.leases import Leases
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.testing import HandMovedClock, settle_loop

LEASE = 300.0


@dataclass
class Recorder:
    """Implements ``Broker`` as far as leases need it, and notes what it was asked."""

    calls: list[tuple[str, tuple[str, ...], int]] = field(default_factory=list)
    is_down: bool = False
    unknown: set[str] = field(default_factory=set)
    """What the service does not know: it refuses any request that names one of these."""

    async def extend(self, subscription: str, ack_ids: Sequence[str], seconds: int) -> None:
        self._answer(subscription, "extend", ack_ids, seconds)

    async def acknowledge(self, subscription: str, ack_ids: Sequence[str]) -> None:
        self._answer(subscription, "acknowledge", ack_ids, 0)

    def _answer(self, subscription: str, call: str, ack_ids: Sequence[str], seconds: int) -> None:
        assert subscription == "s"
        if self.is_down:
            raise UnavailableError("cannot reach Pub/Sub")
        if self.unknown & set(ack_ids):
            raise InvalidRequestError("You have passed an invalid ack ID to the service")
        self.calls.append((call, tuple(ack_ids), seconds))

    async def publish(self, topic: str, messages: Sequence[Outgoing]) -> None:
        raise NotImplementedError

    async def pull(self, subscription: str, limit: int, patience: float) -> list[Message]:
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> list[tuple[str, tuple[str, ...], int]]:
        calls, self.calls = self.calls, []
        return calls


@dataclass
class Scene:
    broker: Recorder
    clock: HandMovedClock
    leases: Leases


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    broker, clock = Recorder(), HandMovedClock()

    async def connect() -> Recorder:
        return broker

    async def prepare(_: object) -> bool:
        return False  # everything is there

    link = Link(connect, prepare, clock)
    await link.do("begin", lambda one: one.close())
    leases = Leases(link, "s", LEASE, clock)
    running = asyncio.ensure_future(leases.run())
    yield Scene(broker, clock, leases)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_what_is_held_is_extended_at_once_and_then_five_times_in_each_lease(scene: Scene) -> None:
    scene.leases.hold(["a", "b"])
    await settle_loop()
    assert scene.broker.taken() == [("extend", ("a", "b"), 300)]
    await scene.clock.advance(59)
    assert scene.broker.taken() == []
    await scene.clock.advance(1)
    assert scene.broker.taken() == [("extend", ("a", "b"), 300)]
    await scene.clock.advance(600)
    assert len(scene.broker.taken()) == 10


async def test_what_is_released_is_extended_no_more(scene: Scene) -> None:
    scene.leases.hold(["a", "b", "c", "d"])
    await settle_loop()
    scene.broker.taken()
    scene.leases.acknowledge(["a"])
    scene.leases.give_back(["b"])
    scene.leases.defer({"c": 20.4})
    await settle_loop()
    assert sorted(scene.broker.taken()) == [
        ("acknowledge", ("a",), 0),
        ("extend", ("b",), 0),
        ("extend", ("c",), 21),
    ]
    await scene.clock.advance(60)
    assert scene.broker.taken() == [("extend", ("d",), 300)]


async def test_what_cannot_be_released_is_tried_again_until_it_is(scene: Scene) -> None:
    scene.leases.hold(["a"])
    await settle_loop()
    scene.broker.taken()
    scene.broker.is_down = True
    scene.leases.acknowledge(["a"])
    await scene.clock.advance(50)
    scene.broker.is_down = False
    await scene.clock.advance(30)
    assert scene.broker.taken() == [("acknowledge", ("a",), 0)]


async def test_an_outage_shorter_than_a_lease_costs_none(scene: Scene) -> None:
    lost: list[str] = []
    scene.leases.on_lost = lost.extend
    scene.leases.hold(["a"])
    await settle_loop()
    scene.broker.is_down = True
    await scene.clock.advance(200)
    scene.broker.is_down = False
    await scene.clock.advance(100)
    assert scene.leases.held == 1
    assert lost == []


async def test_a_lease_that_could_not_be_extended_in_time_is_reported_as_lost_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[str] = []
    scene.leases.on_lost = lost.extend
    scene.leases.hold(["a"])
    await settle_loop()
    scene.broker.is_down = True
    await scene.clock.advance(400)
    assert lost == ["a"]
    assert scene.leases.held == 0
    assert caplog.text.count("lost 1 lease") == 1


async def test_a_daemon_that_stops_gives_back_what_it_holds(scene: Scene) -> None:
    scene.leases.hold(["a", "b"])
    await settle_loop()
    scene.broker.taken()
    await scene.leases.close()
    assert ("extend", ("a", "b"), 0) in scene.broker.taken()


async def test_messages_that_the_service_does_not_know_any_more_spoil_nothing_for_the_others(
    scene: Scene,
) -> None:
    lost: list[str] = []
    scene.leases.on_lost = lost.extend
    scene.broker.unknown = {"b", "d"}
    scene.leases.hold(["a", "b", "c"])
    await settle_loop()
    assert sorted(ack_id for _, ack_ids, _ in scene.broker.taken() for ack_id in ack_ids) == ["a", "c"]
    assert lost == ["b"]
    scene.leases.acknowledge(["a", "b", "c", "d"])
    await settle_loop()
    assert sorted(ack_id for _, ack_ids, _ in scene.broker.taken() for ack_id in ack_ids) == ["a", "c"]

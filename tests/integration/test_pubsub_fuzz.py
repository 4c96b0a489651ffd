"""A host whose topics are full of messages that nobody should have sent."""

from random import Random

from buttermilkd.jobs import Status
from buttermilkd.ledger.dead import DeadPage
from buttermilkd.queues.pubsub.api import Outgoing
from tests.fuzz import messages
from tests.integration.fleet import Fleet, end, take
from tests.memory_broker import MemoryBroker


async def test_each_becomes_a_job_or_a_dead_letter_or_tells_nothing_and_work_goes_on(fleet: Fleet) -> None:
    host = await fleet.join("one", "f", "hello")
    chance = Random(5)
    bad = [*messages.corpus("topics"), *(messages.topic_message(chance) for _ in range(150))]
    broker = MemoryBroker(fleet.cloud)
    for topic in ("jobs", "status"):
        await broker.publish(topic, [Outgoing(one, {"type": "x" * (at % 3)}) for at, one in enumerate(bad)])
    begun = 0
    for _ in range(500):
        for taken in await take(host, 9, "hello"):
            await end(host, taken)
            begun += 1
        if not fleet.cloud.subscriptions["jobs-sub"]:
            break
        await fleet.clock.advance(60)  # some are not due yet, or of a flow that may come
    assert begun
    assert (await host.ledger.dead(DeadPage(limit=1000)))["dead"]
    await host.add("good", "f", ["x"])
    (taken,) = await take(host)
    await end(host, taken)
    await fleet.becomes(host, Status.COMPLETED, "good")

"""Hosts that share one queue. Pub/Sub is in memory, time moves by hand."""

import asyncio
import json
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from buttermilkd.batches import Batches
from buttermilkd.jobs import Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.ledger import queries
from buttermilkd.ledger.dead import DeadPage
from buttermilkd.ledger.queries import BatchFilter, JobPage
from buttermilkd.messages import BatchesView, BatchView, JobView
from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.memory_broker import Cloud, MemoryBroker
from tests.pubsub_host import Host, host_in_memory

ROUNDS = 10
"""Looks at the queue, after which what does not come does not come."""
DONE = Outcome(Ending.COMPLETED, result='{"words": 3}')
FAULT = Outcome(Ending.FAILED, error="exit status 1", cause="exit status 1")
BACK = Outcome(Ending.GIVEN_BACK)


class Fleet:
    """Hosts on one cloud."""

    def __init__(self, folder: Path, clock: HandMovedClock, stack: AsyncExitStack) -> None:
        self.clock = clock
        self.cloud = Cloud(clock)
        self._folder = folder
        self._stack = stack
        self.hosts: list[Host] = []

    async def join(self, name: str, *flows: str, clock: HandMovedClock | None = None) -> Host:
        host = await self._stack.enter_async_context(
            host_in_memory(self._folder / name, clock or self.clock, self.cloud, name, flows or ("f",))
        )
        self.hosts.append(host)
        await settle_loop()
        return host

    async def told(self) -> None:
        """Return once every host knows what any of them knows."""
        for _ in range(2):
            for host in self.hosts:
                await host.told()

    async def batch(self, host: Host, batch_id: str = "b") -> BatchView:
        return await host.ledger.query(lambda db: queries.batch(db, batch_id, self.clock.now()))

    async def all_batches(self, host: Host) -> BatchesView:
        wanted = BatchFilter(all=True)
        return await host.ledger.query(lambda db: queries.batches(db, wanted, 10, None, self.clock.now()))

    async def jobs(self, host: Host, batch_id: str = "b") -> list[JobView]:
        page = JobPage(limit=1000)
        found = await host.ledger.query(lambda db: queries.jobs(db, batch_id, page, host.name))
        return found["jobs"]

    async def letters(self, host: Host) -> list[str]:
        """Why each dead letter of this host is one."""
        return [letter["reason"] for letter in (await host.ledger.dead(DeadPage(limit=10)))["dead"]]

    async def becomes(self, host: Host, status: Status, batch_id: str = "b") -> None:
        """Return once this host knows that the batch is in this state."""
        while (await self.batch(host, batch_id))["status"] != status:
            await self.told()

    @property
    def waiting(self) -> list[dict[str, object]]:
        """The jobs at Pub/Sub."""
        held = self.cloud.subscriptions.get("jobs-sub", {}).values()
        return [json.loads(one.content.data) for one in held]

    async def says(self, message: dict[str, object], topic: str = "jobs") -> None:
        await MemoryBroker(self.cloud).publish(topic, [Outgoing(json.dumps(message).encode(), {})])
        await self.told()


async def take(host: Host, most: int = 1, flow: str = "f") -> list[Taken]:
    """What this host gets that has room for so many; then nothing more may begin on it."""
    taken: list[Taken] = []
    for _ in range(ROUNDS):
        taken += await host.queue.take({flow: most - len(taken)}, most - len(taken))
        if len(taken) == most:
            break
        await host.told()
        await asyncio.sleep(0.002)
    host.queue.recall()
    await settle_loop()
    return taken


async def end(host: Host, taken: Taken, outcome: Outcome = DONE, event: Event = Event.COMPLETE) -> None:
    await host.queue.settle([Settlement(taken, event, outcome)])


async def cancel(host: Host, batch_id: str = "b") -> None:
    """Cancel on this host what waits of a batch."""
    key, _ = await host.ledger.begin_cancel(batch_id)
    await host.ledger.finish_cancel(key)


async def until(is_so: Callable[[], bool], clock: HandMovedClock | None = None) -> None:
    """Return once it is so; ``clock``: which goes on meanwhile."""
    while not is_so():
        if clock is not None:
            await clock.advance(1)
        await asyncio.sleep(0.001)


def follow(host: Host) -> None:
    """Let this host, on which nothing runs, do what others have done."""
    batches = Batches(flows={}, check=nobody, ledger=host.ledger, dispatcher=Idle(), queue="pubsub")
    host.queue.attend(batches.follow)


async def nobody(_: str) -> None:
    """Nothing speaks against any flow."""


class Idle:
    """A dispatcher on which nothing runs."""

    running_ids: Mapping[str, list[str]] = {}

    def refuse(self, subject: str) -> None: ...

    def accept(self, subject: str) -> None: ...

    async def stop(self, job_ids: Collection[str], *, now: bool = False) -> list[Outcome]:
        del job_ids, now
        return []

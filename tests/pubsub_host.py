"""A host that shares a queue at Pub/Sub with others: its ledger and its queue, without a daemon around them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from buttermilkd.bell import Bell, first_of
from buttermilkd.clock import Clock, SystemClock
from buttermilkd.config.settings import PubsubSettings
from buttermilkd.jobs import BatchSpec, Settlement, Taken
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.shared import SharedLedger
from buttermilkd.queues.base import Depth
from buttermilkd.queues.pubsub.adapter import GoogleBroker
from buttermilkd.queues.pubsub.api import Broker
from buttermilkd.queues.pubsub.google import open_broker
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.queues.pubsub.queue import Names, PubsubQueue
from buttermilkd.queues.pubsub.resources import ensure, resources_of
from buttermilkd.sharing import Merged, Topic
from buttermilkd.testing import settle_loop
from tests.emulator import Emulator
from tests.memory_broker import Cloud, MemoryBroker

TICK = 0.3
"""Seconds in which the emulator gives out what is there; it looks every 0.05 s."""
SECOND = 1 + 2 * TICK
"""Seconds after which what was put off at the emulator is there again."""
PATIENCE = 2.0
"""Seconds that one pull waits, and so the end of a host; less than that, and the emulator does not wait at all."""
FLOWS = ("f", "g", "h")


class MovableClock(Clock, Protocol):
    """A clock that a test can move on."""

    async def advance(self, seconds: float) -> None: ...


class SteppedClock:
    """The machine's clock, which a test can move on; what the emulator holds back for a second comes meanwhile."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._ahead = 0.0
        self._moved = Bell()

    def now(self) -> float:
        return self._clock.now() + self._ahead

    def monotonic(self) -> float:
        return self._clock.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > 0:
            await first_of([self._clock.sleep(left), self._moved.heard()])

    async def advance(self, seconds: float) -> None:
        self._ahead += max(0.0, seconds - SECOND)
        self._moved.ring()
        await asyncio.sleep(SECOND)


@dataclass
class Host:
    """One of those that share a queue."""

    name: str
    clock: MovableClock
    ledger: Ledger
    shared: SharedLedger
    queue: PubsubQueue
    names: Names
    cloud: Cloud | None

    async def add(
        self,
        batch: str,
        flow: str,
        records: Sequence[str],
        *,
        priority: int = 0,
        concurrency: int | None = None,
        variants: tuple[Mapping[str, object], ...] = ({},),
    ) -> None:
        """Create a batch, as the daemon would."""
        spec = BatchSpec(
            batch,
            flow,
            "0" * 12,
            variants,
            len(records),
            1000,
            priority=priority,
            concurrency=concurrency,
            queue="pubsub",
        )
        await self.ledger.create(spec, iter(records), None)

    async def published(self) -> None:
        """Return once everything is published that there is to publish."""
        while (  # noqa: ASYNC110 - what is removed from the ledger rings no bell
            await self.shared.posts(Topic.STATUS)
            or await self.shared.posts(Topic.JOBS)
            or await self.shared.announcement()
            or await self.shared.publication()
        ):
            await asyncio.sleep(0.001)

    async def told(self) -> None:
        """Return once everything is published, and this host has heard what the others have published."""
        await self.published()
        if self.cloud is None:
            await asyncio.sleep(TICK)
            return
        await settle_loop()
        while not self.cloud.is_done(self.names.status_subscription):  # noqa: ASYNC110 - nor does what is acknowledged
            await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        """Return once this host has pulled what it wants, and that is everything there is."""
        await self.told()
        await self._drained(self.names.subscription)

    async def _drained(self, subscription: str) -> None:
        if self.cloud is None:
            await asyncio.sleep(TICK)
            return
        await settle_loop()
        while self.cloud.available(subscription):  # noqa: ASYNC110 - a message that is pulled rings no bell
            await asyncio.sleep(0.001)
        await settle_loop()


class Patient:
    """A Pub/Sub queue that waits, as nobody else would, until everything that can be taken is at hand.

    What is published, put off or given back takes its time to come, and a pull tells nothing of what there is
    besides what it brings; apart from that, the contract is that of every queue.
    """

    kind = "pubsub"
    trouble = None
    republish = None

    def __init__(self, host: Host) -> None:
        self._host = host
        self._queue = host.queue

    async def take(self, rooms: Mapping[str, int], limit: int) -> list[Taken]:
        await self._queue.take({}, 1000)
        await self._host.quiet()
        return await self._queue.take(rooms, limit)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._queue.settle(settlements)

    def recall(self) -> None:
        self._queue.recall()

    def reconfigure(self) -> None:
        self._queue.reconfigure()

    async def arrival(self) -> None:
        await self._queue.arrival()

    async def depth(self) -> Depth:
        return await self._queue.depth()

    async def run(self) -> None:
        await self._queue.run()

    def attend(self, follow: Callable[[Merged], Coroutine[Any, Any, None]]) -> None:
        self._queue.attend(follow)


@asynccontextmanager
async def host_in_memory(
    folder: Path,
    clock: MovableClock,
    cloud: Cloud | None = None,
    name: str = "one",
    flows: Collection[str] = FLOWS,
) -> AsyncIterator[Host]:
    """A host whose Pub/Sub is in memory; of several, each has its own subscription to what is told."""
    names = Names("jobs", "status", "jobs-sub", f"status-{name}")
    shared_cloud = cloud or Cloud(clock)

    async def connect() -> Broker:
        return MemoryBroker(shared_cloud)

    async def prepare(_: Broker) -> bool:
        shared_cloud.make(names.jobs_topic, names.subscription)
        return shared_cloud.make(names.status_topic, names.status_subscription)

    link = Link(connect, prepare, clock)
    async with running_host(folder, clock, link, names, name, flows, 600.0) as host:
        host.cloud = shared_cloud
        yield host


@asynccontextmanager
async def running_host(
    folder: Path,
    clock: MovableClock,
    link: Link,
    names: Names,
    name: str,
    flows: Collection[str],
    longest_deferral: float,
) -> AsyncIterator[Host]:
    """A host on this link, whose services run."""
    folder.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(folder, clock, stack, name)
        shared = SharedLedger(ledger, clock)
        queue = PubsubQueue(
            link=link,
            names=names,
            ledger=shared,
            flows=flows,
            lease=300.0,
            unknown_flow_after=600.0,
            clock=clock,
            longest_deferral=longest_deferral,
            patience=PATIENCE,
            most_blocked=1000,
        )
        running = asyncio.ensure_future(queue.run())
        try:
            yield Host(name, clock, ledger, shared, queue, names, None)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await queue.close()


@asynccontextmanager
async def host_at_emulator(
    folder: Path,
    clock: MovableClock,
    emulator: Emulator,
    project: str | None = None,
    name: str = "one",
    flows: Collection[str] = FLOWS,
) -> AsyncIterator[Host]:
    """A host whose Pub/Sub is the emulator, in a project of the test's own."""
    project = project or f"test-{uuid4().hex[:12]}"
    names = Names("jobs", "flow", "jobs-sub", f"flow-sub-{name}")
    settings = PubsubSettings(project=project, create=True)
    cloud = GoogleCloud(settings, emulator, name)
    link = Link(cloud.connect, cloud.prepare, clock)
    async with running_host(folder, clock, link, names, name, flows, 1.0) as host:
        yield host


class GoogleCloud:
    """The emulator as a host needs it."""

    def __init__(self, settings: PubsubSettings, emulator: Emulator, host: str) -> None:
        self._settings = settings
        self._emulator = emulator
        self._resources = resources_of(settings, host)
        self._broker: GoogleBroker | None = None

    async def connect(self) -> Broker:
        self._broker = await open_broker(self._settings.project or "", None, self._emulator.environ)
        return self._broker

    async def prepare(self, _broker: Broker) -> bool:
        assert self._broker is not None
        return bool(await ensure(self._broker, self._resources, create=True))

"""Two hosts on Google's emulator: what takes real time there, and what a broker that hangs does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from buttermilkd.jobs import Ending, Event, Outcome, Settlement, Taken
from buttermilkd.queues.base import Depth
from tests.emulator import Emulator, emulator
from tests.pubsub_host import Host, SteppedClock, host_at_emulator

DONE = Outcome(Ending.COMPLETED)
EMPTY = Depth("pubsub", pending=0, running=0)


class Pair:
    """Two hosts, and the emulator that they share."""

    def __init__(self, cloud: Emulator, one: Host, two: Host) -> None:
        self.cloud = cloud
        self.one = one
        self.two = two


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    with emulator() as cloud:
        project = f"test-{uuid4().hex[:12]}"
        async with AsyncExitStack() as stack:
            hosts = [
                await stack.enter_async_context(
                    host_at_emulator(tmp_path / name, SteppedClock(), cloud, project, name)
                )
                for name in ("one", "two")
            ]
            yield Pair(cloud, *hosts)


async def take(host: Host, count: int) -> list[Taken]:
    """So many jobs, however many takes that needs."""
    taken: list[Taken] = []
    async with asyncio.timeout(45):
        while len(taken) < count:
            left = count - len(taken)
            found = await host.queue.take({"f": left}, left)
            if not found:
                await host.queue.arrival()
            taken += found
    return taken


async def until_held(host: Host, count: int) -> None:
    """Return once the host holds so many messages that it has not begun."""
    async with asyncio.timeout(20):
        while host.queue.held < count:  # noqa: ASYNC110 - no bell rings for the shelf
            await asyncio.sleep(0.01)


async def test_five_hundred_jobs_that_were_pulled_and_not_begun_are_another_hosts_at_once(pair: Pair) -> None:
    await pair.one.add("b", "f", [f"r{number}" for number in range(500)])
    await pair.one.published()
    assert await pair.one.queue.take({"f": 500}, 500) == []
    await until_held(pair.one, 500)
    pair.one.queue.recall()
    assert pair.one.queue.held == 0
    taken = await take(pair.two, 500)
    assert len({one.job.job_id for one in taken}) == 500
    assert {one.job.attempt for one in taken} == {1}


async def test_while_pubsub_hangs_nothing_is_lost_and_nothing_runs_twice(pair: Pair) -> None:
    await pair.one.add("b", "f", [f"r{number}" for number in range(20)])
    mine = await take(pair.one, 10)
    pair.cloud.stop()
    await pair.one.queue.settle([Settlement(taken, Event.COMPLETE, DONE) for taken in mine[:5]])
    await asyncio.sleep(3)  # for which it answers nothing: leases outlive minutes of that
    pair.cloud.cont()
    theirs = await take(pair.two, 10)
    ids = {taken.job.job_id for taken in (*mine, *theirs)}
    assert len(ids) == 20
    await pair.one.queue.settle([Settlement(taken, Event.COMPLETE, DONE) for taken in mine[5:]])
    await pair.two.queue.settle([Settlement(taken, Event.COMPLETE, DONE) for taken in theirs])
    async with asyncio.timeout(30):
        for host in (pair.one, pair.two):
            while (await host.queue.depth()) != EMPTY:  # noqa: ASYNC110 - what the other tells rings no bell here
                await asyncio.sleep(0.05)
    assert await pair.two.queue.take({"f": 20}, 20) == []

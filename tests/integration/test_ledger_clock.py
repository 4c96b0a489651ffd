"""A clock that is set, and a machine that slept: what waits for its time waits no longer, and nothing ends before it began."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from buttermilkd.jobs import Ending, Event, Outcome, Settlement
from buttermilkd.ledger import Ledger, queries
from buttermilkd.ledger.queries import JobPage
from buttermilkd.queues.local import LocalQueue
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import completed, numbered, spec, take, view

DAY = 86_400.0


async def put_off(ledger: Ledger, seconds: float) -> None:
    """One job that failed, and is tried again in so many seconds."""
    await ledger.create(spec(records=1), numbered(1), None)
    (taken,) = await take(ledger)
    outcome = Outcome(Ending.FAILED, error="why", cause="exit status 1")
    await ledger.settle([Settlement(taken, Event.RETRY, outcome, delay=seconds)])


async def test_a_job_that_is_put_off_runs_after_its_delay_though_the_clock_is_set_back_a_day(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    queue = LocalQueue(ledger, clock)
    await put_off(ledger, 10.0)
    assert await queue.take({"f": 1}, 1) == []
    arrival = asyncio.ensure_future(queue.arrival())
    clock.jump(-DAY)
    await clock.advance(10.0)
    await asyncio.wait_for(arrival, 10)
    found = await queue.take({"f": 1}, 1)
    if not found:  # it is put off anew, once
        arrival = asyncio.ensure_future(queue.arrival())
        await clock.advance(10.0)
        await asyncio.wait_for(arrival, 10)
        found = await queue.take({"f": 1}, 1)
    assert [one.job.job_id for one in found] == ["b.1"]


async def test_a_daemon_that_starts_with_a_clock_that_was_set_back_does_not_wait_a_day(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    async with AsyncExitStack() as stack:
        await put_off(await Ledger.open(tmp_path, clock, stack), 10.0)
    clock.jump(-DAY)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ledger.recover(10)
        assert await take(ledger) == []
        await clock.advance(10.0)
        assert len(await take(ledger)) == 1


async def test_a_clock_that_is_set_forward_makes_a_job_due_once(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    queue = LocalQueue(ledger, clock)
    await put_off(ledger, 10.0)
    assert await queue.take({"f": 9}, 9) == []
    arrival = asyncio.ensure_future(queue.arrival())
    clock.jump(DAY)
    await clock.advance(10.0)
    await asyncio.wait_for(arrival, 10)
    assert len(await queue.take({"f": 9}, 9)) == 1
    assert await queue.take({"f": 9}, 9) == []


async def test_what_waits_is_looked_at_within_a_minute_after_the_machine_has_slept(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    queue = LocalQueue(ledger, clock)
    await put_off(ledger, 3600.0)
    assert await queue.take({"f": 1}, 1) == []
    arrival = asyncio.ensure_future(queue.arrival())
    await clock.advance(1.0)
    clock.jump(7200.0)  # the monotonic clock has stood still meanwhile
    await clock.advance(60.0)
    await asyncio.wait_for(arrival, 10)
    assert len(await queue.take({"f": 1}, 1)) == 1


async def test_nothing_ends_before_it_began_though_the_clock_was_set_back_meanwhile(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    await ledger.create(spec(records=1), numbered(1), None)
    (taken,) = await take(ledger)
    clock.jump(-DAY)
    await ledger.settle([completed(taken)])
    page = await ledger.query(lambda db: queries.jobs(db, "b", JobPage(1), "host"))
    (job,), batch = page["jobs"], await view(ledger)
    assert job["started_at"] is not None
    assert job["ended_at"] is not None
    assert job["started_at"] <= job["ended_at"]
    assert batch["started_at"] is not None
    assert batch["ended_at"] is not None
    assert batch["created_at"] <= batch["started_at"] <= batch["ended_at"]
    assert batch["eta_seconds"] is None

"""Ended batches leave the ledger by age and by count, a little at a time, and the file gets smaller again."""

import asyncio
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from buttermilkd.config.settings import RetentionSettings
from buttermilkd.daemon.retention import SETTLED, Retention
from buttermilkd.errors import NotFoundError
from buttermilkd.jobs import Status
from buttermilkd.ledger import Ledger, queries
from buttermilkd.ledger.creation import discard, stage
from buttermilkd.ledger.dead import DeadPage
from buttermilkd.ledger.ledger import FILE
from buttermilkd.ledger.queries import BatchFilter
from buttermilkd.ledger.retention import PORTION, Bounds, forget, remove_portion, shorten
from buttermilkd.ledger.salvage import salvage
from buttermilkd.ledger.schema import INCREMENTAL, MIGRATIONS
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import completed, failed, numbered, spec, take, view

DAY = 86_400.0


async def keeping(ledger: Ledger, clock: HandMovedClock, **settings: object) -> Retention:
    """Retention whose clock has run evenly for long enough."""
    chosen = RetentionSettings.model_validate(settings)
    retention = Retention(ledger, clock, lambda: chosen)
    await clock.advance(SETTLED)
    return retention


async def swept(retention: Retention, clock: HandMovedClock) -> None:
    """One sweep, with its rests between two steps."""
    async with asyncio.TaskGroup() as tasks:
        sweep = tasks.create_task(retention.sweep())
        while not sweep.done():
            await clock.advance(1.0)
            await asyncio.wait([sweep], timeout=0.001)


async def ended(ledger: Ledger, batch: str, records: int = 3, *, fails: bool = False) -> None:
    await ledger.create(spec(batch, records), numbered(records), None)
    while taken := await take(ledger, 1000):
        await ledger.settle([failed(one) if fails else completed(one) for one in taken])


async def names(ledger: Ledger) -> list[str]:
    found = await ledger.query(lambda db: queries.batches(db, BatchFilter(all=True), 1000, None, 0.0))
    return [batch["batch_id"] for batch in reversed(found["batches"])]


async def rows(ledger: Ledger) -> dict[str, int]:
    """How many rows there are, by table."""
    tables = ("jobs", "results", "logs", "attempts", "removals")

    def count(db: sqlite3.Connection) -> dict[str, int]:
        return {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}

    return await ledger.query(count)


async def test_nothing_is_removed_unless_somebody_wants_it(ledger: Ledger, clock: HandMovedClock) -> None:
    await ended(ledger, "old")
    await ended(ledger, "new")
    await clock.advance(3650 * DAY)
    await swept(await keeping(ledger, clock), clock)
    assert await names(ledger) == ["old", "new"]


async def test_batches_go_with_all_they_left_once_they_ended_long_enough_ago(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    retention = await keeping(ledger, clock, remove_after="30d")
    await ended(ledger, "old", 2 * PORTION + 1)
    await clock.advance(20 * DAY)
    await ended(ledger, "young", 5)
    await swept(retention, clock)
    assert await names(ledger) == ["old", "young"]
    await clock.advance(10 * DAY)
    await swept(retention, clock)
    assert await names(ledger) == ["young"]
    assert await rows(ledger) == {"jobs": 5, "results": 5, "logs": 5, "attempts": 0, "removals": 0}
    with pytest.raises(NotFoundError):
        await view(ledger, "old")


async def test_those_that_ended_last_are_kept_where_a_number_is_given(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    for batch in ("first", "second", "third", "fourth"):
        await ended(ledger, batch)
    await swept(await keeping(ledger, clock, keep_batches=2), clock)
    assert await names(ledger) == ["third", "fourth"]


async def test_what_goes_on_is_never_removed_however_old_it_is(ledger: Ledger, clock: HandMovedClock) -> None:
    await ledger.create(spec("waiting"), numbered(3), None)
    await clock.advance(400 * DAY)
    await ledger.create(spec("newest", 1), numbered(1), None)
    await swept(await keeping(ledger, clock, remove_after="1d", keep_batches=1), clock)
    assert await names(ledger) == ["waiting", "newest"]


async def test_a_batch_with_dead_letters_stays_until_they_are_dropped(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    await ended(ledger, "failing", 2, fails=True)
    await ended(ledger, "newest")
    retention = await keeping(ledger, clock, remove_after="1d")
    await clock.advance(2 * DAY)
    await swept(retention, clock)
    assert await names(ledger) == ["failing", "newest"]
    letters = await ledger.dead(DeadPage(limit=10))
    await ledger.drop([letter["id"] for letter in letters["dead"]])
    await swept(retention, clock)
    assert await names(ledger) == ["newest"]
    assert (await rows(ledger))["attempts"] == 0


async def test_a_batch_that_other_hosts_know_stays_while_its_messages_may_come_again(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    await ended(ledger, "shared")
    await ledger.write(lambda db: db.execute("UPDATE batches SET queue = 'pubsub'"))
    await ended(ledger, "newest")
    retention = await keeping(ledger, clock, remove_after="1h")
    await clock.advance(7 * DAY)
    await swept(retention, clock)
    assert await names(ledger) == ["shared", "newest"]
    await clock.advance(2 * DAY)
    await swept(retention, clock)
    assert await names(ledger) == ["newest"]


async def test_no_job_id_is_used_twice_after_a_removal(ledger: Ledger, clock: HandMovedClock) -> None:
    await ended(ledger, "first")
    await ended(ledger, "second")
    await clock.advance(2 * DAY)
    await swept(await keeping(ledger, clock, remove_after="1d"), clock)
    await ledger.create(spec("third"), numbered(3), None)
    firsts = await ledger.query(
        lambda db: [
            tuple(row) for row in db.execute("SELECT batch_id, key, first_job FROM batches ORDER BY key")
        ]
    )
    assert firsts == [("second", 2, 4), ("third", 3, 7)]


async def test_a_clock_that_is_set_a_year_ahead_removes_nothing_for_an_hour(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    await ended(ledger, "yesterday")
    await ended(ledger, "newest")
    retention = await keeping(ledger, clock, remove_after="30d")
    clock.jump(365 * DAY)
    await swept(retention, clock)
    assert await names(ledger) == ["yesterday", "newest"]
    await clock.advance(SETTLED)
    await swept(retention, clock)
    assert await names(ledger) == ["newest"]


async def test_a_daemon_goes_on_with_what_another_began_to_remove(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ended(ledger, "old", 2 * PORTION)
        await ended(ledger, "newest", 1)
        later = clock.now() + DAY
        assert await ledger.write(lambda db: forget(db, Bounds(before=later), later))
        assert await ledger.write(remove_portion)
        assert await names(ledger) == ["newest"]
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        assert (await rows(ledger))["jobs"] == PORTION + 1
        await swept(await keeping(ledger, clock), clock)
        assert await rows(ledger) == {"jobs": 1, "results": 1, "logs": 1, "attempts": 0, "removals": 0}


async def test_a_repair_brings_nothing_back_that_was_being_removed(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ended(ledger, "old", 2 * PORTION)
        await ended(ledger, "newest", 1)
        later = clock.now() + DAY
        await ledger.write(lambda db: forget(db, Bounds(before=later), later))
        await ledger.write(remove_portion)
    salvaged = salvage(tmp_path / FILE, tmp_path / "fresh", clock.now())
    assert (salvaged.saved["batches"], salvaged.saved["jobs"], salvaged.saved["results"]) == (1, 1, 1)


async def test_the_file_gets_smaller_again(tmp_path: Path, clock: HandMovedClock) -> None:
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ended(ledger, "large", 8 * PORTION)
        await ended(ledger, "newest", 1)
        await clock.advance(2 * DAY)
        before = await ledger.query(pages)
        await swept(await keeping(ledger, clock, remove_after="1d"), clock)
        assert await ledger.query(pages) < before / 2
    assert (tmp_path / FILE).stat().st_size < before / 2 * 4096


async def test_a_ledger_from_before_there_was_retention_gets_smaller_too(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as old:
        for number, script in enumerate(MIGRATIONS[:6], 1):
            old.executescript(f"BEGIN;{script};PRAGMA user_version = {number};COMMIT")
    await test_the_file_gets_smaller_again(tmp_path, clock)


def pages(db: sqlite3.Connection) -> int:
    found: int = db.execute("PRAGMA page_count").fetchone()[0]
    return found


async def test_requeueing_a_batch_that_is_removed_in_that_moment_says_so(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    await ended(ledger, "old")
    await ended(ledger, "newest")
    later = clock.now() + DAY
    requeued = asyncio.ensure_future(ledger.requeue_batch("old", [Status.COMPLETED]))
    await asyncio.gather(ledger.write(lambda db: forget(db, Bounds(before=later), later)))
    with pytest.raises(NotFoundError):
        await requeued


async def test_a_creation_that_comes_to_nothing_frees_no_ids_of_what_is_being_removed(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    await ended(ledger, "newest", 2 * PORTION)
    later = clock.now() + DAY
    staged = await ledger.write(lambda db: stage(db, spec("broken off"), clock.now()))
    assert await ledger.write(lambda db: forget(db, Bounds(before=later), later)) is None
    await ledger.write(lambda db: discard(db, staged))
    assert await names(ledger) == ["newest"]


async def test_ids_of_jobs_that_are_still_to_go_are_not_given_away(ledger: Ledger) -> None:
    await ledger.write(lambda db: db.execute("INSERT INTO removals VALUES (100, 200)"))
    await ended(ledger, "next")
    assert await ledger.query(lambda db: db.execute("SELECT min(id) FROM jobs").fetchone()[0]) == 200


async def test_a_file_that_cannot_be_shortened_is_given_up_on(tmp_path: Path, clock: HandMovedClock) -> None:
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as old:
        for number, script in enumerate(MIGRATIONS, 1):
            old.executescript(f"BEGIN;{script};PRAGMA user_version = {number};COMMIT")
        old.executescript(
            "CREATE TABLE much (x); INSERT INTO much VALUES (zeroblob(100000)); DROP TABLE much"
        )
        assert not shorten(old)
    async with AsyncExitStack() as stack:  # and tried anew at the next start
        ledger = await Ledger.open(tmp_path, clock, stack)
        assert await ledger.query(lambda db: db.execute("PRAGMA auto_vacuum").fetchone()[0]) == INCREMENTAL

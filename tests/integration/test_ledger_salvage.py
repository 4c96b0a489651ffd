"""What is saved from a damaged ledger: every row that can still be read, put together as one ledger again."""

import json
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from buttermilkd.errors import StorageError
from buttermilkd.jobs import Ending, Event, Outcome, Settlement, Status
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.integrity import FILE
from buttermilkd.ledger.pages import varint
from buttermilkd.ledger.salvage import Salvaged, salvage
from buttermilkd.ledger.schema import MIGRATIONS, VERSION
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import counters_agree, failed, numbered, spec, take

PAGE = 4096
BATCHES, JOBS = 4, 300
LONG = "x" * 10_000
"""More than a page: it lies on pages of its own."""


@pytest.fixture
async def path(tmp_path: Path, clock: HandMovedClock) -> AsyncIterator[Path]:
    """A ledger in which one batch has ended, one goes on, and two wait; its last commits are in its WAL."""
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        for number in range(BATCHES):
            await ledger.create(spec(f"b{number}", JOBS, priority=-number), numbered(JOBS), None)
        taken = await take(ledger, JOBS + 50)
        results = [
            Outcome(Ending.COMPLETED, result=json.dumps([n, LONG * (n % 50 == 0)])) for n in range(JOBS)
        ]
        ended = [Settlement(one, Event.COMPLETE, out) for one, out in zip(taken, results, strict=False)]
        await ledger.settle([*ended, failed(taken[JOBS])])
        await ledger.hold("other", 0)
        yield tmp_path / FILE


def damaged(path: Path, change: Callable[[bytearray], None], *, wal: bool = False) -> Path:
    """A copy, with something done to it; without ``wal`` all commits are in the ledger itself."""
    folder = path.parent / "damaged"
    folder.mkdir()
    copy = folder / FILE
    for suffix in ("", "-wal"):
        copy.with_name(FILE + suffix).write_bytes(path.with_name(FILE + suffix).read_bytes())
    if not wal:
        with closing(sqlite3.connect(copy)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(copy.read_bytes())
    change(content)
    copy.write_bytes(content)
    return copy


async def saved_from(copy: Path, clock: HandMovedClock, stack: AsyncExitStack) -> tuple[Salvaged, Ledger]:
    fresh = copy.parent / "fresh"
    fresh.mkdir()
    before = copy.read_bytes()
    told = salvage(copy, fresh / FILE, clock.now())
    assert copy.read_bytes() == before
    ledger = await Ledger.open(fresh, clock, stack)
    assert await counters_agree(ledger)
    await ledger.recover(10)
    assert await counters_agree(ledger)
    return told, ledger


async def count(ledger: Ledger, condition: str) -> int:
    found: int = await ledger.query(
        lambda db: db.execute(f"SELECT count(*) FROM jobs WHERE {condition}").fetchone()[0]
    )
    return found


def root(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        (page,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    return int(page)


def overwrite(pages: dict[int, bytes]) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        for number, page in pages.items():
            content[(number - 1) * PAGE : (number - 1) * PAGE + len(page)] = page

    return change


HARMLESS: dict[str, Callable[[Path], dict[int, bytes]]] = {
    "nothing": lambda _: {},
    "the header": lambda _: {1: b"\xff" * 100},
    "the whole first page": lambda _: {1: bytes(PAGE)},
    "the first page of jobs": lambda path: {root(path, "jobs"): os.urandom(PAGE)},
    "an index": lambda path: {root(path, "jobs_due"): bytes(PAGE)},
}


@pytest.mark.parametrize("what", HARMLESS)
async def test_all_rows_are_saved_where_only_the_way_to_them_is_damaged(
    what: str, path: Path, clock: HandMovedClock
) -> None:
    copy = damaged(path, overwrite(HARMLESS[what](path)))
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        assert (told.saved["batches"], told.saved["jobs"], told.saved["results"]) == (
            BATCHES,
            BATCHES * JOBS,
            JOBS,
        )
        assert told.reconciled.lost == 0
        rows = await ledger.query(lambda db: db.execute("SELECT result FROM results ORDER BY job").fetchall())
        assert [json.loads(row["result"]) for row in rows] == [[n, LONG * (n % 50 == 0)] for n in range(JOBS)]
        assert ledger.holds == {"other"}
        # 49 ran when it was damaged: they are pending again, as after a crash.
        assert await count(ledger, "status = 'pending' AND interruptions = 1") == 49
        assert await count(ledger, "status = 'pending'") == BATCHES * JOBS - JOBS - 1


@pytest.mark.parametrize(("over", "by"), [("batches", "jobs"), ("results", "jobs"), ("attempts", "results")])
async def test_a_page_that_was_written_to_the_place_of_another_costs_no_more_than_what_was_there(
    over: str, by: str, path: Path, clock: HandMovedClock
) -> None:
    def misdirect(content: bytearray) -> None:
        page = root(path, by) - 1
        overwrite({root(path, over): bytes(content[page * PAGE : (page + 1) * PAGE])})(content)

    copy = damaged(path, misdirect)
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        assert (told.saved["jobs"], told.saved["results"]) == (BATCHES * JOBS, JOBS)
        assert told.reconciled.lost == 0
        assert await count(ledger, "status = 'completed'") == JOBS


@pytest.mark.parametrize("what", ["nothing", "outbox"])
async def test_what_was_at_pubsub_is_published_anew_after_a_repair_whatever_was_readable(
    what: str, path: Path, clock: HandMovedClock
) -> None:
    """A retry that waited to be published is not missed by anybody where it is gone."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE batches SET queue = 'pubsub', published = 10 WHERE batch_id = 'b1'")
    lost = {root(path, "outbox"): bytes(PAGE)} if what == "outbox" else {}
    copy = damaged(path, overwrite(lost))
    async with AsyncExitStack() as stack:
        _, ledger = await saved_from(copy, clock, stack)
        assert (await ledger.recover(10)).is_incomplete


async def test_commits_that_are_in_the_wal_alone_are_saved(path: Path, clock: HandMovedClock) -> None:
    copy = damaged(path, lambda content: content.__setitem__(slice(0, 100), bytes(100)), wal=True)
    async with AsyncExitStack() as stack:
        told, _ = await saved_from(copy, clock, stack)
        assert (told.saved["jobs"], told.saved["results"]) == (BATCHES * JOBS, JOBS)


async def test_frames_of_the_wal_after_one_that_is_torn_are_not_believed(
    path: Path, clock: HandMovedClock
) -> None:
    copy = damaged(path, lambda _: None, wal=True)
    wal = copy.with_name(f"{FILE}-wal")
    content = bytearray(wal.read_bytes())
    content[-PAGE // 2 :] = os.urandom(PAGE // 2)
    wal.write_bytes(content)
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        assert told.saved["jobs"] == BATCHES * JOBS
        assert ledger.holds == frozenset()  # the pause was the last commit


async def test_jobs_that_cannot_be_read_count_as_failed_by_name_and_are_never_tried_again(
    path: Path, clock: HandMovedClock
) -> None:
    def cut(content: bytearray) -> None:
        """Destroy each page on which a job of the batch b2 begins its record."""
        for start in range(PAGE, len(content), PAGE):
            page = content[start : start + PAGE]
            if page[0] == 0x0D and b"record 150" in page and 600 < first_row(page) < 900:
                content[start : start + PAGE] = os.urandom(PAGE)

    copy = damaged(path, cut)
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        ((first, last),) = told.reconciled.lost_jobs["b2"]
        assert first <= 150 <= last
        lost = last - first + 1
        assert told.reconciled.lost == lost == BATCHES * JOBS - told.saved["jobs"]
        assert await count(ledger, "status = 'failed' AND cause = 'lost'") == lost
        assert await ledger.requeue_batch("b2", [Status.FAILED]) == 0
        rows = await ledger.query(lambda db: db.execute("SELECT kind, message FROM events").fetchall())
        told_of = {row["kind"]: row["message"] for row in rows}
        assert f"{lost} jobs could not be read" in told_of["batch.damaged"]
        assert "the damaged ledger was repaired" in told_of["ledger.repaired"]
        taken = await take(ledger, 10_000)
        assert len(taken) == BATCHES * JOBS - JOBS - 1 - lost
        assert all(one.job.record_id for one in taken)


def first_row(page: bytes | bytearray) -> int:
    """The id of the first row on a leaf."""
    cell = int.from_bytes(page[8:10], "big")
    _, at = varint(bytes(page), cell)
    return varint(bytes(page), at)[0]


async def test_jobs_whose_batch_cannot_be_read_keep_their_results_and_do_not_run(
    path: Path, clock: HandMovedClock
) -> None:
    copy = damaged(path, overwrite({root(path, "batches"): os.urandom(PAGE)}))
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        assert told.reconciled.nameless == {f"salvaged-{n}": JOBS for n in range(1, BATCHES + 1)}
        assert told.saved["results"] == JOBS
        assert await take(ledger, 10_000) == []
        assert await count(ledger, "status = 'completed'") == JOBS
        await ledger.create(spec("new", 3), numbered(3), None)
        assert len(await take(ledger, 10)) == 3
        assert await counters_agree(ledger)


async def test_a_file_that_was_cut_off_gives_what_is_before_the_cut(
    path: Path, clock: HandMovedClock
) -> None:
    copy = damaged(
        path, lambda content: content.__delitem__(slice(len(content) * 3 // 5 // PAGE * PAGE, None))
    )
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        assert 0 < told.saved["jobs"] < BATCHES * JOBS
        assert told.saved["jobs"] + told.reconciled.lost == BATCHES * JOBS
        assert await count(ledger, "true") == BATCHES * JOBS


@pytest.mark.parametrize(
    "content", [b"", b"x" * 50, b"SQLite format 3\0" + b"\xff" * 84, os.urandom(8 * PAGE)]
)
async def test_a_file_with_nothing_in_it_gives_an_empty_ledger(
    content: bytes, tmp_path: Path, clock: HandMovedClock
) -> None:
    (tmp_path / FILE).write_bytes(content)
    async with AsyncExitStack() as stack:
        told, _ = await saved_from(tmp_path / FILE, clock, stack)
        assert told.saved["jobs"] == told.saved["batches"] == 0


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_flipped_the_result_is_a_whole_ledger_that_a_daemon_can_work_with(
    seed: int, path: Path, clock: HandMovedClock
) -> None:
    chance = random.Random(seed)

    def flip(content: bytearray) -> None:
        for _ in range(40):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        for _ in range(seed):
            start = chance.randrange(len(content) // PAGE) * PAGE
            content[start : start + PAGE] = chance.randbytes(PAGE)

    copy = damaged(path, flip)
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(copy, clock, stack)
        assert told.saved["jobs"] > BATCHES * JOBS // 3
        while taken := await take(ledger, 10_000):
            await ledger.settle([Settlement(one, Event.COMPLETE, Outcome(Ending.COMPLETED)) for one in taken])
        assert await counters_agree(ledger)
        await ledger.create(spec("new", 3), numbered(3), None)


async def test_rows_of_an_older_version_are_saved_with_the_defaults_of_what_came_later(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    (tmp_path / "old").mkdir()
    old = tmp_path / "old" / FILE
    with closing(sqlite3.connect(old)) as db, db:
        db.executescript(f"{MIGRATIONS[0]};PRAGMA user_version = 1;")
        db.execute(
            """INSERT INTO batches (batch_id, flow, flow_version, variants, records, duplicates, priority, error_policy,
                                    owner_uid, first_job, next_job, total, pending, phase, created_at)
               VALUES ('b', 'f', '', '[{}]', 2, 0, 0, 'continue', 0, 1, 1, 2, 2, 'open', 1.0)"""
        )
        db.executemany("INSERT INTO jobs (batch, record_id, variant) VALUES (1, ?, 0)", [("r",), ("s",)])
    async with AsyncExitStack() as stack:
        told, ledger = await saved_from(old, clock, stack)
        assert (told.saved["batches"], told.saved["jobs"], told.reconciled.lost) == (1, 2, 0)
        assert [one.job.record_id for one in await take(ledger)] == ["r", "s"]


async def test_a_ledger_of_a_newer_version_is_not_repaired(path: Path, clock: HandMovedClock) -> None:
    copy = damaged(path, lambda content: content.__setitem__(slice(60, 64), (VERSION + 1).to_bytes(4, "big")))
    with pytest.raises(StorageError, match="newer version"):
        salvage(copy, copy.parent / "fresh.sqlite3", clock.now())

"""A ledger is checked at a start that no clean stop came before, and one that is damaged is refused with the mend."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from buttermilkd.errors import StorageError
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.integrity import COPY, FILE, MARK, Mark
from buttermilkd.ledger.schema import VERSION
from buttermilkd.maintenance import is_damaged
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import numbered, spec, take

PAGE = 4096
JOBS = 500


async def made(folder: Path, clock: HandMovedClock) -> Path:
    """A ledger with a batch, closed well."""
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(folder, clock, stack)
        await ledger.create(spec(records=JOBS), numbered(JOBS), None)
    return folder / FILE


async def opened_by(folder: Path, clock: HandMovedClock) -> int:
    """How many jobs it knows."""
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(folder, clock, stack)
        count: int = await ledger.query(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()[0])
    return count


def overwrite(path: Path, at: int, content: bytes) -> None:
    """Change bytes and nothing that tells of it, as a disk does."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def jobs_root(path: Path) -> int:
    """Where the first page of the jobs begins."""
    with closing(sqlite3.connect(path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'").fetchone()
    return (int(root) - 1) * PAGE


async def test_a_ledger_that_was_closed_well_has_a_mark_and_one_that_is_open_has_none(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    await made(tmp_path, clock)
    assert (tmp_path / MARK).exists()
    async with AsyncExitStack() as stack:
        await Ledger.open(tmp_path, clock, stack)
        assert not (tmp_path / MARK).exists()
    assert (tmp_path / MARK).exists()


async def test_a_start_after_a_clean_stop_reads_no_page_for_a_check(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    overwrite(path, jobs_root(path), b"\xff" * PAGE)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)  # it has not looked
        with pytest.raises(StorageError, match="malformed") as caught:
            await ledger.query(lambda db: db.execute("SELECT count(*), max(record_id) FROM jobs").fetchone())
        assert "doctor --repair" in (caught.value.hint or "")
    assert not (tmp_path / MARK).exists()  # what it has met makes the next start look
    with pytest.raises(StorageError, match="it is damaged"):
        await opened_by(tmp_path, clock)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a page overwritten": lambda path: overwrite(path, jobs_root(path), os.urandom(PAGE)),
    "a few bytes flipped": lambda path: overwrite(path, jobs_root(path) + 3, b"\xff\xff\xff"),
    "the header overwritten": lambda path: overwrite(path, 0, b"no database at all"),
    "the end cut off": lambda path: os.truncate(path, path.stat().st_size // 2 // PAGE * PAGE),
    "another file": lambda path: path.write_bytes(b"these are no pages" * 1000),
}


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_ledger_is_refused_after_a_crash_with_its_name_and_the_mend_and_left_alone(
    how: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    (tmp_path / MARK).unlink()  # as after a crash
    DAMAGES[how](path)
    content = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StorageError, match="it is damaged") as caught:
            await opened_by(tmp_path, clock)
        assert str(path) in str(caught.value)
        assert "buttermilkctl doctor --repair" in (caught.value.hint or "")
        assert "buttermilkctl restore" in (caught.value.hint or "")
    assert path.read_bytes() == content


STALE = bytes([0x0A, 0, 0, 0, 0, 0x10, 0, 0])
"""How the page of an index begins in which there is nothing."""


@pytest.mark.parametrize("index", ["batches_open", "jobs_due", "jobs_running"])
async def test_an_index_that_misses_something_after_a_crash_keeps_no_job_from_running(
    index: str, tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE jobs SET status = 'running' WHERE id = 1")
        db.execute("UPDATE jobs SET due = 1.0 WHERE id = 2")
        db.execute("UPDATE batches SET pending = pending - 1, running = 1, next_job = 3")
        (root,) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (index,)).fetchone()
    overwrite(path, (root - 1) * PAGE, STALE.ljust(PAGE, b"\0"))
    assert f"missing from index {index}" in (is_damaged(tmp_path) or "")
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        assert len((await ledger.recover(10)).interrupted) == 1
        assert len(await take(ledger, JOBS)) == JOBS
    assert is_damaged(tmp_path) is None


async def test_a_ledger_that_was_put_there_by_hand_is_checked_whatever_mark_lies_beside_it(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    content = bytearray(path.read_bytes())
    root = jobs_root(path)
    content[root : root + PAGE] = bytes(PAGE)
    path.write_bytes(content)
    with pytest.raises(StorageError, match="it is damaged"):
        await opened_by(tmp_path, clock)


async def test_what_is_left_of_a_ledger_is_not_taken_for_a_new_one(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    os.truncate(path, 0)
    with pytest.raises(StorageError, match="it is empty, and was not when it was closed"):
        await opened_by(tmp_path, clock)
    (tmp_path / MARK).unlink()
    wal = tmp_path / f"{FILE}-wal"
    wal.write_bytes(b"commits")
    with pytest.raises(StorageError, match=r"it is empty, but ledger\.sqlite3-wal beside it is not"):
        await opened_by(tmp_path, clock)
    path.unlink()
    with pytest.raises(StorageError, match="it is missing, but"):
        await opened_by(tmp_path, clock)
    assert wal.read_bytes() == b"commits"


async def test_a_ledger_that_was_moved_away_makes_room_for_a_new_one(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    path.rename(tmp_path / "elsewhere")
    assert await opened_by(tmp_path, clock) == 0


async def test_a_crash_before_the_first_page_was_written_leaves_nothing_that_is_damaged(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    (tmp_path / FILE).touch()
    (tmp_path / COPY).write_bytes(b"half a copy")
    assert await opened_by(tmp_path, clock) == 0
    assert not (tmp_path / COPY).exists()


async def test_one_of_a_newer_version_is_refused_before_its_tables_are_judged(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    path = await made(tmp_path, clock)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    overwrite(path, jobs_root(path), bytes(PAGE))
    with pytest.raises(StorageError, match=f"schema {VERSION + 1}, this one knows {VERSION}") as caught:
        await opened_by(tmp_path, clock)
    assert "restore" in (caught.value.hint or "")


async def test_the_check_gives_signs_that_it_gets_on(tmp_path: Path, clock: HandMovedClock) -> None:
    path = await made(tmp_path, clock)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            """WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 100000)
               INSERT INTO jobs (batch, record_id, variant) SELECT 1, 'r', 0 FROM n"""
        )

    async def signs() -> int:
        given: list[None] = []
        async with AsyncExitStack() as stack:
            await Ledger.open(tmp_path, clock, stack, worked=lambda: given.append(None))
        return len(given)

    assert await signs() > 1
    assert await signs() == 0  # it was closed well


async def test_nothing_is_said_to_be_well_that_could_not_be_written_at_the_end(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    """Commits that are still in the WAL beside a mark are no clean stop."""
    await made(tmp_path, clock)
    (tmp_path / f"{FILE}-wal").write_bytes(b"x" * 32)
    assert Mark(tmp_path).take() is False


async def test_what_a_crash_leaves_in_the_wal_alone_is_there_after_the_check_and_after_a_clean_stop(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    await made(tmp_path, clock)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ledger.record("test", "kept")
        crashed = tmp_path / "crashed"
        crashed.mkdir()
        for file in (FILE, f"{FILE}-wal"):
            (crashed / file).write_bytes((tmp_path / file).read_bytes())
    for _ in range(2):
        async with AsyncExitStack() as stack:
            ledger = await Ledger.open(crashed, clock, stack)
            rows = await ledger.query(lambda db: db.execute("SELECT kind FROM events").fetchall())
            assert [row["kind"] for row in rows][-1] == "test"

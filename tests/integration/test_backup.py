"""A copy of the ledger: as it was at one moment, whole, and no burden for whoever writes meanwhile."""

import asyncio
import sqlite3
import threading
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest

from buttermilkd.errors import ConflictError, NotFoundError, StorageError, UnavailableError
from buttermilkd.host.instance import sole_instance
from buttermilkd.ledger import Ledger, events
from buttermilkd.ledger.backup import PAGES, copy, copy_for_asker, snapshot
from buttermilkd.ledger.integrity import COPY, FILE
from buttermilkd.ledger.schema import VERSION
from buttermilkd.maintenance import back_up, repair, restore, verify
from buttermilkd.testing import HandMovedClock
from tests.integration.test_ledger import completed, numbered, spec, take

JOBS = 40_000
"""Over two mebibytes of them: more than one step."""


async def test_the_writer_commits_between_two_steps_of_a_copy_which_does_not_begin_anew(
    ledger: Ledger, tmp_path: Path
) -> None:
    await ledger.create(spec(records=JOBS), numbered(JOBS), None)
    loop, steps = asyncio.get_running_loop(), 0

    def commit(_: float) -> None:
        nonlocal steps
        steps += 1
        asyncio.run_coroutine_threadsafe(ledger.record("test", "meanwhile"), loop).result(10)

    def copied() -> int:
        with snapshot(tmp_path / FILE) as source:
            (pages,) = source.execute("PRAGMA page_count").fetchone()
            copy(source, tmp_path / "copy", sleep=commit)
        return int(pages)

    pages = await asyncio.to_thread(copied)
    assert 1 < steps <= pages // PAGES + 1
    with closing(sqlite3.connect(tmp_path / "copy")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("SELECT count(*) FROM jobs").fetchone() == (JOBS,)
        assert db.execute("SELECT count(*) FROM events WHERE kind = 'test'").fetchone() == (0,)
    assert sorted(path.name for path in tmp_path.glob("copy*")) == ["copy"]  # nothing lies beside it


async def test_a_copy_is_broken_off_at_its_next_step_and_leaves_nothing(
    ledger: Ledger, tmp_path: Path
) -> None:
    await ledger.create(spec(), numbered(3), None)
    stop = threading.Event()
    stop.set()
    with pytest.raises(UnavailableError, match="stopping"):
        await asyncio.to_thread(copy_for_asker, tmp_path, stop)
    assert not (tmp_path / COPY).exists()


async def test_one_copy_is_made_at_a_time(ledger: Ledger, tmp_path: Path) -> None:
    await ledger.create(spec(), numbered(3), None)
    (tmp_path / COPY).touch()
    with pytest.raises(ConflictError, match="another copy is being made"):
        copy_for_asker(tmp_path, threading.Event())
    assert (tmp_path / COPY).exists()


async def stored(folder: Path, clock: HandMovedClock) -> Path:
    """A state directory in which three jobs wait."""
    folder.mkdir(mode=0o750)
    async with AsyncExitStack() as stack:
        await (await Ledger.open(folder, clock, stack)).create(spec(), numbered(3), None)
    return folder


async def test_a_restored_ledger_says_what_it_knows_and_what_is_lost_and_keeps_the_other_one(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    state, backup = await stored(tmp_path / "state", clock), tmp_path / "backup"
    back_up(state, backup)
    clock.jump(60.0)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(state, clock, stack)
        await ledger.settle([completed(one) for one in await take(ledger, 2)])
        await ledger.create(spec("later"), numbered(3), None)
        latest = await ledger.query(events.last)
    knows, lost, kept = restore(state, backup)
    assert (knows.batches, knows.jobs, knows.unfinished) == (1, 3, 3)
    assert knows.at == clock.now() - 60.0
    assert lost is not None
    assert (lost.again, lost.unknown) == (2, ["later"])
    assert kept is not None
    assert kept.parent == state
    assert verify(kept).jobs == 6
    assert (state / FILE).stat().st_mode & 0o777 == 0o640
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(state, clock, stack)
        await ledger.record("test", "whoever has heard of the latest event hears of this one")
        assert await ledger.query(events.last) == latest + 1
        assert len(await take(ledger)) == 3


async def test_nothing_is_restored_over_a_ledger_that_a_daemon_works_with(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    state, backup = await stored(tmp_path / "state", clock), tmp_path / "backup"
    back_up(state, backup)
    before = (state / FILE).read_bytes()
    with sole_instance(state):
        for refused in (lambda: restore(state, backup), lambda: repair(state)):
            with pytest.raises(ConflictError, match=r"another buttermilkd \(pid \d+\) uses"):
                refused()
    assert (state / FILE).read_bytes() == before


async def test_what_is_no_whole_copy_is_not_restored(tmp_path: Path, clock: HandMovedClock) -> None:
    state, backup = await stored(tmp_path / "state", clock), tmp_path / "backup"
    before = (state / FILE).read_bytes()
    with pytest.raises(NotFoundError, match="there is no"):
        restore(state, backup)
    backup.write_bytes(b"something else" * 1000)
    with pytest.raises(StorageError, match="damaged"):
        restore(state, backup)
    backup.unlink()
    back_up(state, backup)
    whole = bytearray(backup.read_bytes())
    backup.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
    with pytest.raises(StorageError, match="damaged"):
        restore(state, backup)
    backup.write_bytes(whole[:60] + (VERSION + 1).to_bytes(4, "big") + whole[64:])
    with pytest.raises(StorageError, match="newer version"):
        restore(state, backup)
    backup.unlink()
    with closing(sqlite3.connect(backup)) as db:
        db.execute("CREATE TABLE words (word)")
    with pytest.raises(StorageError, match="no ledger of buttermilkd"):
        restore(state, backup)
    assert (state / FILE).read_bytes() == before


async def test_a_disk_that_has_no_room_for_a_copy_is_named_and_not_the_ledgers(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    state = await stored(tmp_path / "state", clock)
    with pytest.raises(StorageError, match="cannot write /dev/full") as caught:
        back_up(state, Path("/dev/full"))
    assert caught.value.hint == "choose another place, or make room"


async def test_a_damaged_ledger_can_be_replaced_by_a_copy_though_nothing_can_be_compared(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    state, backup = await stored(tmp_path / "state", clock), tmp_path / "backup"
    back_up(state, backup)
    (state / FILE).write_bytes(b"nothing that can be read" * 1000)
    _, lost, kept = restore(state, backup)
    assert lost is None
    assert kept is not None
    assert kept.read_bytes().startswith(b"nothing that can be read")
    assert verify(state / FILE).jobs == 3


async def test_a_repair_that_was_cut_short_is_begun_anew(tmp_path: Path, clock: HandMovedClock) -> None:
    state = await stored(tmp_path / "state", clock)
    for leftover in (f"{FILE}.new", f"{FILE}.new-wal", f"{FILE}.new-journal"):
        (state / leftover).write_bytes(b"half of it")
    first, kept = repair(state)
    assert first.saved["jobs"] == 3
    second, kept_again = repair(state)
    assert second.saved["jobs"] == 3
    assert kept is not None
    assert kept_again is not None
    assert kept != kept_again
    assert sorted(path.name for path in state.glob("*.new*")) == []

"""The thread that commits: groups, failures that stay alone, and what it does at the end."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from buttermilkd.errors import ConflictError, StorageError, UnavailableError
from buttermilkd.ledger.writer import Writer


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[Writer]:
    connection = sqlite3.connect(tmp_path / "db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE words (word TEXT UNIQUE)")
    writer = Writer(connection)
    writer.start()
    yield writer
    await writer.close()


def words(path: Path) -> list[str]:
    with sqlite3.connect(path / "db") as connection:
        found = [row[0] for row in connection.execute("SELECT word FROM words ORDER BY rowid")]
    connection.close()
    return found


def insert(word: str) -> Callable[[sqlite3.Connection], int]:
    return lambda db: db.execute("INSERT INTO words VALUES (?)", (word,)).rowcount


async def test_an_answer_comes_after_its_commit(writer: Writer, tmp_path: Path) -> None:
    answer = await writer.call(insert("one"))
    assert answer == 1
    assert words(tmp_path) == ["one"]


async def test_calls_that_wait_together_are_committed_together(writer: Writer, tmp_path: Path) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def block(_: sqlite3.Connection) -> None:
        entered.set()
        go_on.wait(10)

    first = writer.call(block)
    await asyncio.to_thread(entered.wait, 10)
    inserts = [writer.call(insert(str(n))) for n in range(3)]
    seen_from_outside = writer.call(lambda _: words(tmp_path))
    go_on.set()
    await asyncio.gather(first, *inserts)
    assert await seen_from_outside == []  # the fourth of the group still finds the others uncommitted
    assert words(tmp_path) == ["0", "1", "2"]


async def test_what_is_called_while_another_call_is_carried_out_is_in_its_commit(
    writer: Writer, tmp_path: Path
) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def insert_slowly(db: sqlite3.Connection) -> None:
        insert("first")(db)
        entered.set()
        go_on.wait(10)

    first = writer.call(insert_slowly)
    await asyncio.to_thread(entered.wait, 10)
    seen_from_outside = writer.call(lambda _: words(tmp_path))
    go_on.set()
    assert await seen_from_outside == []
    await first
    assert words(tmp_path) == ["first"]


async def test_where_no_commit_can_begin_the_call_fails(writer: Writer, tmp_path: Path) -> None:
    await writer.call(lambda db: db.execute("PRAGMA busy_timeout = 1"))
    with sqlite3.connect(tmp_path / "db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            await writer.call(insert("one"))
        other.execute("ROLLBACK")
    other.close()
    assert await writer.call(insert("two")) == 1


async def test_one_that_fails_is_rolled_back_alone(writer: Writer, tmp_path: Path) -> None:
    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO words VALUES ('half')")
        raise ConflictError("cannot go on")

    before = writer.call(insert("before"))
    failing = writer.call(half)
    after = writer.call(insert("after"))
    with pytest.raises(ConflictError, match="cannot go on"):
        await failing
    assert await before == await after == 1
    assert words(tmp_path) == ["before", "after"]


async def test_an_error_of_sqlite_says_what_mends_it(writer: Writer) -> None:
    with pytest.raises(StorageError, match="no such table"):
        await writer.call(lambda db: db.execute("SELECT * FROM no_words"))
    assert await writer.call(lambda db: db.in_transaction) is True


async def test_a_full_disk_fails_the_call_and_the_next_ones_work(writer: Writer, tmp_path: Path) -> None:
    def fill(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO words VALUES (?)", ("x" * 10_000_000,))

    await writer.call(lambda db: db.execute("PRAGMA max_page_count = 20"))
    with pytest.raises(StorageError, match="full") as caught:
        await writer.call(fill)
    assert "free some space" in (caught.value.hint or "")
    await writer.call(insert("small"))
    assert words(tmp_path) == ["small"]


async def test_a_call_whose_caller_was_cancelled_is_carried_out(writer: Writer, tmp_path: Path) -> None:
    call = writer.call(insert("kept"))
    call.cancel()
    await writer.call(lambda db: db.total_changes)
    assert words(tmp_path) == ["kept"]


async def test_closing_finishes_what_is_queued_and_refuses_what_comes_later(
    writer: Writer, tmp_path: Path
) -> None:
    calls = [writer.call(insert(str(n))) for n in range(50)]
    await writer.close()
    await writer.close()
    assert await asyncio.gather(*calls) == [1] * 50
    assert len(words(tmp_path)) == 50
    with pytest.raises(UnavailableError, match="closed"):
        await writer.call(lambda db: db.total_changes)

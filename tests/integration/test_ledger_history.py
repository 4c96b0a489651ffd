"""What became of the machine's time, as the ledger keeps it: whatever happens to the clock."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from buttermilkd.daemon.upkeep import write_history
from buttermilkd.idle.history import QUARTER, History, Slice
from buttermilkd.ledger import Ledger, history
from buttermilkd.ledger.history import KEPT_FOR, MOST_WRITES, Row
from buttermilkd.ledger.ledger import FILE
from buttermilkd.ledger.schema import migrate
from buttermilkd.testing import HandMovedClock
from tests.unit.idle_watch import Watch

NOW = 1_800_000_000 // QUARTER * QUARTER
YEAR = 365 * 86_400


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, "memory")
        yield connection


def idle(quarter: int, seconds: float = 60.0) -> Slice:
    return Slice(quarter, "idle", "idle", seconds)


def quarters(rows: list[Row]) -> list[int]:
    return [row[0] for row in rows]


async def test_slices_of_one_quarter_are_added_up(ledger: Ledger, clock: HandMovedClock) -> None:
    quarter = round(clock.now()) // QUARTER * QUARTER
    await ledger.add_history([Slice(quarter, "busy", "cpu", 10.0, 1.0, 1)])
    await ledger.add_history(
        [Slice(quarter, "busy", "cpu", 5.0, 2.0, 1), Slice(quarter, "idle", "idle", 3.0)]
    )
    assert await ledger.query(lambda db: history.between(db, 0, clock.now())) == [
        (quarter, "busy", "cpu", 15.0, 3.0, 2),
        (quarter, "idle", "idle", 3.0, 0.0, 0),
    ]


def test_two_weeks_of_minutes_are_kept_and_no_more(db: sqlite3.Connection) -> None:
    for minute in range(MOST_WRITES + 60):
        now = NOW + 60 * minute
        history.add(db, [idle(now // QUARTER * QUARTER)], now)
    found = quarters(history.between(db, 0, now))
    assert found[0] == NOW + 3600
    assert len(found) == KEPT_FOR // QUARTER


def test_a_clock_that_is_far_ahead_for_a_moment_forgets_nothing(db: sqlite3.Connection) -> None:
    history.add(db, [idle(NOW)], NOW)
    history.add(db, [idle(NOW + 10 * YEAR)], NOW + 10 * YEAR)
    history.add(db, [idle(NOW)], NOW)
    assert history.between(db, NOW - KEPT_FOR, NOW) == [(NOW, "idle", "idle", 120.0, 0.0, 0)]


def test_a_start_before_the_clock_is_right_forgets_nothing(db: sqlite3.Connection) -> None:
    history.add(db, [idle(NOW)], NOW)
    history.add(db, [idle(0)], 60.0)
    assert quarters(history.between(db, NOW - KEPT_FOR, NOW)) == [NOW]


def test_what_seems_to_lie_ahead_is_not_shown_and_not_kept_until_then(db: sqlite3.Connection) -> None:
    history.add(db, [idle(NOW), idle(NOW + 86_400), idle(NOW + YEAR)], NOW + 86_400)
    assert quarters(history.between(db, 0, NOW)) == [NOW]
    history.add(db, [idle(NOW)], NOW)
    assert quarters(history.between(db, 0, NOW + 86_400)) == [NOW]


def test_whatever_the_clock_does_the_table_is_bounded(db: sqlite3.Connection) -> None:
    for number in range(50):
        history.add(db, [idle(NOW + number * YEAR)], NOW + number * YEAR, most=10)
    assert len(history.between(db, 0, NOW + 50 * YEAR)) == 10


async def test_what_could_not_be_written_is_written_later(
    ledger: Ledger, clock: HandMovedClock, tmp_path: Path
) -> None:
    watch, time = Watch(), History(clock, lambda: False)
    watch.see()

    def look() -> None:
        time.note(watch.look(clock.monotonic()))

    look()
    await clock.advance(10)
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
        other.execute("ALTER TABLE idle_history RENAME TO hidden")
        await write_history(time, ledger)
        other.execute("ALTER TABLE hidden RENAME TO idle_history")
    await clock.advance(5)
    await write_history(time, ledger)
    rows = await ledger.query(lambda db: history.between(db, 0, clock.now()))
    assert sum(row[3] for row in rows) == 15.0

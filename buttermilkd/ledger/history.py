"""What became of the machine's time: a bounded table that outlives the daemon."""

import sqlite3
from collections.abc import Iterable
from typing import Protocol

KEPT_FOR = 14 * 86_400
"""Seconds."""
MOST_WRITES = KEPT_FOR // 60
"""After so many a row is dropped: as many as two weeks have, at one a minute.

Writes are counted, and not the time, since the clock may be set: one that is years ahead for a minute would drop it all.
"""
_QUARTER = 900
"""Seconds of a slice; by so much a row may be ahead of a clock that was set back a little."""


class Slice(Protocol):
    """How much of a quarter of an hour, by its beginning in seconds since the epoch, went to one cause."""

    @property
    def quarter(self) -> int: ...
    @property
    def state(self) -> str: ...
    @property
    def cause(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def harvested(self) -> float: ...
    @property
    def suspensions(self) -> int: ...


Row = tuple[int, str, str, float, float, int]
"""The fields of a slice, in their order."""


def add(
    connection: sqlite3.Connection, slices: Iterable[Slice], now: float, *, most: int = MOST_WRITES
) -> None:
    """Add these to what is known of their quarters, and drop what was written more than ``most`` writes ago."""
    (number,) = connection.execute("SELECT coalesce(max(written), 0) + 1 FROM idle_history").fetchone()
    connection.executemany(
        """INSERT INTO idle_history VALUES (?, ?, ?, ?, ?, ?, ?)
           ON CONFLICT (quarter, state, cause) DO UPDATE SET seconds = seconds + excluded.seconds,
               harvested = harvested + excluded.harvested, suspensions = suspensions + excluded.suspensions,
               written = excluded.written""",
        [
            (one.quarter, one.state, one.cause, one.seconds, one.harvested, one.suspensions, number)
            for one in slices
        ],
    )
    connection.execute("DELETE FROM idle_history WHERE written <= ?", (number - most,))
    # What a clock that was ahead has left would soon be taken for what happens then. From further ahead it is
    # left alone: it may be the clock of now that is wrong, as after a start before the network is there.
    connection.execute(
        "DELETE FROM idle_history WHERE quarter > ? AND quarter <= ?", (now + _QUARTER, now + KEPT_FOR)
    )


def between(connection: sqlite3.Connection, since: float, now: float) -> list[Row]:
    """What is known of the time from ``since`` to ``now`` (seconds since the epoch), oldest first."""
    rows = connection.execute(
        """SELECT quarter, state, cause, seconds, harvested, suspensions FROM idle_history
           WHERE quarter >= ? AND quarter <= ? ORDER BY quarter, state, cause""",
        (since, now + _QUARTER),
    )
    return [tuple(row) for row in rows]

"""What became of the machine's time: a bounded table that outlives the daemon."""

import sqlite3
from collections.abc import Iterable
from typing import Protocol

KEPT_FOR = 14 * 86_400
"""Seconds."""


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


def add(connection: sqlite3.Connection, slices: Iterable[Slice], now: float) -> None:
    """Add these to what is known of their quarters, and drop what is too old."""
    connection.executemany(
        """INSERT INTO idle_history VALUES (?, ?, ?, ?, ?, ?)
           ON CONFLICT (quarter, state, cause) DO UPDATE SET seconds = seconds + excluded.seconds,
               harvested = harvested + excluded.harvested, suspensions = suspensions + excluded.suspensions""",
        [(one.quarter, one.state, one.cause, one.seconds, one.harvested, one.suspensions) for one in slices],
    )
    connection.execute("DELETE FROM idle_history WHERE quarter < ?", (now - KEPT_FOR,))


def since(connection: sqlite3.Connection, at: float) -> list[Row]:
    """What is known of the time from ``at`` on, oldest first."""
    rows = connection.execute(
        "SELECT * FROM idle_history WHERE quarter >= ? ORDER BY quarter, state, cause", (at,)
    )
    return [tuple(row) for row in rows]

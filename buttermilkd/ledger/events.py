"""What happened, in order: a bounded list that outlives the daemon."""

import sqlite3
from dataclasses import dataclass

from buttermilkd.jobs import Status, batch_status

BATCH_STARTED = "batch.started"
BATCH_ENDED = "batch.ended"
BATCH_REOPENED = "batch.reopened"
BATCH_REMOVED = "batch.removed"
_TURNS = (BATCH_STARTED, BATCH_ENDED, BATCH_REOPENED)

KEPT = 100_000
"""Events beyond this many are dropped, oldest first."""
_PRUNE_EVERY = 1024


def record(
    connection: sqlite3.Connection,
    at: float,
    kind: str,
    message: str,
    batch_id: str | None = None,
    job_id: str | None = None,
) -> None:
    """Add one event; ``at`` is in seconds since the epoch."""
    cursor = connection.execute(
        "INSERT INTO events (at, kind, batch_id, job_id, message) VALUES (?, ?, ?, ?, ?)",
        (at, kind, batch_id, job_id, message),
    )
    sequence = cursor.lastrowid or 0
    if sequence % _PRUNE_EVERY == 0:
        connection.execute("DELETE FROM events WHERE sequence <= ?", (sequence - KEPT,))


def last(connection: sqlite3.Connection) -> int:
    """The number of the latest event; 0 where there was none yet."""
    sequence: int = connection.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()[0]
    return sequence


@dataclass(frozen=True, slots=True)
class Turn:
    """A batch began, ended, or was opened again."""

    kind: str
    batch_id: str
    flow: str
    status: Status
    """What the batch is now."""
    message: str


def turns(connection: sqlite3.Connection, since: int) -> tuple[list[Turn], int]:
    """What happened to batches after this event, whoever brought it about, and the number of the latest event."""
    latest = last(connection)
    rows = connection.execute(
        """SELECT events.kind, events.message, batches.* FROM events
           JOIN batches ON batches.batch_id = events.batch_id
           WHERE events.sequence > ? AND events.sequence <= ? AND events.kind IN (?, ?, ?) ORDER BY events.sequence""",
        (since, latest, *_TURNS),
    ).fetchall()
    return [
        Turn(row["kind"], row["batch_id"], row["flow"], _status(row), row["message"]) for row in rows
    ], latest


def _status(batch: sqlite3.Row) -> Status:
    counts = {status: batch[status] for status in Status}
    started, cancelled = batch["started_at"] is not None, batch["cancelled_at"] is not None
    return batch_status(counts, started=started, cancelled=cancelled)

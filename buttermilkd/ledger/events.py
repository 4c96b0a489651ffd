"""What happened, in order: a bounded list that outlives the daemon."""

import sqlite3

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

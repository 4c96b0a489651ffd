"""Ended batches leave the ledger, by age and by count. Operations for the writer's thread.

A batch is gone at once, in the commit that forgets it; its jobs, results and logs follow in portions, so that nothing
else waits long for the writer. What is left to do is written down: a daemon that starts goes on with it.
"""

import sqlite3
from dataclasses import dataclass

from buttermilkd.ledger import events
from buttermilkd.plurals import count

PORTION = 250
"""Jobs that are removed in one go: some milliseconds, with their results and logs."""
PAGES = 256
"""Pages, of 4 KiB each, that the file is shortened by in one go."""
SHARED_FOR = 8 * 86_400.0
"""Seconds for which a batch that other hosts know is kept after its end: Pub/Sub may deliver its messages for seven days."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may be removed: batches that ended before ``before``, and all but the ``most`` that ended last."""

    before: float | None = None
    """Seconds since the epoch."""
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A batch that was removed."""

    batch_id: str
    flow: str
    jobs: int


# A failed job is a dead letter until somebody requeues or drops it. The newest batch's row stays: by it the next one
# gets its number and the ids of its jobs, and no id may be used twice; one that is being written may yet come to nothing.
_NEXT = """
    SELECT key, batch_id, flow, total, first_job, span FROM batches INDEXED BY batches_ended
    WHERE phase = 'ended' AND (ended_at < :before OR (ended_at, key) < (:most_ended_at, :most_key))
      AND (queue = 'local' OR ended_at < :shared_before)
      AND key <> (SELECT max(key) FROM batches WHERE phase <> 'staged')
      AND NOT EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_failed
                      WHERE jobs.batch = batches.key AND jobs.status = 'failed' AND jobs.dropped_at IS NULL)
    ORDER BY ended_at, key LIMIT 1
"""


def forget(connection: sqlite3.Connection, bounds: Bounds, now: float) -> Gone | None:
    """Forget the batch that ended first of those that may go; None where none may."""
    chosen = {"before": bounds.before or 0.0, "shared_before": now - SHARED_FOR}
    row = connection.execute(_NEXT, chosen | _last_kept(connection, bounds.most)).fetchone()
    if row is None:
        return None
    connection.execute("DELETE FROM batches WHERE key = ?", (row["key"],))
    connection.execute(
        "INSERT INTO removals VALUES (?, ?)", (row["first_job"], row["first_job"] + row["span"])
    )
    gone = Gone(row["batch_id"], row["flow"], row["total"])
    events.record(
        connection, now, events.BATCH_REMOVED, f"{count(gone.jobs, 'job')} of {gone.flow}", gone.batch_id
    )
    return gone


def _last_kept(connection: sqlite3.Connection, most: int | None) -> dict[str, float]:
    """The last of the ``most`` batches that ended last: those that ended before it are too many."""
    row = None
    if most is not None:
        row = connection.execute(
            """SELECT ended_at, key FROM batches INDEXED BY batches_ended WHERE phase = 'ended'
               ORDER BY ended_at DESC, key DESC LIMIT 1 OFFSET ?""",
            (most - 1,),
        ).fetchone()
    return {"most_ended_at": row["ended_at"] if row else 0.0, "most_key": row["key"] if row else 0}


def remove_portion(connection: sqlite3.Connection) -> bool:
    """Remove some jobs of forgotten batches; whether there were any."""
    row = connection.execute("SELECT start, stop FROM removals ORDER BY start LIMIT 1").fetchone()
    if row is None:
        return False
    chosen = {"start": row["start"], "stop": row["stop"], "portion": PORTION}
    last = connection.execute(
        """SELECT max(id) FROM (SELECT id FROM jobs WHERE id >= :start AND id < :stop ORDER BY id LIMIT :portion)""",
        chosen,
    ).fetchone()[0]
    if last is None:
        connection.execute("DELETE FROM removals WHERE start = ?", (row["start"],))
        return True
    for table, key in (("results", "job"), ("logs", "job"), ("attempts", "job"), ("jobs", "id")):
        connection.execute(f"DELETE FROM {table} WHERE {key} >= ? AND {key} <= ?", (row["start"], last))
    connection.execute("UPDATE removals SET start = ? WHERE start = ?", (last + 1, row["start"]))
    return True


def shorten(connection: sqlite3.Connection) -> bool:
    """Give some unused pages back to the file system; whether there were any that could be given."""
    unused = _unused(connection)
    if unused:
        # Each row that it yields is a page that was given back: a statement that is not read to its end gives back one.
        connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
    return _unused(connection) < unused


def _unused(connection: sqlite3.Connection) -> int:
    pages: int = connection.execute("PRAGMA freelist_count").fetchone()[0]
    return pages

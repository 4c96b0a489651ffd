"""What happens to whole batches and their jobs: cancelled, requeued, held. Operations for the writer's thread.

A batch of a million jobs is cancelled and requeued in portions, so that nothing else waits long for the writer; its ``phase``
makes the portions one: nothing is taken from a stopping one, and a daemon that starts finishes what another one began.
"""

import json
import sqlite3
from collections.abc import Sequence

from buttermilkd.errors import ConflictError, NotFoundError
from buttermilkd.jobs import TRANSITIONS, Event, Status
from buttermilkd.ledger import events
from buttermilkd.ledger.creation import PORTION
from buttermilkd.ledger.settling import FROM_THE_FIRST, close_finished, count
from buttermilkd.ledger.teller import Teller

LOST = "lost"
"""Why a job has failed of which a damaged ledger did not tell any more what it was: it never runs again."""


def begin_cancel(
    connection: sqlite3.Connection, batch_id: str, teller: Teller, now: float
) -> tuple[int, int]:
    """From this commit on nothing of the batch is taken; its key, and how many of its jobs have ended already.

    Raises:
        NotFoundError: there is no such batch.
        ConflictError: it has ended.
    """
    row = connection.execute(
        "SELECT key, phase, completed, failed, cancelled FROM batches WHERE batch_id = ?", (batch_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"cannot find batch {batch_id}")
    if row["phase"] == "ended":
        raise ConflictError(
            f"cannot cancel {batch_id}: it has ended "
            f"({row['completed']:,} completed, {row['failed']:,} failed, {row['cancelled']:,} cancelled)"
        )
    changed = connection.execute(
        f"""UPDATE batches SET phase = 'stopping', cancelled_at = ?, next_job = {FROM_THE_FIRST}
        WHERE key = ? AND cancelled_at IS NULL""",
        (now, row["key"]),
    ).rowcount
    if changed:
        events.record(connection, now, "batch.cancelled", "cancelled by its users", batch_id)
        teller.tell_batch(connection, row["key"], "cancelled", now)
    ended: int = row["completed"] + row["failed"] + row["cancelled"]
    return row["key"], ended


_CANCELLED = "the batch was cancelled"
_FAILED = "another job of the batch failed, and its error policy is stop"
_CANCEL = "UPDATE jobs SET status = 'cancelled', due = NULL, ended_at = :now, error = :why"
_CANCEL_DUE = f"""{_CANCEL} WHERE id IN
    (SELECT id FROM jobs WHERE batch = :batch AND due IS NOT NULL LIMIT :portion)"""
_CANCEL_FRESH = f"{_CANCEL} WHERE id >= :next AND id < :end AND status = 'pending'"
_FRESH = (
    "SELECT id FROM jobs WHERE id >= :next AND id < :end AND status = 'pending' ORDER BY id LIMIT :portion"
)


def cancel_portion(connection: sqlite3.Connection, batch: int, now: float) -> tuple[int, bool]:
    """Cancel up to ``PORTION`` waiting jobs of a stopping batch; how many, and whether any may be left."""
    row = connection.execute(
        "SELECT next_job, first_job, span, total, origin, cancelled_at, variants FROM batches WHERE key = ?",
        (batch,),
    ).fetchone()
    why = _FAILED if row["cancelled_at"] is None else _CANCELLED
    end = row["first_job"] + row["span"]
    chosen = {"now": now, "why": why, "batch": batch, "portion": PORTION, "next": row["next_job"], "end": end}
    changed = connection.execute(_CANCEL_DUE, chosen).rowcount
    left = changed == PORTION
    if not left:
        if row["origin"]:
            _write_down(connection, batch, row)
        ids = connection.execute(_FRESH, chosen).fetchall()
        left = len(ids) == PORTION
        stop = ids[-1]["id"] + 1 if left else end
        if ids:
            changed += connection.execute(_CANCEL_FRESH, chosen | {"end": stop}).rowcount
        connection.execute("UPDATE batches SET next_job = ? WHERE key = ?", (stop, batch))
    count(connection, batch, Status.PENDING, TRANSITIONS[Event.CANCEL][1], changed)
    close_finished(connection, [batch], now)
    return changed, left


def _write_down(connection: sqlite3.Connection, batch: int, row: sqlite3.Row) -> None:
    """Those of the next jobs of another host's batch that nobody has told of: they are counted as waiting."""
    start, end = row["next_job"], row["first_job"] + row["total"]
    width = max(1, len(json.loads(row["variants"])))
    connection.executemany(
        "INSERT OR IGNORE INTO jobs (id, batch, record_id, variant) VALUES (?, ?, '', ?)",
        ((job, batch, (job - row["first_job"]) % width) for job in range(start, min(start + PORTION, end))),
    )


def stopping(connection: sqlite3.Connection, *, cancelled: bool) -> list[int]:
    """Keys of batches whose waiting jobs are to be cancelled: after a failure, and with ``cancelled`` all."""
    condition = "" if cancelled else "AND cancelled_at IS NULL"
    rows = connection.execute(f"SELECT key FROM batches WHERE phase = 'stopping' {condition}")
    return [row["key"] for row in rows]


def cancel_job(connection: sqlite3.Connection, job: int, batch: int, teller: Teller, now: float) -> bool:
    """Cancel one job that waits, or runs on another host, which is told; whether there was one."""
    row = connection.execute(
        "SELECT status FROM jobs WHERE id = ? AND (status = 'pending' OR status = 'running' AND host IS NOT NULL)",
        (job,),
    ).fetchone()
    if row is None:
        return False
    connection.execute(
        "UPDATE jobs SET status = 'cancelled', due = NULL, ended_at = ?, error = 'cancelled' WHERE id = ?",
        (now, job),
    )
    count(connection, batch, Status(row["status"]), Status.CANCELLED, 1)
    close_finished(connection, [batch], now)
    teller.tell_jobs(connection, batch, [job], now)
    return True


def requeue(
    connection: sqlite3.Connection,
    batch: int,
    jobs: range,
    statuses: Sequence[Status],
    teller: Teller,
    now: float,
) -> tuple[int, range]:
    """Make up to ``PORTION`` ended jobs among these ids pending again, with all of their attempts.

    Returns how many, and the ids that are left to look at.

    Raises:
        NotFoundError: the batch was removed meanwhile.
        ConflictError: it is being cancelled.
    """
    row = connection.execute("SELECT batch_id, phase FROM batches WHERE key = ?", (batch,)).fetchone()
    if row is None:
        raise NotFoundError("cannot retry these jobs: their batch has just been removed")
    if row["phase"] == "stopping":
        raise ConflictError(
            f"cannot retry {row['batch_id']}: it is being cancelled", hint="wait until it has ended"
        )
    marks = ", ".join("?" * len(statuses))
    rows = connection.execute(
        f"""SELECT id, status FROM jobs WHERE id >= ? AND id < ? AND status IN ({marks})
            AND cause IS NOT '{LOST}' ORDER BY id LIMIT ?""",
        (jobs.start, jobs.stop, *statuses, PORTION),
    ).fetchall()
    if not rows:
        return 0, range(0)
    connection.executemany(
        """UPDATE jobs SET status = 'pending', due = 0, attempt = 0, deferrals = 0, interruptions = 0,
                           disturbances = 0, dropped_at = NULL,
                           started_at = NULL, ended_at = NULL, error = NULL, cause = NULL WHERE id = ?""",
        [(row["id"],) for row in rows],
    )
    connection.executemany("DELETE FROM logs WHERE job = ?", [(row["id"],) for row in rows])
    for status in statuses:
        count(connection, batch, status, Status.PENDING, sum(row["status"] == status for row in rows))
    _reopen(connection, batch, teller, now)
    ids = [row["id"] for row in rows]
    teller.ask_for(connection, batch, ids, now)
    teller.tell_jobs(connection, batch, ids, now)
    return len(rows), range(rows[-1]["id"] + 1, jobs.stop)


def _reopen(connection: sqlite3.Connection, batch: int, teller: Teller, now: float) -> None:
    reopened = connection.execute(
        """UPDATE batches SET phase = 'open', ended_at = NULL, cancelled_at = NULL
           WHERE key = ? AND phase = 'ended' RETURNING batch_id""",
        (batch,),
    ).fetchone()
    if reopened is not None:
        events.record(connection, now, events.BATCH_REOPENED, "jobs were requeued", reopened["batch_id"])
        teller.tell_batch(connection, batch, "reopened", now)


def hold(connection: sqlite3.Connection, flow: str, uid: int, now: float) -> None:
    """Pause a flow; ``*`` pauses all."""
    connection.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?)", (flow, now, uid))
    events.record(connection, now, "flow.paused", flow)


def release(connection: sqlite3.Connection, flow: str, now: float) -> None:
    """Resume a flow; of ``*``, everything, single flows too."""
    if flow == "*":
        connection.execute("DELETE FROM holds")
    else:
        connection.execute("DELETE FROM holds WHERE flow = ?", (flow,))
    events.record(connection, now, "flow.resumed", flow)


def holds(connection: sqlite3.Connection) -> list[str]:
    return [row["flow"] for row in connection.execute("SELECT flow FROM holds ORDER BY flow")]

"""Makes one ledger again of rows that were saved from a damaged one: each job in a batch, each batch with its counts."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from buttermilkd.jobs import Status
from buttermilkd.ledger import events, publication
from buttermilkd.ledger.batches import LOST
from buttermilkd.ledger.settling import close_finished
from buttermilkd.plurals import count

_WHY = "the ledger was damaged, and what this job was to do could not be read"
_NAMELESS = "the ledger was damaged, and what batch this job belonged to could not be read"
_OF_JOBS = (("results", "job"), ("attempts", "job"), ("logs", "job"), ("leases", "job"))


@dataclass(slots=True)
class Reconciled:
    """What could not be put together again."""

    lost_jobs: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Numbers of jobs, from and to, by their batches: they count as failed from now on."""
    nameless: dict[str, int] = field(default_factory=dict)
    """Batches that were made up for jobs whose own cannot be read, and how many they are."""

    @property
    def lost(self) -> int:
        return sum(last - first + 1 for spans in self.lost_jobs.values() for first, last in spans)


def reconcile(db: sqlite3.Connection, now: float) -> Reconciled:
    """Put the rows in order; within a transaction. Raises sqlite3.Error."""
    told = Reconciled()
    db.execute("UPDATE batches SET span = max(span, total)")
    # Jobs of batches that were being removed are on their way out, and no finds.
    for start, stop in db.execute("SELECT start, stop FROM removals").fetchall():
        db.execute("DELETE FROM jobs WHERE id >= ? AND id < ?", (start, stop))
    db.execute(
        """DELETE FROM jobs WHERE id IN (SELECT id FROM jobs JOIN batches ON batches.key = jobs.batch
                                         WHERE id < first_job OR id >= first_job + span)"""
    )
    for row in db.execute(
        """SELECT batch, min(id) AS first, max(id) AS last, count(*) AS jobs, max(own_flow) AS flow FROM jobs
           WHERE batch NOT IN (SELECT key FROM batches) GROUP BY batch"""
    ).fetchall():
        _make_up(db, row, told, now)
    for row in db.execute("SELECT * FROM batches WHERE origin IS NULL AND phase <> 'staged'").fetchall():
        _note_lost(db, row, told, now)
    for table, column in _OF_JOBS:
        db.execute(f"DELETE FROM {table} WHERE {column} NOT IN (SELECT id FROM jobs)")
    _count(db)
    _reopen(db, now)
    # What is gone without a trace cannot be counted; whoever has heard of ends drops what is asked for twice.
    publication.note_loss(db)
    events.record(db, now, "ledger.repaired", _summary(told))
    return told


def _make_up(db: sqlite3.Connection, row: sqlite3.Row, told: Reconciled, now: float) -> None:
    """A batch that has ended, in which jobs are that have none: nothing tells how the others would have to run."""
    name = f"salvaged-{row['batch']}"
    span = row["last"] - row["first"] + 1
    written = db.execute(
        """INSERT OR IGNORE INTO batches (key, batch_id, flow, flow_version, variants, records, duplicates, priority,
                                          error_policy, owner_uid, first_job, next_job, span, total, pending, phase,
                                          created_at, ended_at, origin)
           VALUES (?, ?, ?, '', '[{}]', ?, 0, 0, 'continue', 0, ?, ?, ?, ?, 0, 'ended', ?, ?, '')""",
        (
            *(row["batch"], name, row["flow"] or "unknown", row["jobs"], row["first"], row["last"] + 1),
            *(span, row["jobs"], now, now),
        ),
    ).rowcount
    if written:
        told.nameless[name] = row["jobs"]
        db.execute(
            f"""UPDATE jobs SET status = '{Status.CANCELLED}', due = NULL, ended_at = ?, error = ?, cause = ?
                WHERE batch = ? AND status IN ('{Status.PENDING}', '{Status.RUNNING}')""",
            (now, _NAMELESS, LOST, row["batch"]),
        )


def _note_lost(db: sqlite3.Connection, batch: sqlite3.Row, told: Reconciled, now: float) -> None:
    """Jobs of a batch that are not there any more have failed: a batch never seems to be complete without them."""
    first, end = batch["first_job"], batch["first_job"] + batch["total"]
    spans = list(_gaps(db, batch["key"], first, end))
    if not spans:
        return
    variants = max(1, len(json.loads(batch["variants"])))
    missing = (job for start, stop in spans for job in range(start, stop))
    db.executemany(
        f"""INSERT OR IGNORE INTO jobs (id, batch, record_id, variant, status, ended_at, error, cause, dropped_at)
            VALUES (?, ?, '', ?, '{Status.FAILED}', ?, ?, ?, ?)""",
        ((job, batch["key"], (job - first) % variants, now, _WHY, LOST, now) for job in missing),
    )
    numbers = [(start - first + 1, stop - first) for start, stop in spans]
    told.lost_jobs[batch["batch_id"]] = numbers
    jobs = sum(last - start + 1 for start, last in numbers)
    text = f"{count(jobs, 'job')} could not be read in the damaged ledger, and count as failed"
    events.record(db, now, "batch.damaged", text, batch["batch_id"])


def _gaps(db: sqlite3.Connection, batch: int, first: int, end: int) -> Iterator[tuple[int, int]]:
    """Ids of jobs that are missing: from, and up to but not with."""
    expected = first
    for (job,) in db.execute(
        "SELECT id FROM jobs WHERE id >= ? AND id < ? AND batch = ? ORDER BY id", (first, end, batch)
    ):
        if job > expected:
            yield expected, job
        expected = job + 1
    if expected < end:
        yield expected, end


def _count(db: sqlite3.Connection) -> None:
    """The counters of each batch, from its jobs. Of another host's batch, those that nobody has told of wait."""
    counted: dict[int, Counter[str]] = {}
    for key, status, jobs in db.execute("SELECT batch, status, count(*) FROM jobs GROUP BY batch, status"):
        counted.setdefault(key, Counter())[status] = jobs
    for row in db.execute("SELECT key, total, origin FROM batches WHERE phase <> 'staged'").fetchall():
        counts = counted.get(row["key"], Counter())
        total = counts.total() if row["origin"] == "" else row["total"]
        if row["origin"]:
            counts[Status.PENDING] += max(0, total - counts.total())
        columns = ", ".join(f"{status} = :{status}" for status in Status)
        values = {status.value: counts[status] for status in Status}
        db.execute(
            f"UPDATE batches SET {columns}, total = :total WHERE key = :key",
            values | {"key": row["key"], "total": total},
        )


def _reopen(db: sqlite3.Connection, now: float) -> None:
    """Batches go on where something is left to run, from the first job that waits, and have ended where not."""
    db.execute(
        "UPDATE batches SET phase = 'open', ended_at = NULL WHERE phase = 'ended' AND pending + running > 0"
    )
    db.execute(
        f"""UPDATE batches SET next_job = min(next_job, coalesce((
                SELECT min(id) FROM jobs WHERE id >= first_job AND id < first_job + total
                AND status = '{Status.PENDING}' AND due IS NULL), next_job))
            WHERE phase IN ('open', 'stopping')"""
    )
    keys = [row["key"] for row in db.execute("SELECT key FROM batches WHERE phase IN ('open', 'stopping')")]
    close_finished(db, keys, now)


def _summary(told: Reconciled) -> str:
    lost = f"{count(told.lost, 'job')} could not be read" if told.lost else "no job is missing"
    made_up = f"; jobs without a batch are in {', '.join(told.nameless)}" if told.nameless else ""
    return f"the damaged ledger was repaired: {lost}{made_up}"

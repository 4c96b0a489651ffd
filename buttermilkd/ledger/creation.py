"""How batches come to be. Operations for the writer's thread.

A batch of a million jobs is written in portions, so that nothing else waits long for the writer; its ``phase`` makes the
portions one: nobody sees a staged batch, and a daemon that starts removes what another one did not finish.
"""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from buttermilkd import plurals
from buttermilkd.errors import ConflictError
from buttermilkd.jobs import BatchSpec
from buttermilkd.ledger import events

PORTION = 10_000
"""Jobs written in one go."""
ANSWERS_KEPT = 86_400.0
"""Seconds for which an answer is kept …"""
LATEST_ANSWERS = 1_000
"""… and so many that were given last, by their order and not by any clock."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A batch that is being written."""

    key: int
    first_job: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request with an ``Idempotency-Key``, kept with what the request did."""

    key: str
    uid: int
    request: str
    status: int
    body: str


def stage(connection: sqlite3.Connection, spec: BatchSpec, now: float) -> Staged:
    """Reserve a batch id and a range of jobs.

    Raises:
        ConflictError: a batch with this id exists.
    """
    if connection.execute("SELECT 1 FROM batches WHERE batch_id = ?", (spec.batch_id,)).fetchone():
        raise ConflictError(
            f"cannot create {spec.batch_id}: a batch with this id exists",
            hint="leave the id out, or take another",
        )
    first_job = next_first_job(connection)
    cursor = connection.execute(
        """INSERT INTO batches (batch_id, flow, flow_version, variants, records, duplicates, seed, priority,
                                concurrency, error_policy, owner_uid, queue,
                                first_job, next_job, span, total, pending, created_at)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(
                spec.batch_id,
                spec.flow,
                spec.flow_version,
                json.dumps(list(spec.variants)),
            ),
            *(spec.records, spec.duplicates, spec.seed, spec.priority, spec.concurrency, spec.error_policy),
            *(spec.owner_uid, spec.queue, first_job, first_job, spec.total, spec.total, spec.total, now),
        ),
    )
    return Staged(cursor.lastrowid or 0, first_job)


def write(
    connection: sqlite3.Connection, spec: BatchSpec, records: Sequence[str], answer: Answer | None, now: float
) -> None:
    """Write a small batch whole, so that one commit makes it durable. Raises as ``stage`` does."""
    staged = stage(connection, spec, now)
    fill(connection, staged, 0, len(spec.variants), records)
    activate(connection, staged, answer, now)


def next_first_job(connection: sqlite3.Connection) -> int:
    """The first id that no batch's jobs have or may get."""
    row = connection.execute(
        """SELECT max(coalesce((SELECT first_job + span FROM batches ORDER BY key DESC LIMIT 1), 1),
                      coalesce((SELECT max(stop) FROM removals), 1)) AS next"""
    ).fetchone()
    return int(row["next"])


def fill(
    connection: sqlite3.Connection, staged: Staged, start: int, variants: int, records: Sequence[str]
) -> None:
    """Write the jobs of ``records``, the first of which is the batch's record number ``start``, from 0."""
    first = staged.first_job + start * variants
    if variants == 1:
        rows = ((first + n, staged.key, record, 0) for n, record in enumerate(records))
    else:
        rows = (
            (first + n * variants + variant, staged.key, record, variant)
            for n, record in enumerate(records)
            for variant in range(variants)
        )
    connection.executemany("INSERT INTO jobs (id, batch, record_id, variant) VALUES (?, ?, ?, ?)", rows)


def activate(connection: sqlite3.Connection, staged: Staged, answer: Answer | None, now: float) -> None:
    """Make a wholly written batch visible, and its jobs takeable."""
    row = connection.execute(
        "UPDATE batches SET phase = 'open', created_at = ? WHERE key = ? RETURNING batch_id, total, flow",
        (now, staged.key),
    ).fetchone()
    events.record(
        connection,
        now,
        "batch.created",
        f"{plurals.count(row['total'], 'job')} of {row['flow']}",
        row["batch_id"],
    )
    if answer is not None:
        keep_answer(connection, answer, now)


def keep_answer(connection: sqlite3.Connection, answer: Answer, now: float) -> None:
    """Keep an answer for a day, and the latest ones longer: a clock that jumps by days must forget none of them."""
    connection.execute(
        """DELETE FROM answers WHERE at < ? AND rowid <=
           (SELECT rowid FROM answers ORDER BY rowid DESC LIMIT 1 OFFSET ?)""",
        (now - ANSWERS_KEPT, LATEST_ANSWERS),
    )
    connection.execute(
        "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
        (answer.key, answer.uid, answer.request, answer.status, answer.body, now),
    )


def discard(connection: sqlite3.Connection, staged: Staged) -> bool:
    """Remove a portion of a batch that was never activated; whether anything is left of it."""
    removed = connection.execute(
        """DELETE FROM jobs WHERE id IN
           (SELECT jobs.id FROM jobs JOIN batches ON batches.key = jobs.batch AND phase = 'staged'
            WHERE jobs.id >= ? AND batch = ? ORDER BY jobs.id LIMIT ?)""",
        (staged.first_job, staged.key, PORTION),
    ).rowcount
    if removed == PORTION:
        return True
    connection.execute("DELETE FROM batches WHERE key = ? AND phase = 'staged'", (staged.key,))
    return False


def staged(connection: sqlite3.Connection) -> list[Staged]:
    """Batches that a dead daemon was writing."""
    rows = connection.execute("SELECT key, first_job FROM batches WHERE phase = 'staged'")
    return [Staged(row["key"], row["first_job"]) for row in rows]

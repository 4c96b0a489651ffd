"""What of batches that were created here is to be published: that they are there, their records, requests for their jobs.

Operations for the writer's thread.
"""

import json
import sqlite3

from buttermilkd.jobs import BatchSpec, Status
from buttermilkd.ledger import outbox
from buttermilkd.ledger.job_messages import request_for
from buttermilkd.ledger.outbox import MOST_BYTES, PORTION
from buttermilkd.messages import BatchCreated, BatchRecords, JobRequest
from buttermilkd.sharing import Portion, Topic

_OURS = "queue = 'pubsub' AND origin IS NULL"


def announcement(connection: sqlite3.Connection, host: str) -> Portion | None:
    """The next part of what other hosts do not know of a batch: that it is there, and some of its records."""
    row = connection.execute(
        f"""SELECT * FROM batches WHERE {_OURS} AND phase <> 'staged' AND announced < records
            ORDER BY key LIMIT 1"""
    ).fetchone()
    if row is None:
        return None
    start = max(0, row["announced"])
    records = _records(connection, row, start)
    common = {"batch_id": row["batch_id"], "host": host, "at": row["created_at"], "sequence": 0}
    # Each part says what it is a part of: hosts may hear of any of them first, or join late.
    created = BatchCreated(spec=_spec(row), created_at=row["created_at"], **common)
    told = BatchRecords(first=start, records=tuple(records), **common)
    return Portion(row["key"], [created, told], row["announced"], start + len(records))


def _spec(row: sqlite3.Row) -> BatchSpec:
    return BatchSpec(
        batch_id=row["batch_id"],
        flow=row["flow"],
        flow_version=row["flow_version"],
        variants=tuple(json.loads(row["variants"])),
        records=row["records"],
        owner_uid=row["owner_uid"],
        seed=row["seed"],
        priority=row["priority"],
        concurrency=row["concurrency"],
        error_policy=row["error_policy"],
        duplicates=row["duplicates"],
    )


def _records(connection: sqlite3.Connection, batch: sqlite3.Row, start: int) -> list[str]:
    """Ids of records from this one on, as many as make no message too large."""
    width = max(1, batch["total"] // max(1, batch["records"]))
    first = batch["first_job"]
    rows = connection.execute(
        """SELECT record_id FROM jobs WHERE id >= ? AND id < ? AND (id - ?) % ? = 0 ORDER BY id LIMIT ?""",
        (first + start * width, first + batch["total"], first, width, PORTION),
    )
    records: list[str] = []
    size = 0
    for row in rows:
        size += len(json.dumps(row["record_id"]))
        if records and size > MOST_BYTES:
            break
        records.append(row["record_id"])
    return records


def announced(connection: sqlite3.Connection, portion: Portion) -> None:
    """It was told."""
    connection.execute(
        "UPDATE batches SET announced = ? WHERE key = ? AND announced = ?",
        (portion.until, portion.batch, portion.start),
    )


def publication(connection: sqlite3.Connection, now: float) -> Portion | None:
    """Requests for the next jobs of a batch that are not at Pub/Sub yet and have not ended."""
    batch = connection.execute(
        f"""SELECT * FROM batches WHERE {_OURS} AND phase = 'open' AND published BETWEEN 0 AND total - 1 AND announced >= 0
            ORDER BY priority DESC, key LIMIT 1"""
    ).fetchone()
    if batch is None:
        return None
    first = batch["first_job"]
    start, end = first + batch["published"], first + batch["total"]
    rows = connection.execute(
        "SELECT * FROM jobs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (start, end, PORTION)
    ).fetchall()
    variants = json.loads(batch["variants"])
    requests: list[JobRequest] = []
    until = start
    size = 0
    for row in rows:
        request = request_for(batch, row, variants[row["variant"]], now)
        if not Status(row["status"]).ended:
            size += len(request.encode())
            if requests and size > MOST_BYTES:
                break
            requests.append(request)
        until = row["id"] + 1
    return Portion(batch["key"], requests, batch["published"], min(until, end) - first)


def published(connection: sqlite3.Connection, portion: Portion) -> None:
    """They are at Pub/Sub."""
    connection.execute(
        "UPDATE batches SET published = ? WHERE key = ? AND published = ?",
        (portion.until, portion.batch, portion.start),
    )


LATELY = 86_400.0
"""Seconds for which a batch that has ended is told of again."""


def announce_again(connection: sqlite3.Connection, now: float) -> None:
    """Have the batches told of anew that were created here, and go on or ended lately."""
    connection.execute(
        f"""UPDATE batches SET announced = -1
            WHERE {_OURS} AND phase <> 'staged' AND (ended_at IS NULL OR ended_at > ?)""",
        (now - LATELY,),
    )


def note_loss(connection: sqlite3.Connection) -> None:
    """Pub/Sub has lost everything, or this ledger what was done since.

    What is asked for from here and has not ended is to be published anew, but not yet. A daemon that starts does it,
    once it has asked the other hosts.

    Of batches of other hosts these are jobs that began here and wait again: their messages were this host's.
    """
    connection.execute(
        f"""UPDATE batches SET announced = -1, published = -1
            WHERE {_OURS} AND phase IN ('open', 'stopping') AND published > 0"""
    )
    connection.execute(
        """UPDATE batches SET published = -1
           WHERE queue = 'pubsub' AND origin IS NOT NULL AND phase IN ('open', 'stopping')"""
    )


def is_loss_noted(connection: sqlite3.Connection) -> bool:
    """Whether ``begin_again`` is due: after ``note_loss``, until it is done."""
    return bool(connection.execute("SELECT EXISTS (SELECT 1 FROM batches WHERE published < 0)").fetchone()[0])


def begin_again(connection: sqlite3.Connection, now: float) -> int:
    """Publish it now; how many batches that are."""
    for batch in connection.execute(
        "SELECT * FROM batches WHERE queue = 'pubsub' AND origin IS NOT NULL AND published < 0"
    ).fetchall():
        _ask_again(connection, batch, now)
    return connection.execute("UPDATE batches SET published = 0 WHERE published < 0").rowcount


def _ask_again(connection: sqlite3.Connection, batch: sqlite3.Row, now: float) -> None:
    """As they were asked for: whoever has heard of their ends drops these requests."""
    rows = connection.execute(
        """SELECT * FROM jobs WHERE id >= ? AND id < ? AND status = 'pending' AND host IS NULL AND sequence > 0
           ORDER BY id""",
        (batch["first_job"], batch["first_job"] + batch["span"]),
    ).fetchall()
    variants = json.loads(batch["variants"])
    for row in rows:
        parameters = variants[row["variant"]] if row["variant"] < len(variants) else {}
        outbox.put(connection, Topic.JOBS, request_for(batch, row, parameters, now))

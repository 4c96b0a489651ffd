"""What is to be published: written in the same commit as what it tells of, and removed once it is published.

Operations for the writer's thread. Messages of the same topic go out in the order in which they were put here.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence

from buttermilkd.jobs import BatchSpec, Status, job_id
from buttermilkd.messages import (
    BatchCreated,
    BatchEvent,
    BatchRecords,
    HostAsks,
    JobRequest,
    JobUpdate,
)
from buttermilkd.sharing import Portion, Post, Topic

PORTION = 1_000
"""Messages that Pub/Sub takes in one request."""
MOST_BYTES = 8_000_000
"""Of the messages of one request; Pub/Sub takes 10 MB."""


def put(
    connection: sqlite3.Connection,
    topic: Topic,
    message: JobRequest | JobUpdate | BatchEvent | HostAsks,
    ack_id: str | None = None,
) -> None:
    """Have this message published."""
    connection.execute(
        "INSERT INTO outbox (topic, data, attributes, ack_id) VALUES (?, ?, ?, ?)",
        (topic, message.encode(), json.dumps(message.attributes()), ack_id),
    )


def posts(connection: sqlite3.Connection, topic: Topic) -> list[Post]:
    """The next messages for this topic: as many as one request takes."""
    rows = connection.execute(
        "SELECT number, data, attributes, ack_id FROM outbox WHERE topic = ? ORDER BY number LIMIT ?",
        (topic, PORTION),
    )
    found: list[Post] = []
    size = 0
    for row in rows:
        size += len(row["data"]) + len(row["attributes"])
        if found and size > MOST_BYTES:
            break
        found.append(Post(row["number"], row["data"], json.loads(row["attributes"]), row["ack_id"]))
    return found


def remove(connection: sqlite3.Connection, posts: Sequence[Post]) -> None:
    """They are published."""
    connection.executemany("DELETE FROM outbox WHERE number = ?", [(post.number,) for post in posts])


# Batches that were created here


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
        put(connection, Topic.JOBS, request_for(batch, row, parameters, now))


# One job


def request_for(
    batch: sqlite3.Row, job: sqlite3.Row, parameters: Mapping[str, object], now: float
) -> JobRequest:
    """The message that asks for a job as the ledger has it."""
    waits = job["status"] == Status.PENDING
    number = job["id"] - batch["first_job"] + 1
    due = job["due"]
    return JobRequest(
        job_id=job_id(batch["batch_id"], number),
        batch_id=batch["batch_id"],
        number=number,
        flow=job["own_flow"] or batch["flow"],
        record_id=job["record_id"],
        parameters=parameters,
        attempt=job["attempt"] + 1 if waits else job["attempt"],
        deferrals=job["deferrals"],
        disturbances=job["disturbances"],
        interruptions=job["interruptions"],
        generation=job["generation"],
        not_before=due if due is not None and due > now else None,
        priority=batch["priority"],
        concurrency=batch["concurrency"],
        created_at=batch["created_at"],
        total=None if batch["origin"] == "" else batch["total"],
        foreign=batch["origin"] == "",
        batch_sequence=batch["sequence"],
    )


def _written(batch: sqlite3.Row) -> str | int | None:
    """The batch's id as its creator wrote it, where that is another one."""
    return None if batch["original_id"] is None else json.loads(batch["original_id"])


LARGEST_RESULT = 4_000_000
"""Bytes; a larger one is only to be had from the host that has it."""
LARGEST_ERROR = 100_000


def _bounded(text: str | None) -> str | None:
    """Written as JSON, one character may take six bytes, and a quotation mark two."""
    return text if text is None or len(json.dumps(text)) <= LARGEST_RESULT else None


def update_for(
    batch: sqlite3.Row, job: sqlite3.Row, parameters: Mapping[str, object], host: str
) -> JobUpdate:
    """The message that tells of a job as the ledger has it, on this host."""
    number = job["id"] - batch["first_job"] + 1
    return JobUpdate(
        job_id=job_id(batch["batch_id"], number),
        batch_id=batch["batch_id"],
        original_batch_id=_written(batch),
        record_id=job["record_id"],
        flow=job["own_flow"] or batch["flow"],
        status=Status(job["status"]),
        attempt=job["attempt"],
        generation=job["generation"],
        sequence=job["sequence"],
        batch_sequence=batch["sequence"],
        host=host,
        at=max(job["started_at"] or 0.0, job["ended_at"] or 0.0) or batch["created_at"],
        error=None if job["error"] is None else job["error"][:LARGEST_ERROR],
        cause=job["cause"],
        deferrals=job["deferrals"],
        disturbances=job["disturbances"],
        interruptions=job["interruptions"],
        due=job["due"] or None,
        started_at=job["started_at"],
        ended_at=job["ended_at"],
        parameters=parameters if batch["origin"] == "" else None,
        created_at=batch["created_at"] if batch["origin"] == "" else None,
        result=_bounded(job["result"]),
    )


def unpublished(connection: sqlite3.Connection) -> set[str]:
    """Messages, by their ack ids, whose successors are not published yet."""
    rows = connection.execute("SELECT ack_id FROM outbox WHERE ack_id IS NOT NULL")
    return {row["ack_id"] for row in rows}

"""What other hosts tell of jobs and batches, put into this ledger. Operations for the writer's thread.

Updates may come twice, late, and in any order: see ``JobUpdate.precedence``.
"""

import json
import logging
import sqlite3
from collections.abc import Iterable
from dataclasses import replace

from buttermilkd.jobs import Status, split_job_id
from buttermilkd.journal import about
from buttermilkd.ledger import events
from buttermilkd.ledger.book import Book
from buttermilkd.ledger.books import Books, close_ended
from buttermilkd.ledger.judging import precedence
from buttermilkd.ledger.rivals import has_records, is_alike, note_rival
from buttermilkd.ledger.settling import stop_if_asked
from buttermilkd.ledger.teller import Teller
from buttermilkd.messages import BatchCreated, BatchEvent, BatchRecords, HostAsks, JobUpdate
from buttermilkd.sharing import Merged, Update

logger = logging.getLogger(__name__)


def merge(
    connection: sqlite3.Connection,
    updates: Iterable[Update],
    teller: Teller,
    now: float,
) -> Merged:
    """Take over what is newer than what is known. What this host itself has told comes back as well."""
    books, merged = Books(connection, now), Merged()
    for update in updates:
        teller.sequence.seen(update.sequence, now)
        if update.host == teller.host:
            continue
        if isinstance(update, HostAsks):
            merged.is_asked = True
        elif isinstance(update, JobUpdate):
            _merge_job(connection, books, update, merged, now)
        else:
            # Rows of the batch are changed as a whole: what was counted so far must be in them.
            merged.ended += books.close()
            _merge_batch(connection, books, update, merged, now)
    merged.ended += books.close()
    teller.tell_ended(connection, merged.ended, now)
    return merged


# One job


def _merge_job(
    connection: sqlite3.Connection, books: Books, update: JobUpdate, merged: Merged, now: float
) -> None:
    parts = split_job_id(update.job_id or "")
    if parts is None:
        return  # one of the original's own, whose jobs nobody here can know
    book = books.batch(
        update.batch_id,
        update.flow or "",
        original_id=update.original_batch_id,
        created_at=update.started_at if update.created_at is None else update.created_at,
    )
    row = books.job(book, parts[1], update.record_id, update.parameters, update.flow)
    if row is None:
        told = about(update.job_id, host=update.host)
        logger.warning("%s tells of %s, which is another job here", update.host, update.job_id, extra=told)
        return
    known = Status(row["status"])
    if update.precedence <= precedence(row["generation"], known, row["sequence"]):
        return
    if known is Status.RUNNING and row["host"] is None:
        if update.generation == row["generation"] and not update.status.ended:
            return  # two hosts run it, and neither can know better
        merged.superseded.append(update.job_id or "")
    if update.status is Status.PENDING and book.is_cancelled(update.batch_sequence):
        # It was given back or is to be tried again by a host that had not heard of the cancel.
        update = replace(update, status=Status.CANCELLED, ended_at=now, error="the batch was cancelled")
    own_flow = None if update.flow in (None, book.row["flow"]) else update.flow
    _record(connection, row["id"], update, own_flow, now)
    if known is not update.status:
        books.move(book, known, update.status, update.started_at, update.ended_at)
    if update.status is Status.FAILED:
        stop_if_asked(connection, book.key)


def _record(
    connection: sqlite3.Connection, job: int, update: JobUpdate, own_flow: str | None, now: float
) -> None:
    ended = update.status.ended
    connection.execute(
        """UPDATE jobs SET status = :status, attempt = :attempt, generation = :generation, sequence = :sequence,
                           deferrals = :deferrals, disturbances = :disturbances, interruptions = :interruptions,
                           due = :due, host = :host, started_at = :started_at, ended_at = :ended_at,
                           error = :error, cause = :cause, heard_at = :now, own_flow = :flow,
                           dropped_at = iif(generation < :generation, NULL, dropped_at) WHERE id = :id""",
        {
            "id": job,
            "status": update.status,
            "attempt": update.attempt,
            "generation": update.generation,
            "sequence": update.sequence,
            "deferrals": update.deferrals,
            "disturbances": update.disturbances,
            "interruptions": update.interruptions,
            "due": update.due,
            "host": update.host,
            "started_at": update.started_at,
            "ended_at": (update.ended_at or now) if ended else update.ended_at,
            "error": update.error,
            "cause": update.cause,
            "flow": own_flow,
            "now": now,
        },
    )
    if update.result is not None:
        connection.execute("INSERT OR REPLACE INTO results VALUES (?, ?)", (job, update.result))


# A whole batch


def _merge_batch(
    connection: sqlite3.Connection, books: Books, event: BatchEvent, merged: Merged, now: float
) -> None:
    if isinstance(event, BatchCreated):
        _create(connection, books, event, merged, now)
    elif isinstance(event, BatchRecords):
        known = books.find(event.batch_id)
        if known is None or known.is_open_ended:
            merged.postponed.append(event)
        elif known.row["origin"] == event.host:
            _add_records(connection, known, event)
        elif not has_records(connection, known, event):
            note_rival(connection, known, event.host, now)
    elif event.event == "cancelled":
        _cancel(connection, books.batch(event.batch_id, ""), event, merged, now)
    elif event.event in _PLAIN:
        connection.execute(_PLAIN[event.event], {"batch": event.batch_id, "sequence": event.sequence})
    books.forget()


_PLAIN = {
    "stopped": """UPDATE batches SET phase = iif(phase = 'open', 'stopping', phase), next_job = first_job,
                  sequence = :sequence WHERE batch_id = :batch AND sequence < :sequence""",
    "reopened": """UPDATE batches SET cancelled_at = NULL, sequence = :sequence
                   WHERE batch_id = :batch AND sequence < :sequence""",
}


def _create(
    connection: sqlite3.Connection, books: Books, event: BatchCreated, merged: Merged, now: float
) -> None:
    book = books.batch(event.batch_id, event.spec.flow, created_at=event.created_at)
    if not book.is_open_ended:
        if book.row["origin"] != event.host and not is_alike(book, event):
            note_rival(connection, book, event.host, now)
    else:
        _fill_in(connection, book, event, now)
        events.record(connection, now, "batch.created", f"created on {event.host}", event.batch_id)
        if book.row["cancelled_at"] is not None:
            merged.cancelled.append(event.batch_id)


def _cancel(
    connection: sqlite3.Connection, book: Book, event: BatchEvent, merged: Merged, now: float
) -> None:
    changed = connection.execute(
        """UPDATE batches SET phase = 'stopping', cancelled_at = ?, sequence = ?, next_job = first_job
           WHERE key = ? AND phase IN ('open', 'stopping') AND sequence < ?""",
        (event.at, event.sequence, book.key, event.sequence),
    ).rowcount
    if changed:
        events.record(connection, now, "batch.cancelled", f"cancelled on {event.host}", event.batch_id)
        merged.cancelled.append(event.batch_id)


def _fill_in(connection: sqlite3.Connection, book: Book, event: BatchCreated, now: float) -> None:
    """Nobody had told of it, but of its jobs: now it is known what it is."""
    spec = event.spec
    connection.execute(
        """UPDATE batches SET origin = ?, flow = ?, flow_version = ?, variants = ?, records = ?, total = ?,
                  pending = max(0, ? - running - completed - failed - cancelled), duplicates = ?, seed = ?,
                  priority = ?, concurrency = ?, error_policy = ?, owner_uid = ?, created_at = ?,
                  phase = CASE WHEN cancelled_at IS NULL THEN 'open' ELSE 'stopping' END, ended_at = NULL,
                  next_job = first_job
           WHERE key = ?""",
        (
            *(event.host, spec.flow, spec.flow_version, json.dumps(list(spec.variants)), spec.records),
            *(spec.total, spec.total, spec.duplicates, spec.seed, spec.priority, spec.concurrency),
            *(spec.error_policy, spec.owner_uid, event.created_at, book.key),
        ),
    )
    connection.execute(
        "UPDATE jobs SET variant = (id - ?1) % ?2 WHERE id >= ?1 AND id < ?1 + ?3",
        (book.row["first_job"], max(1, len(spec.variants)), book.row["span"]),
    )
    close_ended(connection, [book.key], now)


def _add_records(connection: sqlite3.Connection, book: Book, event: BatchRecords) -> None:
    """Jobs that nobody has begun: so that they can be listed."""
    width = max(1, len(book.variants))
    first = book.job_row(1 + event.first * width)
    known = event.records[: max(0, book.row["records"] - event.first)]
    connection.executemany(
        """INSERT INTO jobs (id, batch, record_id, variant) VALUES (?, ?, ?, ?)
           ON CONFLICT (id) DO UPDATE SET record_id = excluded.record_id WHERE jobs.record_id = ''""",
        [
            (first + n * width + variant, book.key, record, variant)
            for n, record in enumerate(known)
            for variant in range(width)
        ],
    )

"""The rows of batches and jobs of which messages tell: made when they are first heard of, counted when they change.

For operations of the writer's thread; one ``Books`` serves one operation, and ``close`` ends it.
"""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from buttermilkd.jobs import Status
from buttermilkd.ledger import events
from buttermilkd.ledger.book import Book, is_other_work
from buttermilkd.ledger.creation import next_first_job
from buttermilkd.ledger.settling import close_finished

_JOB = "SELECT * FROM jobs WHERE id = ?"
SPAN = 10**12
"""Ids kept for the jobs of a batch that was not made here: their numbers may be any up to that."""


class Books:
    """Batches by their ids."""

    def __init__(self, connection: sqlite3.Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._books: dict[str, Book] = {}
        self.began = False
        """Some batch has begun."""

    def find(self, batch_id: str) -> Book | None:
        """The batch, where it is known."""
        book = self._books.get(batch_id)
        if book is None:
            row = self._connection.execute("SELECT * FROM batches WHERE batch_id = ?", (batch_id,)).fetchone()
            if row is None:
                return None
            book = self._books[batch_id] = Book(row, json.loads(row["variants"]))
        return book

    def batch(
        self,
        batch_id: str,
        flow: str,
        *,
        original_id: str | int | None = None,
        created_at: float | None = None,
        priority: int = 0,
        concurrency: int | None = None,
    ) -> Book:
        """The batch; where nobody has told of it yet, one without an end.

        ``original_id`` is the batch's id as its creator wrote it, where that is another one; it may be a number.
        """
        book = self.find(batch_id)
        if book is None:
            created = self._now if created_at is None else created_at
            kept = None if original_id is None else json.dumps(original_id)
            book = self._open(batch_id, flow, kept, (created, priority, concurrency))
        elif created_at is not None and book.is_open_ended:
            # Nobody has created it as a whole: it is as old as the first of its jobs.
            book.created_at = min(created_at, book.created_at or book.row["created_at"])
        return book

    def _open(
        self, batch_id: str, flow: str, original_id: str | None, particulars: tuple[float, int, int | None]
    ) -> Book:
        first = next_first_job(self._connection)
        self._connection.execute(
            """INSERT INTO batches (batch_id, flow, first_job, next_job, span, created_at, priority, concurrency,
                                    original_id, flow_version, variants, records, duplicates, error_policy, owner_uid,
                                    total, pending, phase, queue, origin)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, '', '[]', 0, 0, 'continue', 0, 0, 0, 'open', 'pubsub', '')""",
            (batch_id, flow, first, first, SPAN, *particulars, original_id),
        )
        row = self._connection.execute("SELECT * FROM batches WHERE batch_id = ?", (batch_id,)).fetchone()
        book = self._books[batch_id] = Book(row, [])
        return book

    def job(
        self, book: Book, number: int, record_id: str, parameters: Mapping[str, Any] | None, flow: str | None
    ) -> sqlite3.Row | None:
        """The job; made where it was not heard of before.

        None where the batch has no such job, or one with another record, flow or parameters under that number: two
        batches have one id then, or two of the original's jobs one hash.
        """
        if number > (book.row["span"] if book.is_open_ended else book.row["total"]):
            return None
        job = book.job_row(number)
        row: sqlite3.Row | None = self._connection.execute(_JOB, (job,)).fetchone()
        if is_other_work(book, row, number, parameters, flow):
            return None
        if row is not None and (row["record_id"] or not record_id):
            return row if not record_id or row["record_id"] == record_id else None
        if row is None:
            self.add(book, number, record_id, parameters, flow)
        else:
            self._connection.execute("UPDATE jobs SET record_id = ? WHERE id = ?", (record_id, job))
        written: sqlite3.Row = self._connection.execute(_JOB, (job,)).fetchone()
        return written

    def add(
        self,
        book: Book,
        number: int,
        record_id: str,
        parameters: Mapping[str, Any] | None,
        flow: str | None,
    ) -> None:
        """Write down a job that was not heard of before: it waits, unless its batch was cancelled."""
        book.touched = True
        # Jobs of a batch with a known number were counted, and are cancelled, with all others of it.
        cancelled_at = book.row["cancelled_at"] if book.is_open_ended else None
        status = Status.PENDING if cancelled_at is None else Status.CANCELLED
        self._connection.execute(
            """INSERT OR IGNORE INTO jobs (id, batch, record_id, variant, status, ended_at, own_flow)
               VALUES (?, ?, ?, ?, ?, ?, ?)""",
            (
                *(book.job_row(number), book.key, record_id, book.variant(number, parameters)),
                *(status, cancelled_at, None if flow == book.row["flow"] else flow),
            ),
        )
        if book.is_open_ended:
            book.found += 1
            book.moves[status] += 1

    def move(
        self,
        book: Book,
        source: Status,
        target: Status,
        began_at: float | None = None,
        ended_at: float | None = None,
    ) -> None:
        """A job of the batch has changed its status; the times are those of its latest attempt, if not now."""
        book.touched = True
        if target.ended:
            book.ended_at = max(book.ended_at, self._now if ended_at is None else min(ended_at, self._now))
        book.moves[source] -= 1
        book.moves[target] += 1
        if target is Status.PENDING or (target is Status.CANCELLED and began_at is None):
            return
        began = self._now if began_at is None else min(began_at, self._now)
        book.began_at = began if book.began_at is None else min(began, book.began_at)

    def close(self) -> list[str]:
        """Write the counters; end the batches that have nothing left to run, and return their ids."""
        for batch_id, book in self._books.items():
            if not book.touched:
                continue
            counts = ", ".join(f"{status} = {status} + :{status}" for status in Status)
            moves = {status.value: book.moves[status] for status in Status}
            self._connection.execute(
                f"UPDATE batches SET total = total + :found, {counts} WHERE key = :key",
                {"found": book.found, "key": book.key, **moves},
            )
            if book.variants_grew:
                self._connection.execute(
                    "UPDATE batches SET variants = ? WHERE key = ?", (json.dumps(book.variants), book.key)
                )
            self._keep_times(book, batch_id)
        keys = [book.key for book in self._books.values() if book.touched]
        self._books.clear()
        return close_ended(self._connection, keys, self._now)

    def forget(self) -> None:
        """Read rows anew: one was changed otherwise."""
        self._books.clear()

    def _keep_times(self, book: Book, batch_id: str) -> None:
        if book.created_at is not None:
            self._connection.execute(
                "UPDATE batches SET created_at = ? WHERE key = ?", (book.created_at, book.key)
            )
        if book.began_at is not None:
            self._connection.execute(
                """UPDATE batches SET started_at = max(created_at, min(coalesce(started_at, :began), :began))
                   WHERE key = :key AND (started_at IS NULL OR started_at > :began)""",
                {"began": book.began_at, "key": book.key},
            )
            # One that seemed to have ended had a job of which nobody had told.
            self._connection.execute(
                "UPDATE batches SET ended_at = max(ended_at, ?) WHERE key = ? AND phase = 'ended'",
                (book.ended_at, book.key),
            )
            if book.row["started_at"] is None:
                self.began = True
                events.record(
                    self._connection, self._now, events.BATCH_STARTED, "its first job begins", batch_id
                )
        reopened = self._connection.execute(
            """UPDATE batches SET phase = 'open', ended_at = NULL
               WHERE key = ? AND phase = 'ended' AND pending + running > 0 RETURNING key""",
            (book.key,),
        ).fetchone()
        if reopened is not None:
            events.record(
                self._connection, self._now, events.BATCH_REOPENED, "there are jobs again", batch_id
            )


def close_ended(connection: sqlite3.Connection, batches: Iterable[int], now: float) -> list[str]:
    """End those of these batches that have no job left to run, as of the end of their last job; return their ids."""
    ended = close_finished(connection, batches, now)
    for batch_id in ended:
        # It may be told long after it was.
        connection.execute(
            """UPDATE batches SET ended_at = min(ended_at, max(coalesce(started_at, created_at), coalesce(
                   (SELECT max(ended_at) FROM jobs WHERE id >= first_job AND id < first_job + span), ended_at)))
               WHERE batch_id = ?""",
            (batch_id,),
        )
    return ended

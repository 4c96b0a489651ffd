"""Tells the hosts that share a queue what happens to its jobs and batches, in the commit in which it happens."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from buttermilkd.jobs import Status
from buttermilkd.ledger import outbox, publication
from buttermilkd.ledger.job_messages import request_for, update_for
from buttermilkd.ledger.sequence import Sequence
from buttermilkd.messages import BatchEnded, BatchEvent
from buttermilkd.sharing import Topic

SHARED = "pubsub"
"""The queue of batches of which others are told."""


class Teller:
    """Of one host. Where a batch's jobs wait in the ledger alone, nothing is told."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.sequence = Sequence()

    def tell_jobs(self, connection: sqlite3.Connection, batch: int, jobs: Iterable[int], now: float) -> None:
        """What these jobs of a batch have become."""
        row = _batch(connection, batch)
        if row["queue"] != SHARED:
            return
        variants = json.loads(row["variants"])
        for job in jobs:
            connection.execute("UPDATE jobs SET sequence = ? WHERE id = ?", (self.sequence.next(now), job))
            found = _job(connection, job)
            update = update_for(row, found, _parameters(variants, found), self.host)
            outbox.put(connection, Topic.STATUS, update)

    def tell_known(self, connection: sqlite3.Connection, batch: int, job: int) -> None:
        """What is known of a job, wherever it ran: in this host's name, since no host listens to itself."""
        row = _batch(connection, batch)
        if row["queue"] == SHARED:
            found = _job(connection, job)
            parameters = _parameters(json.loads(row["variants"]), found)
            outbox.put(connection, Topic.STATUS, update_for(row, found, parameters, self.host))

    def tell_stop(self, connection: sqlite3.Connection, batch: int, now: float) -> None:
        """That a failure has stopped a batch, if its error policy says so."""
        row = _batch(connection, batch)
        if row["error_policy"] == "stop" and row["phase"] in ("stopping", "ended"):
            self.tell_batch(connection, batch, "stopped", now)

    def tell_ended(self, connection: sqlite3.Connection, batch_ids: Iterable[str], now: float) -> None:
        """That batches have ended which were created here."""
        for batch_id in batch_ids:
            row = connection.execute(
                "SELECT * FROM batches WHERE batch_id = ? AND queue = ? AND origin IS NULL",
                (batch_id, SHARED),
            ).fetchone()
            if row is not None:
                counts = {status: row[status] for status in Status}
                ended = BatchEnded(
                    batch_id=batch_id, host=self.host, at=now, sequence=self.sequence.next(now), counts=counts
                )
                outbox.put(connection, Topic.STATUS, ended)

    def tell_again(self, connection: sqlite3.Connection, after: int, now: float) -> tuple[int, int]:
        """Tell of the next jobs that were begun here, of batches that go on or ended lately.

        Returns how many, and the last one's id: begin with 0.
        """
        rows = connection.execute(
            """SELECT jobs.id, jobs.batch FROM jobs JOIN batches ON batches.key = jobs.batch
               WHERE jobs.id > ? AND jobs.host IS NULL AND jobs.sequence > 0 AND batches.queue = ?
                 AND (batches.ended_at IS NULL OR batches.ended_at > ?)
               ORDER BY jobs.id LIMIT ?""",
            (after, SHARED, now - publication.LATELY, outbox.PORTION),
        ).fetchall()
        for row in rows:
            self.tell_jobs(connection, row["batch"], [row["id"]], now)
        return len(rows), rows[-1]["id"] if rows else after

    def ask_for(
        self,
        connection: sqlite3.Connection,
        batch: int,
        jobs: Iterable[int],
        now: float,
        ack_id: str | None = None,
    ) -> None:
        """Have these jobs run, as they are now; the message ``ack_id`` is acknowledged once that is published."""
        row = _batch(connection, batch)
        if row["queue"] != SHARED:
            return
        variants = json.loads(row["variants"])
        for job in jobs:
            connection.execute("UPDATE jobs SET generation = generation + 1 WHERE id = ?", (job,))
            found = _job(connection, job)
            request = request_for(row, found, _parameters(variants, found), now)
            outbox.put(connection, Topic.JOBS, request, ack_id)

    def tell_batch(self, connection: sqlite3.Connection, batch: int, event: str, now: float) -> None:
        """What has happened to a batch as a whole: ``cancelled``, ``stopped`` or ``reopened``."""
        row = _batch(connection, batch)
        if row["queue"] != SHARED:
            return
        sequence = self.sequence.next(now)
        connection.execute("UPDATE batches SET sequence = ? WHERE key = ?", (sequence, batch))
        told = BatchEvent(event=event, batch_id=row["batch_id"], host=self.host, at=now, sequence=sequence)
        outbox.put(connection, Topic.STATUS, told)


def _batch(connection: sqlite3.Connection, key: int) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute("SELECT * FROM batches WHERE key = ?", (key,)).fetchone()
    return row


def _job(connection: sqlite3.Connection, job: int) -> sqlite3.Row:
    row: sqlite3.Row = connection.execute(
        "SELECT jobs.*, result FROM jobs LEFT JOIN results ON results.job = jobs.id WHERE id = ?", (job,)
    ).fetchone()
    return row


def _parameters(variants: list[Mapping[str, Any]], job: sqlite3.Row) -> Mapping[str, Any]:
    return variants[job["variant"]] if job["variant"] < len(variants) else {}

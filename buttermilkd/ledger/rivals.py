"""Different batches under one id, which two hosts have created before either heard of the other.

Neither can be told from the other by its jobs' ids: each host runs those of the one that it knows. Operations for the
writer's thread.
"""

import logging
import sqlite3

from buttermilkd.journal import about
from buttermilkd.ledger import events
from buttermilkd.ledger.book import Book
from buttermilkd.messages import BatchCreated, BatchRecords

logger = logging.getLogger(__name__)


def is_alike(book: Book, event: BatchCreated) -> bool:
    """Whether what another host says that it has created under the same id has the same jobs, but for their records."""
    spec = event.spec
    known = (book.row["flow"], book.row["records"], book.row["total"], book.variants)
    return known == (spec.flow, spec.records, spec.total, [dict(one) for one in spec.variants])


def has_records(connection: sqlite3.Connection, book: Book, event: BatchRecords) -> bool:
    """Whether these are the batch's records, as far as it is known here which those are."""
    if event.first + len(event.records) > book.row["records"]:
        return False
    width = max(1, len(book.variants))
    start = book.job_row(1 + event.first * width)
    rows = connection.execute(
        "SELECT id, record_id FROM jobs WHERE id >= ? AND id < ? AND record_id <> ''",
        (start, start + len(event.records) * width),
    )
    return all(row["record_id"] == event.records[(row["id"] - start) // width] for row in rows)


def note_rival(connection: sqlite3.Connection, book: Book, rival: str, now: float) -> None:
    """Say it once, and keep it: most of the jobs of both may never end."""
    noted = connection.execute(
        "UPDATE batches SET rival = ? WHERE key = ? AND rival IS NULL", (rival, book.key)
    ).rowcount
    if not noted:
        return
    batch_id = book.row["batch_id"]
    text = f"{book.row['origin'] or 'this host'} and {rival} have created different batches under this id"
    events.record(connection, now, "batch.clashed", text, batch_id)
    told = about(batch_id, host=rival)
    logger.error("batch %s: %s; cancel it, and create both again under other ids", batch_id, text, extra=told)

"""Dead letters: failed jobs that nobody has dropped yet, and messages that could not be read.

A job's letter is its own row and has its id; nothing is written when it fails. A message's letter is
``message-<n>`` and holds the message just as it came.
"""

import json
import re
import sqlite3
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from buttermilkd.errors import InvalidRequestError, NotFoundError
from buttermilkd.jobs import Status, split_job_id
from buttermilkd.ledger import events, queries
from buttermilkd.ledger.views import dead_job_view, dead_message_view
from buttermilkd.messages import DeadLettersView, DeadLetterView, DeadMessage

MOST_MESSAGES = 10_000
MOST_BYTES = 256 * 1024 * 1024
"""Of all messages together. Each is kept whole, and where there are more, the oldest are dropped with an event."""

_MESSAGE_ID = re.compile(r"(?:message-)?([1-9][0-9]{0,17})")
_SEE = "see `buttermilkctl dead list`"


# Messages, buried


def bury(
    connection: sqlite3.Connection,
    letter: DeadMessage,
    now: float,
    *,
    most: int = MOST_MESSAGES,
    most_bytes: int = MOST_BYTES,
) -> str:
    """Keep a message that could not be read; one that is delivered again is kept once. Returns its letter's id."""
    row = connection.execute(
        "SELECT number FROM dead_letters WHERE message_id = ?", (letter.message_id,)
    ).fetchone()
    if row is not None:
        return f"message-{row['number']}"
    # It may quote the message, and SQLite refuses halves of surrogate pairs.
    reason = letter.reason.encode("utf-8", "backslashreplace").decode()
    number = connection.execute(
        """INSERT INTO dead_letters (at, message_id, reason, size, data, attributes, published_at)
           VALUES (?, ?, ?, ?, ?, ?, ?)""",
        (
            *(now, letter.message_id, reason, len(letter.data), letter.data),
            *(json.dumps(dict(letter.attributes)), letter.published_at),
        ),
    ).lastrowid
    events.record(connection, now, "message.buried", f"message-{number}: {reason}")
    _make_room(connection, most, most_bytes, now)
    return f"message-{number}"


def _make_room(connection: sqlite3.Connection, most: int, most_bytes: int, now: float) -> None:
    """Drop the oldest messages while there are too many or too large ones, but never the last one."""
    while True:
        # Answered from the index on size alone, however large the messages are.
        kept, size = connection.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM dead_letters"
        ).fetchone()
        if (kept <= most and size <= most_bytes) or kept == 1:
            return
        (oldest,) = connection.execute("SELECT min(number) FROM dead_letters").fetchone()
        connection.execute("DELETE FROM dead_letters WHERE number = ?", (oldest,))
        text = f"message-{oldest}: the oldest of too many dead letters ({kept:,}, {size:,} bytes)"
        events.record(connection, now, "message.dropped", text)


# What there is


class Position(NamedTuple):
    """Where a letter stands in the list, which is read from the highest down."""

    at: float
    rank: int
    """0 for jobs, 1 for messages."""
    key: int

    @classmethod
    def parse(cls, cursor: str | None) -> Self:
        """Raises InvalidRequestError."""
        if cursor is None:
            return cls(float("inf"), 0, 0)
        try:
            at, rank, key = cursor.split("_")
            return cls(float(at), int(rank[:2]), int(key[:18]))
        except ValueError:
            raise InvalidRequestError(
                f"cannot go on from cursor {cursor[:40]!r}: it is none of this list"
            ) from None

    def __str__(self) -> str:
        return f"{self.at!r}_{self.rank}_{self.key}"


@dataclass(frozen=True, slots=True)
class DeadPage:
    """Which letters to list: at most ``limit``; of one flow, which leaves messages out, or of all."""

    limit: int
    cursor: str | None = None
    flow: str | None = None


# The order of the join is fixed, and the index named: else a table of millions of jobs might be sorted.
_JOBS = """
    SELECT jobs.*, batches.batch_id, batches.flow, batches.first_job, batches.variants
    FROM jobs INDEXED BY jobs_dead CROSS JOIN batches ON batches.key = jobs.batch
    WHERE jobs.status = 'failed' AND jobs.dropped_at IS NULL
      AND jobs.ended_at <= :at AND (jobs.ended_at, 0, jobs.id) < (:at, :rank, :key)
      AND (:flow IS NULL OR coalesce(jobs.own_flow, batches.flow) = :flow)
    ORDER BY jobs.ended_at DESC, jobs.id DESC LIMIT :limit
"""
_MESSAGES = """
    SELECT number, at, message_id, reason, size, published_at FROM dead_letters
    WHERE at <= :at AND (at, 1, number) < (:at, :rank, :key)
    ORDER BY at DESC, number DESC LIMIT :limit
"""


def letters(connection: sqlite3.Connection, page: DeadPage) -> DeadLettersView:
    """A page of jobs and messages together, the newest first.

    Raises:
        InvalidRequestError: the cursor is none of this list.
    """
    at, rank, key = Position.parse(page.cursor)
    wanted: dict[str, Any] = {"at": at, "rank": rank, "key": key, "flow": page.flow, "limit": page.limit + 1}
    found = [
        (Position(row["ended_at"], 0, row["id"]), dead_job_view(row))
        for row in connection.execute(_JOBS, wanted)
    ]
    if page.flow is None:
        found += [
            (Position(row["at"], 1, row["number"]), dead_message_view(row))
            for row in connection.execute(_MESSAGES, wanted)
        ]
    found.sort(key=lambda one: one[0], reverse=True)
    shown = found[: page.limit]
    following = str(shown[-1][0]) if len(found) > page.limit else None
    return DeadLettersView(dead=[view for _, view in shown], next=following)


def show(connection: sqlite3.Connection, letter_id: str) -> DeadLetterView:
    """One letter; of a message its attributes and bytes too. Raises NotFoundError."""
    number = message_number(letter_id)
    if number is None:
        return dead_job_view(_job_row(connection, letter_id))
    row = _message_row(connection, number)
    view = dead_message_view(row)
    view["attributes"] = json.loads(row["attributes"])
    view["data"] = b64encode(row["data"]).decode()
    return view


def message(connection: sqlite3.Connection, letter_id: str) -> DeadMessage:
    """A message just as it came. Raises NotFoundError."""
    row = _message_row(connection, message_number(letter_id) or 0)
    return DeadMessage(
        message_id=row["message_id"],
        reason=row["reason"],
        data=bytes(row["data"]),
        attributes=json.loads(row["attributes"]),
        published_at=row["published_at"],
    )


def resolve(connection: sqlite3.Connection, text: str) -> str:
    """The id of the one dead letter that ``text`` is, or is the unique beginning of.

    Of a message the number is enough.

    Raises:
        NotFoundError: there is none; where it was one, or a job that is none, the message says so.
        ConflictError: several jobs begin so.
    """
    number = message_number(text)
    if number is not None:
        return f"message-{_message_row(connection, number)['number']}"
    if "." not in text:
        raise NotFoundError(f"cannot find dead letter {text[:80]}", hint=_SEE)
    found = queries.resolve(connection, text)
    _job_row(connection, found)
    return found


def message_number(text: str) -> int | None:
    """The number of a message's letter; None where ``text`` is no id of one."""
    match = _MESSAGE_ID.fullmatch(text)
    return int(match[1]) if match else None


def _message_row(connection: sqlite3.Connection, number: int) -> sqlite3.Row:
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM dead_letters WHERE number = ?", (number,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"cannot find dead letter message-{number}", hint=_SEE)
    return row


def _job_row(connection: sqlite3.Connection, job_id: str) -> sqlite3.Row:
    row = queries.job_row(connection, job_id)
    if row["status"] != Status.FAILED:
        raise NotFoundError(f"cannot find dead letter {job_id}: that job is {row['status']}", hint=_SEE)
    if row["dropped_at"] is not None:
        raise NotFoundError(
            f"cannot find dead letter {job_id}: it was dropped",
            hint=f"to run it again all the same: buttermilkctl retry {job_id}",
        )
    return row


# Dropped


def drop(connection: sqlite3.Connection, letter_ids: Iterable[str], now: float) -> list[str]:
    """Drop these letters, given in full; which of them there still were."""
    ids = list(letter_ids)
    gone = {
        *drop_jobs(connection, [one for one in ids if message_number(one) is None], now),
        *drop_messages(connection, [one for one in ids if message_number(one) is not None], now),
    }
    return [one for one in ids if one in gone]


def drop_jobs(connection: sqlite3.Connection, job_ids: Sequence[str], now: float) -> list[str]:
    """List these failed jobs no longer; they stay failed in their batches. Returns which of them were listed."""
    dropped = []
    for job_id in job_ids:
        batch_id, number = split_job_id(job_id) or ("", 0)
        changed = connection.execute(
            """UPDATE jobs SET dropped_at = :now WHERE status = 'failed' AND dropped_at IS NULL AND id =
               (SELECT first_job + :number - 1 FROM batches WHERE batch_id = :batch AND :number <= span)""",
            {"now": now, "number": number, "batch": batch_id},
        ).rowcount
        if changed:
            events.record(connection, now, "job.dropped", "no longer a dead letter", batch_id, job_id)
            dropped.append(job_id)
    return dropped


def drop_messages(
    connection: sqlite3.Connection, letter_ids: Sequence[str], now: float, *, requeued: bool = False
) -> list[str]:
    """Delete these messages: dropped for good, or ``requeued``. Returns which of them there were."""
    gone = []
    for letter_id in letter_ids:
        row = connection.execute(
            "DELETE FROM dead_letters WHERE number = ? RETURNING reason", (message_number(letter_id),)
        ).fetchone()
        if row is not None:
            kind, text = ("requeued", "published again") if requeued else ("dropped", row["reason"])
            events.record(connection, now, f"message.{kind}", f"{letter_id}: {text}")
            gone.append(letter_id)
    return gone

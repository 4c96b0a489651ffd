"""What can be asked of the ledger. Every answer is a view of ``messages``; lists are paged by cursor."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from buttermilkd.errors import ConflictError, NotFoundError
from buttermilkd.jobs import JOB_ID, Status, split_job_id
from buttermilkd.ledger.views import batch_view, event_view, job_view, result_view
from buttermilkd.messages import BatchesView, BatchView, CauseView, EventView, JobsView, JobView, ResultView

CAUSES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Which batches to list: the active ones alone, unless ``all`` or a status of ended ones is asked for."""

    status: Status | None = None
    flow: str | None = None
    all: bool = False


def batch(connection: sqlite3.Connection, batch_id: str, now: float) -> BatchView:
    """One batch with the causes of its failures.

    Raises:
        NotFoundError: there is none with this id.
    """
    row = batch_row(connection, batch_id)
    view = batch_view(row, now)
    view["causes"] = _causes(connection, row["key"]) if row["failed"] else []
    return view


def named_batch(connection: sqlite3.Connection, text: str, now: float) -> BatchView:
    """The batch whose id is, or alone begins with, ``text``. Raises as ``resolve``."""
    try:
        return batch(connection, text, now)
    except NotFoundError:
        return batch(connection, resolve(connection, text), now)


def _causes(connection: sqlite3.Connection, batch: int) -> list[CauseView]:
    causes = connection.execute(
        """SELECT coalesce(cause, 'unknown') AS cause, count(*) AS jobs FROM jobs INDEXED BY jobs_failed
           WHERE batch = ? AND status = 'failed' GROUP BY cause ORDER BY jobs DESC LIMIT ?""",
        (batch, CAUSES_SHOWN),
    )
    return [CauseView(cause=cause["cause"], jobs=cause["jobs"]) for cause in causes]


def batch_row(connection: sqlite3.Connection, batch_id: str) -> sqlite3.Row:
    """Raises NotFoundError."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM batches WHERE batch_id = ? AND phase <> 'staged'", (batch_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"cannot find batch {batch_id}", hint="see `buttermilkctl list --all`")
    return row


def batches(
    connection: sqlite3.Connection, wanted: BatchFilter, limit: int, before: int | None, now: float
) -> BatchesView:
    """The newest first; ``before`` is the cursor of the page before."""
    conditions = ["phase <> 'staged'", "key < ?"]
    arguments: list[Any] = [before if before is not None else 2**62]
    if wanted.flow is not None:
        conditions.append("flow = ?")
        arguments.append(wanted.flow)
    if not wanted.all and (wanted.status is None or not wanted.status.ended):
        conditions.append("phase <> 'ended'")
    query = f"SELECT * FROM batches WHERE {' AND '.join(conditions)} ORDER BY key DESC"
    found: list[BatchView] = []
    key = 0
    for row in connection.execute(query, arguments):
        if len(found) == limit:
            return BatchesView(batches=found, next=str(key))
        view = batch_view(row, now)
        if wanted.status is None or view["status"] == wanted.status:
            found.append(view)
        key = row["key"]
    return BatchesView(batches=found, next=None)


_JOBS = """
    SELECT jobs.*, results.result, batches.batch_id, batches.flow, batches.first_job, batches.variants,
           batches.created_at
    FROM jobs JOIN batches ON batches.key = jobs.batch LEFT JOIN results ON results.job = jobs.id
"""


def job_row(connection: sqlite3.Connection, wanted: str) -> sqlite3.Row:
    """Raises NotFoundError."""
    parts = split_job_id(wanted)
    row: sqlite3.Row | None = None
    if parts is not None:
        row = connection.execute(
            f"""{_JOBS} WHERE batches.batch_id = ? AND batches.phase <> 'staged'
                AND jobs.id = batches.first_job + ? - 1 AND ? <= batches.span""",
            (parts[0], parts[1], parts[1]),
        ).fetchone()
    if row is None:
        raise NotFoundError(f"cannot find job {wanted}", hint="see `buttermilkctl jobs BATCH`")
    return row


def job(connection: sqlite3.Connection, wanted: str, host: str) -> JobView:
    """One job. Raises NotFoundError."""
    return job_view(job_row(connection, wanted), host)


@dataclass(frozen=True, slots=True)
class JobPage:
    """Which jobs of a batch to list: those with numbers above ``after``, at most ``limit``."""

    limit: int
    after: int = 0
    status: Status | None = None
    ended: bool = False
    """Only those that have ended."""


def _job_rows(connection: sqlite3.Connection, batch_id: str, page: JobPage) -> tuple[int, list[sqlite3.Row]]:
    row = batch_row(connection, batch_id)
    condition = "AND jobs.status = ?" if page.status is not None else ""
    if page.ended:
        condition += " AND jobs.status IN ('completed', 'failed', 'cancelled')"
    first = row["first_job"]
    arguments = [
        first + page.after,
        first + row["span"],
        *([page.status] if page.status else []),
        page.limit,
    ]
    query = f"{_JOBS} WHERE jobs.id >= ? AND jobs.id < ? {condition} ORDER BY jobs.id LIMIT ?"
    return first, connection.execute(query, arguments).fetchall()


def jobs(connection: sqlite3.Connection, batch_id: str, page: JobPage, host: str) -> JobsView:
    """A page of a batch's jobs, by number. Raises NotFoundError."""
    first, rows = _job_rows(connection, batch_id, page)
    following = str(rows[-1]["id"] - first + 1) if len(rows) == page.limit else None
    return JobsView(jobs=[job_view(row, host) for row in rows], next=following)


def results(
    connection: sqlite3.Connection, batch_id: str, page: JobPage
) -> tuple[list[ResultView], int | None]:
    """A page of what a batch's ended jobs left, and the number to go on after. Raises NotFoundError."""
    first, rows = _job_rows(connection, batch_id, page)
    found = [result_view(row) for row in rows]
    return found, rows[-1]["id"] - first + 1 if len(rows) == page.limit else None


def log(connection: sqlite3.Connection, wanted: str) -> bytes:
    """What the last attempt of a job printed that has been recorded. Raises NotFoundError."""
    job = job_row(connection, wanted)
    row = connection.execute(
        "SELECT text FROM logs WHERE job = ? AND attempt = ?", (job["id"], job["attempt"])
    ).fetchone()
    return bytes(row["text"]) if row else b""


def logs(connection: sqlite3.Connection, batch_id: str, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Numbers of a batch's ended jobs and what their last attempts printed, where they did. Raises NotFoundError."""
    row = batch_row(connection, batch_id)
    first = row["first_job"]
    rows = connection.execute(
        """SELECT job, text FROM logs JOIN jobs ON jobs.id = logs.job AND jobs.attempt = logs.attempt
           WHERE job >= ? AND job < ? AND status IN ('completed', 'failed', 'cancelled')
           ORDER BY job LIMIT ?""",
        (first + after, first + row["span"], limit),
    )
    return [(found["job"] - first + 1, bytes(found["text"])) for found in rows]


def events(connection: sqlite3.Connection, since: int, limit: int, batch_id: str | None) -> list[EventView]:
    """Events after ``since``, oldest first."""
    rows = connection.execute(
        """SELECT * FROM events WHERE sequence > ? AND (? IS NULL OR batch_id = ?)
           ORDER BY sequence LIMIT ?""",
        (since, batch_id, batch_id, limit),
    )
    return [event_view(row) for row in rows]


def matches(connection: sqlite3.Connection, prefix: str, limit: int = 20) -> list[str]:
    """Ids that begin with ``prefix``: batches, and jobs where it names one batch and a dot."""
    batch_part, dot, number = prefix.partition(".")
    end = batch_part + "\U0010ffff"
    rows = connection.execute(
        """SELECT batch_id, first_job, span FROM batches WHERE batch_id >= ? AND batch_id < ? AND phase <> 'staged'
           ORDER BY batch_id LIMIT ?""",
        (batch_part, end, limit),
    ).fetchall()
    if not dot:
        return [row["batch_id"] for row in rows]
    exact = [row for row in rows if row["batch_id"] == batch_part] or rows
    if len(exact) != 1:
        return [f"{row['batch_id']}.{number}" for row in exact]
    batch_id, first, span = exact[0]
    if JOB_ID.fullmatch(f"{batch_id}.{number}") and int(number) <= span:
        return [f"{batch_id}.{number}"]
    if number:
        return []
    ids = connection.execute(
        "SELECT id FROM jobs WHERE id >= ? AND id < ? ORDER BY id LIMIT ?", (first, first + span, limit)
    )
    return [f"{batch_id}.{row['id'] - first + 1}" for row in ids]


def resolve(connection: sqlite3.Connection, text: str) -> str:
    """The one batch or job id that ``text`` is, or is the unique beginning of; ``batch-`` may be left out.

    Raises:
        NotFoundError: none begins so.
        ConflictError: several do; the message lists them.
    """
    found = matches(connection, text) or matches(connection, f"batch-{text}")
    if text in found:
        return text
    if not found:
        what = "job" if "." in text else "batch"
        raise NotFoundError(f"cannot find {what} {text[:80]}", hint="see `buttermilkctl list --all`")
    if len(found) > 1:
        raise ConflictError(
            f"cannot tell which is meant by {text[:80]!r}: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}",  # noqa: PLR2004
            hint="give more of the id",
            matches=found,
        )
    return found[0]


def totals(connection: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """Pending and running jobs of each flow that has any; from the batches' counters, never by counting jobs."""
    rows = connection.execute(
        """SELECT flow, sum(pending) AS pending, sum(running) AS running FROM batches
           WHERE phase IN ('open', 'stopping') GROUP BY flow"""
    )
    return {row["flow"]: (row["pending"], row["running"]) for row in rows}


def answer(connection: sqlite3.Connection, key: str, uid: int) -> tuple[str, int, str] | None:
    """The kept answer to a request with this key: digest of the request, HTTP status, body."""
    row = connection.execute(
        "SELECT request, status, body FROM answers WHERE key = ? AND uid = ?", (key, uid)
    ).fetchone()
    return (row["request"], row["status"], row["body"]) if row else None

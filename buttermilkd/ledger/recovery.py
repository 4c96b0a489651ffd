"""What a daemon's sudden death left, or a clock that was set back, and what becomes of it."""

import sqlite3
from dataclasses import dataclass

from buttermilkd.jobs import Job, Status, job_id
from buttermilkd.ledger import events, publication
from buttermilkd.ledger.settling import close_finished, count, stop_if_asked
from buttermilkd.ledger.teller import Teller


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a daemon's sudden death left, and what became of it."""

    interrupted: list[Job]
    """Pending again."""
    failed: list[Job]
    """Interrupted too often."""
    given_back: list[str]
    """Messages, by their ack ids, that are to be given out again."""
    dropped: list[str]
    """Messages that are to be acknowledged."""
    is_incomplete: bool
    """What others have told may not be here, and what was published from here may be lost."""


def recover(connection: sqlite3.Connection, most: int, teller: Teller, now: float) -> Recovered:
    """Make the jobs pending again that a dead daemon had running; called before anything is taken.

    It costs them no attempt, but is counted: after ``most`` interruptions a job is taken for the
    cause, and fails.
    """
    cause = f"interrupted {most + 1} times"
    error = f"the daemon died {most + 1} times while this job was running (daemon.max_interruptions = {most})"
    rows = connection.execute(
        """SELECT jobs.id, jobs.batch, jobs.record_id, jobs.attempt, jobs.interruptions,
                  batches.batch_id, batches.flow, batches.first_job
           FROM jobs INDEXED BY jobs_running JOIN batches ON batches.key = jobs.batch
           WHERE jobs.status = 'running' AND jobs.host IS NULL"""
    ).fetchall()
    failed = [row for row in rows if row["interruptions"] >= most]
    again = [row for row in rows if row["interruptions"] < most]
    connection.executemany(
        """INSERT INTO attempts SELECT id, attempt, 'interrupted', started_at, ?, 'daemon died', NULL
           FROM jobs WHERE id = ?""",
        [(now, row["id"]) for row in rows],
    )
    connection.executemany(
        """UPDATE jobs SET status = 'pending', due = 0, attempt = attempt - 1, started_at = NULL,
                           interruptions = interruptions + 1 WHERE id = ?""",
        [(row["id"],) for row in again],
    )
    connection.executemany(
        """UPDATE jobs SET status = 'failed', ended_at = ?, interruptions = interruptions + 1, error = ?, cause = ?
           WHERE id = ?""",
        [(now, error, cause, row["id"]) for row in failed],
    )
    for group, target in ((again, Status.PENDING), (failed, Status.FAILED)):
        for row in group:
            count(connection, row["batch"], Status.RUNNING, target, 1)
    for row in failed:
        events.record(connection, now, "job.failed", error, row["batch_id"], _job(row).job_id)
        stop_if_asked(connection, row["batch"])
    close_finished(connection, {row["batch"] for row in rows}, now)
    for row in rows:
        teller.tell_jobs(connection, row["batch"], [row["id"]], now)
    return Recovered(
        [_job(row) for row in again],
        [_job(row) for row in failed],
        _leases(connection, again),
        _leases(connection, failed),
        publication.is_loss_noted(connection),
    )


def set_back(connection: sqlite3.Connection, now: float) -> None:
    """Have what waits for its time wait as long as it was to wait, though the clock was set back since.

    What was put off at a moment that is still to come is put off anew, from now on.
    """
    connection.execute(
        """UPDATE jobs SET due = :now + max(0, due - ended_at), ended_at = :now
           WHERE due IS NOT NULL AND due > :now AND ended_at > :now""",
        {"now": now},
    )


def _job(row: sqlite3.Row) -> Job:
    """The job as it ran; what it was given does not matter any more."""
    name = job_id(row["batch_id"], row["id"] - row["first_job"] + 1)
    return Job(name, row["batch_id"], row["flow"], row["record_id"], {}, row["attempt"])


def _leases(connection: sqlite3.Connection, jobs: list[sqlite3.Row]) -> list[str]:
    """The messages that the dead daemon held for these jobs; it holds them no longer."""
    found = []
    for job in jobs:
        row = connection.execute("DELETE FROM leases WHERE job = ? RETURNING ack_id", (job["id"],)).fetchone()
        if row is not None:
            found.append(row["ack_id"])
    return found

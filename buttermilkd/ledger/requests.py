"""Jobs that messages ask for: judged, recorded as running, settled. Operations for the writer's thread."""

import sqlite3
from collections.abc import Collection, Iterable, Sequence

from buttermilkd.jobs import TRANSITIONS, Event, Job, Settlement, Status, Taken
from buttermilkd.ledger import settling
from buttermilkd.ledger.batches import cancel_job
from buttermilkd.ledger.book import Book
from buttermilkd.ledger.books import Books
from buttermilkd.ledger.judging import Fate, Judgement, Known, judge
from buttermilkd.ledger.teller import Teller
from buttermilkd.messages import JobRequest
from buttermilkd.sharing import Arrival, Claimed, Lease, Settled


def claim(
    connection: sqlite3.Connection,
    arrivals: Iterable[Arrival],
    executing: Collection[str],
    teller: Teller,
    now: float,
) -> Claimed:
    """Judge each message, and record as running what may run. ``executing``: jobs that have not been settled here."""
    books, claimed = Books(connection, now), Claimed()
    changed: dict[int, list[int]] = {}
    for arrival in arrivals:
        request = arrival.request
        book = books.batch(
            request.batch_id,
            request.flow,
            original_id=request.original_batch_id,
            created_at=request.created_at,
            priority=request.priority,
            concurrency=request.concurrency,
        )
        row = books.job(book, request.number, request.record_id, request.parameters, request.flow)
        if row is None:
            claimed.clashing.append(arrival)
            continue
        known = _known(book, row, request, request.job_id in executing)
        judgement = judge(known, request.generation, request.not_before, now)
        if judgement.fate is Fate.TAKE:
            _take(connection, row["id"], book, arrival, now)
            books.move(book, Status(row["status"]), Status.RUNNING)
            claimed.taken.append(Taken(_job(request), Lease(row["id"], book.key, arrival.ack_id)))
        elif judgement.fate is Fate.CANCEL:
            connection.execute(_CANCEL, (now, request.generation, row["id"]))
            books.move(book, Status(row["status"]), Status.CANCELLED)
        elif judgement.fate is Fate.ADOPT:
            connection.execute("UPDATE leases SET ack_id = ? WHERE job = ?", (arrival.ack_id, row["id"]))
        elif judgement.fate is Fate.DROP and known.status.ended:
            # Whoever asks may have gone back to a backup: nobody else would tell it, and it would wait for ever.
            teller.tell_known(connection, book.key, row["id"])
        if judgement.fate in (Fate.TAKE, Fate.CANCEL):
            changed.setdefault(book.key, []).append(row["id"])
        _note(claimed, judgement, arrival)
    claimed.ended = books.close()
    claimed.began = books.began
    for batch, jobs in changed.items():
        teller.tell_jobs(connection, batch, jobs, now)
    teller.tell_ended(connection, claimed.ended, now)
    return claimed


_CANCEL = """UPDATE jobs SET status = 'cancelled', due = NULL, ended_at = ?, generation = ?,
                            error = 'the batch was cancelled' WHERE id = ?"""


def _known(book: Book, row: sqlite3.Row, request: JobRequest, is_executing: bool) -> Known:
    status = Status(row["status"])
    limit = book.row["concurrency"]
    return Known(
        status=status,
        generation=row["generation"],
        is_here=status is Status.RUNNING and row["host"] is None,
        is_executing=is_executing,
        heard_at=row["heard_at"],
        cancelled=book.is_cancelled(request.batch_sequence),
        room=None if limit is None else limit - book.running(),
        crowd=0.0 if limit is None else book.row["pending"] / limit * _spread(request.number),
    )


def _spread(number: int) -> float:
    """From a quarter to one, so that jobs that are put off together do not come back together."""
    return 0.25 + 0.75 * (number * _GOLDEN % 1.0)


_GOLDEN = 0.6180339887498949
"""Whose multiples lie evenly between 0 and 1, modulo 1."""


def _note(claimed: Claimed, judgement: Judgement, arrival: Arrival) -> None:
    if judgement.fate in (Fate.DROP, Fate.CANCEL):
        claimed.dropped.append(arrival.ack_id)
    elif judgement.fate is Fate.DEFER:
        claimed.deferred[arrival.ack_id] = judgement.delay
    elif judgement.fate is Fate.ADOPT:
        claimed.adopted[arrival.request.job_id] = arrival.ack_id


def _job(request: JobRequest) -> Job:
    return Job(
        job_id=request.job_id,
        batch_id=request.batch_id,
        flow=request.flow,
        record_id=request.record_id,
        parameters=request.parameters,
        attempt=request.attempt,
        deferrals=request.deferrals,
        disturbances=request.disturbances,
        interruptions=request.interruptions,
    )


def _take(connection: sqlite3.Connection, job: int, book: Book, arrival: Arrival, now: float) -> None:
    request = arrival.request
    connection.execute(
        """UPDATE jobs SET status = 'running', attempt = :attempt, generation = :generation,
                           deferrals = :deferrals, disturbances = :disturbances,
                           interruptions = max(interruptions, :interruptions), due = NULL, host = NULL,
                           started_at = :now, ended_at = NULL, error = NULL, cause = NULL, own_flow = :flow,
                           dropped_at = NULL
           WHERE id = :id""",
        {
            "id": job,
            "attempt": request.attempt,
            "generation": request.generation,
            "deferrals": request.deferrals,
            "disturbances": request.disturbances,
            "interruptions": request.interruptions,
            "flow": None if request.flow == book.row["flow"] else request.flow,
            "now": now,
        },
    )
    connection.execute("INSERT OR REPLACE INTO leases VALUES (?, ?)", (job, arrival.ack_id))


# Settled


def settle(
    connection: sqlite3.Connection, settlements: Sequence[Settlement], teller: Teller, now: float
) -> Settled:
    """Record what became of taken jobs, and put in the outbox what is to be told or asked for again."""
    settled = settling.settle(connection, settlements, now)
    by_batch: dict[int, list[int]] = {}
    for settlement in list(settled.recorded):
        lease = _lease(settlement)
        by_batch.setdefault(lease.batch, []).append(lease.id)
        if TRANSITIONS[settlement.event][1] is not Status.PENDING:
            continue
        if _is_stopping(connection, lease.batch):
            # Nobody is to run it any more: its message is dropped by whoever gets it.
            settled.recorded.remove(settlement)
            cancel_job(connection, lease.id, lease.batch, teller, now)
        elif settlement.event is Event.GIVE_BACK:
            connection.execute("UPDATE jobs SET due = NULL WHERE id = ?", (lease.id,))
        else:
            teller.ask_for(connection, lease.batch, [lease.id], now, lease.ack_id)
    for batch in {_lease(one).batch for one in settled.recorded if one.event is Event.FAIL}:
        teller.tell_stop(connection, batch, now)
    for batch, jobs in by_batch.items():
        teller.tell_jobs(connection, batch, jobs, now)
    teller.tell_ended(connection, settled.ended, now)
    connection.executemany(
        "DELETE FROM leases WHERE job = ? AND ack_id = ?",
        [(lease.id, lease.ack_id) for lease in map(_lease, settlements)],
    )
    return settled


def _is_stopping(connection: sqlite3.Connection, batch: int) -> bool:
    row = connection.execute("SELECT phase FROM batches WHERE key = ?", (batch,)).fetchone()
    return bool(row["phase"] == "stopping")


def _lease(settlement: Settlement) -> Lease:
    lease = settlement.taken.lease
    if not isinstance(lease, Lease):
        raise TypeError(f"cannot settle {settlement.taken.job.job_id}: it was not taken from this ledger")
    return lease

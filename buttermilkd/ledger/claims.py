"""What happens to single jobs: taken, settled, interrupted. Operations for the writer's thread."""

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from buttermilkd.jobs import (
    TRANSITIONS,
    Claim,
    Ending,
    Event,
    Job,
    Outcome,
    Settlement,
    Status,
    Taken,
    job_id,
)
from buttermilkd.ledger import events
from buttermilkd.sharing import Lease, Settled

_FIELDS = "id, record_id, variant, attempt, deferrals, disturbances, interruptions"
_TAKE = f"""
    UPDATE jobs SET status = '{TRANSITIONS[Event.TAKE][1]}', attempt = attempt + 1, due = NULL,
                    started_at = :now, ended_at = NULL
    WHERE id IN ({{chosen}}) RETURNING {_FIELDS}
"""
_TAKE_DUE = _TAKE.format(
    chosen="SELECT id FROM jobs WHERE batch = :batch AND due <= :now ORDER BY due, id LIMIT :limit"
)
_TAKE_FRESH = _TAKE.format(
    chosen="""SELECT id FROM jobs WHERE id >= :start AND id < :end AND status = 'pending' AND due IS NULL
              ORDER BY id LIMIT :limit"""
)
_OPEN = """
    SELECT key, batch_id, flow, variants, first_job, next_job, total, running, concurrency, started_at
    FROM batches WHERE phase = 'open' AND queue = 'local' AND pending > 0 ORDER BY priority DESC, key
"""


def take(
    connection: sqlite3.Connection, rooms: Mapping[str, int], limit: int, held: frozenset[str], now: float
) -> Claim:
    """Take up to ``limit`` jobs, of each flow at most its room, from the open batches in their order."""
    left = dict(rooms)
    taken: list[Taken] = []
    next_due: float | None = None
    began = False
    for batch in connection.execute(_OPEN).fetchall():
        if len(taken) >= limit:
            break
        flow = batch["flow"]
        room = min(left.get(flow, 0), limit - len(taken))
        if batch["concurrency"] is not None:
            room = min(room, batch["concurrency"] - batch["running"])
        if room <= 0 or flow in held:
            continue
        found = _take_from(connection, batch, room, now)
        taken += found
        began = began or (bool(found) and batch["started_at"] is None)
        left[flow] -= len(found)
        if len(found) < room:
            next_due = _earlier(next_due, _first_due(connection, batch["key"]))
    return Claim(taken, next_due, began)


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((at for at in (one, other) if at is not None), default=None)


def _first_due(connection: sqlite3.Connection, batch: int) -> float | None:
    row = connection.execute("SELECT min(due) FROM jobs WHERE batch = ? AND due IS NOT NULL", (batch,))
    due: float | None = row.fetchone()[0]
    return due


def _take_from(connection: sqlite3.Connection, batch: sqlite3.Row, room: int, now: float) -> list[Taken]:
    """Take from one batch: first what was given back or fell due, then what was never taken."""
    key, first = batch["key"], batch["first_job"]
    due = {"batch": key, "now": now, "limit": room}
    rows = connection.execute(_TAKE_DUE, due).fetchall()
    fresh: list[sqlite3.Row] = []
    if len(rows) < room:
        end = first + batch["total"]
        span = {"start": batch["next_job"], "end": end, "limit": room - len(rows), "now": now}
        fresh = connection.execute(_TAKE_FRESH, span).fetchall()
    if not rows and not fresh:
        return []
    # RETURNING gives no order of its own.
    rows.sort(key=lambda row: int(row["id"]))
    fresh.sort(key=lambda row: int(row["id"]))
    next_job = fresh[-1]["id"] + 1 if fresh else batch["next_job"]
    count = len(rows) + len(fresh)
    connection.execute(
        """UPDATE batches SET pending = pending - :count, running = running + :count, next_job = :next_job,
                              started_at = coalesce(started_at, :now) WHERE key = :key""",
        {"count": count, "next_job": next_job, "now": now, "key": key},
    )
    if batch["started_at"] is None:
        events.record(connection, now, events.BATCH_STARTED, "its first job begins", batch["batch_id"])
    variants = json.loads(batch["variants"])
    return [Taken(_job(batch, row, variants), Lease(row["id"], key)) for row in (*rows, *fresh)]


def _job(batch: sqlite3.Row, row: sqlite3.Row, variants: Sequence[Mapping[str, Any]]) -> Job:
    return Job(
        job_id=job_id(batch["batch_id"], row["id"] - batch["first_job"] + 1),
        batch_id=batch["batch_id"],
        flow=batch["flow"],
        record_id=row["record_id"],
        parameters=variants[row["variant"]],
        attempt=row["attempt"],
        deferrals=row["deferrals"],
        disturbances=row["disturbances"],
        interruptions=row["interruptions"],
    )


_ENDS = "max(:now, coalesce(started_at, :now))"
"""A clock that was set back ends nothing before its beginning."""
_RECORD = {
    Event.COMPLETE: f"status = 'completed', ended_at = {_ENDS}, error = NULL, cause = NULL",
    Event.FAIL: f"status = 'failed', ended_at = {_ENDS}, error = :error, cause = :cause",
    Event.CANCEL: f"status = 'cancelled', ended_at = {_ENDS}, error = :error, cause = :cause",
    Event.RETRY: """status = 'pending', due = :due, ended_at = :now, error = :error, cause = :cause,
                    deferrals = deferrals + :deferred""",
    Event.DISTURB: """status = 'pending', due = :due, ended_at = :now, error = :error, cause = :cause,
                      attempt = attempt - 1, disturbances = disturbances + 1""",
    Event.INTERRUPT: """status = 'pending', due = :due, ended_at = :now, error = :error, cause = :cause,
                        attempt = attempt - 1, interruptions = interruptions + 1""",
    Event.GIVE_BACK: "status = 'pending', due = 0, attempt = attempt - 1, started_at = NULL",
}
_SETTLE = {
    event: f"UPDATE jobs SET {columns} WHERE id = :id AND status = 'running' AND attempt = :attempt"
    for event, columns in _RECORD.items()
}


def settle(connection: sqlite3.Connection, settlements: Iterable[Settlement], now: float) -> Settled:
    """Record what became of taken jobs. What has ended already, or was taken anew since, is left as it is."""
    groups: dict[tuple[int, Event], list[_End]] = {}
    changed: list[Settlement] = []
    for settlement in settlements:
        end = _End.of(settlement, now)
        groups.setdefault((end.lease.batch, end.event), []).append(end)
    for (batch, event), group in groups.items():
        recorded = [end for end in group if connection.execute(_SETTLE[event], end.columns).rowcount]
        if recorded:
            changed += [end.settlement for end in recorded]
            _keep_remains(connection, recorded, now)
            count(connection, batch, Status.RUNNING, TRANSITIONS[event][1], len(recorded))
        if event is Event.FAIL and recorded:
            stop_if_asked(connection, batch)
    ended = close_finished(connection, {batch for batch, _ in groups}, now)
    stopping = connection.execute("SELECT 1 FROM batches WHERE phase = 'stopping' AND pending > 0 LIMIT 1")
    return Settled(ended, stopping.fetchone() is not None, changed)


@dataclass(frozen=True, slots=True)
class _End:
    """A settlement, ready to be recorded."""

    job: Job
    lease: Lease
    event: Event
    outcome: Outcome
    columns: dict[str, Any]
    settlement: Settlement

    @classmethod
    def of(cls, settlement: Settlement, now: float) -> Self:
        job, lease, outcome = settlement.taken.job, settlement.taken.lease, settlement.outcome
        if not isinstance(lease, Lease):
            raise TypeError(f"cannot settle {job.job_id}: it was not taken from this ledger")
        columns = {
            "id": lease.id,
            "attempt": job.attempt,
            "now": now,
            "ending": outcome.ending,
            "error": _storable(outcome.error),
            "cause": _storable(outcome.cause),
            "due": now + settlement.delay,
            "deferred": outcome.ending is Ending.DEFERRED,
        }
        return cls(job, lease, settlement.event, outcome, columns, settlement)


def _storable(text: str | None) -> str | None:
    """What a job said of itself, which may be any text: SQLite refuses halves of surrogate pairs."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()


_AGAIN = {
    Event.RETRY: "",
    Event.DISTURB: "; it had been suspended, so this does not count",
    Event.INTERRUPT: "; this does not count",
}
"""Ends after which a job is tried again, and what is said of each."""


def _keep_remains(connection: sqlite3.Connection, ends: list[_End], now: float) -> None:
    """Keep what the attempts left: results, output, and how those ended that did not complete."""
    results = [(end.lease.id, end.outcome.result) for end in ends if end.outcome.result is not None]
    if results:
        connection.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", results)
    logs = [(end.lease.id, end.job.attempt, end.outcome.log) for end in ends if end.outcome.log]
    if logs:
        connection.executemany("INSERT OR REPLACE INTO logs VALUES (?, ?, ?)", logs)
    for end in ends:
        if end.event in (Event.FAIL, *_AGAIN):
            _keep_fault(connection, end, now)


def _keep_fault(connection: sqlite3.Connection, end: _End, now: float) -> None:
    connection.execute(
        """INSERT INTO attempts SELECT :id, :attempt, :ending, started_at, :now, :cause, :error
           FROM jobs WHERE id = :id""".replace(":now", _ENDS),
        end.columns,
    )
    again = "" if end.event is Event.FAIL else f"; tried again in {end.columns['due'] - now:.0f} s"
    pardon = _AGAIN.get(end.event, "")
    text = f"attempt {end.job.attempt} {end.outcome.ending}: {end.columns['cause']}{pardon}{again}"
    kind = "job.failed" if end.event is Event.FAIL else "job.retried"
    events.record(connection, now, kind, text, end.job.batch_id, end.job.job_id)


def count(connection: sqlite3.Connection, batch: int, source: Status, target: Status, jobs: int) -> None:
    """Move ``jobs`` from one of a batch's counters to another."""
    connection.execute(
        f"UPDATE batches SET {source} = {source} - ?, {target} = {target} + ? WHERE key = ?",
        (jobs, jobs, batch),
    )


FROM_THE_FIRST = "CASE queue WHEN 'pubsub' THEN first_job ELSE next_job END"
"""Where waiting jobs of a batch begin: of one that is shared, any may wait, whatever has been taken."""


def stop_if_asked(connection: sqlite3.Connection, batch: int) -> None:
    """A failed job ends a batch whose error policy says so: nothing more of it is taken from now on."""
    connection.execute(
        f"""UPDATE batches SET phase = 'stopping', next_job = {FROM_THE_FIRST}
            WHERE key = ? AND error_policy = 'stop' AND phase = 'open'""",
        (batch,),
    )


def close_finished(connection: sqlite3.Connection, batches: Iterable[int], now: float) -> list[str]:
    """End those of these batches that have no job left to run; return their ids."""
    ended = []
    for key in batches:
        row = connection.execute(
            """UPDATE batches SET phase = 'ended', ended_at = max(:now, coalesce(started_at, created_at))
               WHERE key = :key AND pending = 0 AND running = 0 AND phase IN ('open', 'stopping')
               RETURNING batch_id, completed, failed, cancelled""",
            {"now": now, "key": key},
        ).fetchone()
        if row is not None:
            text = f"{row['completed']:,} completed, {row['failed']:,} failed, {row['cancelled']:,} cancelled"
            events.record(connection, now, events.BATCH_ENDED, text, row["batch_id"])
            ended.append(row["batch_id"])
    return ended

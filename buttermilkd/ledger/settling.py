"""What becomes of taken jobs, and of their batches by that. Operations for the writer's thread."""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from buttermilkd.jobs import TRANSITIONS, Ending, Event, Job, Outcome, Settlement, Status
from buttermilkd.ledger import events
from buttermilkd.sharing import Lease, Settled

_ENDS = "max(:now, coalesce(started_at, :now))"
"""A clock that was set back ends nothing before its beginning."""
MANY = 8
"""Ends of one kind from which on they are recorded at one go."""
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
    left: dict[int, int] = {}
    for settlement in settlements:
        end = _End.of(settlement, now)
        groups.setdefault((end.lease.batch, end.event), []).append(end)
    for (batch, event), group in groups.items():
        recorded = _recorded(connection, event, group)
        if recorded:
            changed += [end.settlement for end in recorded]
            _keep_remains(connection, recorded, now)
            left[batch] = count(connection, batch, Status.RUNNING, TRANSITIONS[event][1], len(recorded))
        if event is Event.FAIL and recorded:
            stop_if_asked(connection, batch)
    ended = close_finished(connection, {batch for batch, _ in groups if not left.get(batch)}, now)
    may_stop = any(event is not Event.COMPLETE for _, event in groups)
    return Settled(ended, may_stop and _are_any_stopping(connection), changed)


def _are_any_stopping(connection: sqlite3.Connection) -> bool:
    """Whether jobs wait that are to be cancelled: of batches that were stopped, perhaps before these came back."""
    row = connection.execute("SELECT 1 FROM batches WHERE phase = 'stopping' AND pending > 0 LIMIT 1")
    return row.fetchone() is not None


@dataclass(slots=True)
class _End:
    """A settlement, ready to be recorded. Not frozen: that would double the time to make one."""

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


def _recorded(connection: sqlite3.Connection, event: Event, ends: list[_End]) -> list[_End]:
    """Record these, and return those that were: a job that has ended already, or was taken anew, is not."""
    if len(ends) < MANY:
        return [end for end in ends if connection.execute(_SETTLE[event], end.columns).rowcount]
    connection.execute("SAVEPOINT ends")
    changed = connection.executemany(_SETTLE[event], [end.columns for end in ends]).rowcount
    if changed != len(ends):  # which of them, is told by each for itself
        connection.execute("ROLLBACK TO ends")
        ends = [end for end in ends if connection.execute(_SETTLE[event], end.columns).rowcount]
    connection.execute("RELEASE ends")
    return ends


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
    results = [
        (end.lease.id, _storable(end.outcome.result)) for end in ends if end.outcome.result is not None
    ]
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


def count(connection: sqlite3.Connection, batch: int, source: Status, target: Status, jobs: int) -> int:
    """Move ``jobs`` from one of a batch's counters to another; how many of its jobs have not ended."""
    row = connection.execute(
        f"""UPDATE batches SET {source} = {source} - ?, {target} = {target} + ? WHERE key = ?
            RETURNING pending + running""",
        (jobs, jobs, batch),
    ).fetchone()
    return int(row[0])


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

"""How waiting jobs are taken. Operations for the writer's thread."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from operator import itemgetter

from buttermilkd.jobs import TRANSITIONS, Claim, Event, Job, Taken, job_id
from buttermilkd.ledger import events
from buttermilkd.sharing import Lease

_FIELDS = "id, record_id, variant, attempt, deferrals, disturbances, interruptions"
"""The last four in the order of ``Job``'s."""
_BY_ID = itemgetter(0)
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
    rows.sort(key=_BY_ID)
    fresh.sort(key=_BY_ID)
    next_job = fresh[-1]["id"] + 1 if fresh else batch["next_job"]
    count = len(rows) + len(fresh)
    connection.execute(
        """UPDATE batches SET pending = pending - :count, running = running + :count, next_job = :next_job,
                              started_at = coalesce(started_at, :now) WHERE key = :key""",
        {"count": count, "next_job": next_job, "now": now, "key": key},
    )
    if batch["started_at"] is None:
        events.record(connection, now, events.BATCH_STARTED, "its first job begins", batch["batch_id"])
    return list(_taken(batch, (*rows, *fresh)))


def _taken(batch: sqlite3.Row, rows: Iterable[sqlite3.Row]) -> Iterator[Taken]:
    """The jobs of these rows, which hold ``_FIELDS``."""
    key, batch_id, flow, first = batch["key"], batch["batch_id"], batch["flow"], batch["first_job"]
    variants = json.loads(batch["variants"])
    for row, record_id, variant, *counts in rows:
        job = Job(job_id(batch_id, row - first + 1), batch_id, flow, record_id, variants[variant], *counts)
        yield Taken(job, Lease(row, key))

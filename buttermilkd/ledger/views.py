"""Rows of the ledger as the views of ``messages``."""

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from buttermilkd.clock import iso
from buttermilkd.jobs import Status, batch_status, job_id
from buttermilkd.messages import BatchView, DeadLetterView, EventView, JobView, ResultView


def _counts(row: sqlite3.Row) -> Mapping[Status, int]:
    return {status: row[status] for status in Status}


def _parameters(variants: list[Mapping[str, Any]]) -> Any:
    return variants[0] if len(variants) == 1 else variants


def batch_view(row: sqlite3.Row, now: float) -> BatchView:
    counts = _counts(row)
    started = row["started_at"] is not None
    status = batch_status(counts, started=started, cancelled=row["cancelled_at"] is not None)
    return BatchView(
        batch_id=row["batch_id"],
        flow=row["flow"],
        status=status,
        total=row["total"],
        pending=row["pending"],
        running=row["running"],
        completed=row["completed"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        created_at=iso(row["created_at"]) or "",
        started_at=iso(row["started_at"]),
        ended_at=iso(row["ended_at"]),
        eta_seconds=_eta(row, now),
        waiting_for=None,
        seed=row["seed"],
        priority=row["priority"],
        concurrency=row["concurrency"],
        error_policy=row["error_policy"],
        duplicates=row["duplicates"],
        flow_version=row["flow_version"],
        owner_uid=row["owner_uid"],
        queue=row["queue"],
        rival=row["rival"],
        parameters=_parameters(json.loads(row["variants"])),
    )


def parameters_of(row: sqlite3.Row) -> Mapping[str, Any]:
    """Of a job. Empty where another host has told of the job, and nobody yet of its batch."""
    variants = json.loads(row["variants"])
    return variants[row["variant"]] if row["variant"] < len(variants) else {}


def _eta(row: sqlite3.Row, now: float) -> float | None:
    """Seconds to the end at the pace since the batch's first job, waiting included; None where unknown."""
    ended: int = row["completed"] + row["failed"]
    left: int = row["pending"] + row["running"]
    if not left or not ended or row["started_at"] is None or row["phase"] != "open":
        return None
    elapsed: float = max(0.0, now - row["started_at"])
    return round(elapsed / ended * left, 1)


def job_view(row: sqlite3.Row, host: str) -> JobView:
    pending = row["status"] == Status.PENDING
    return JobView(
        job_id=job_id(row["batch_id"], row["id"] - row["first_job"] + 1),
        batch_id=row["batch_id"],
        flow=row["own_flow"] or row["flow"],
        record_id=row["record_id"],
        parameters=parameters_of(row),
        status=row["status"],
        attempt=row["attempt"],
        interruptions=row["interruptions"],
        deferrals=row["deferrals"],
        disturbances=row["disturbances"],
        due_at=iso(row["due"]) if row["due"] else None,
        error=row["error"],
        cause=row["cause"],
        result=None if row["result"] is None else json.loads(row["result"]),
        host=None if row["started_at"] is None else row["host"] or host,
        created_at=iso(row["created_at"]) or "",
        started_at=iso(row["started_at"]),
        suspended_at=None,
        ended_at=None if pending else iso(row["ended_at"]),
    )


def result_view(row: sqlite3.Row) -> ResultView:
    return ResultView(
        job_id=job_id(row["batch_id"], row["id"] - row["first_job"] + 1),
        record_id=row["record_id"],
        parameters=parameters_of(row),
        status=row["status"],
        attempt=row["attempt"],
        result=None if row["result"] is None else json.loads(row["result"]),
        error=row["error"],
        started_at=iso(row["started_at"]),
        ended_at=iso(row["ended_at"]),
    )


def event_view(row: sqlite3.Row) -> EventView:
    return EventView(
        sequence=row["sequence"],
        at=iso(row["at"]) or "",
        kind=row["kind"],
        batch_id=row["batch_id"],
        job_id=row["job_id"],
        message=row["message"],
    )


def dead_job_view(row: sqlite3.Row) -> DeadLetterView:
    name = job_id(row["batch_id"], row["id"] - row["first_job"] + 1)
    return DeadLetterView(
        id=name,
        kind="job",
        at=iso(row["ended_at"]) or "",
        reason=row["cause"] or row["error"] or "unknown",
        batch_id=row["batch_id"],
        job_id=name,
        flow=row["own_flow"] or row["flow"],
        record_id=row["record_id"],
        parameters=parameters_of(row),
        attempt=row["attempt"],
        error=row["error"],
        message_id=None,
        published_at=None,
        size=None,
    )


def dead_message_view(row: sqlite3.Row) -> DeadLetterView:
    return DeadLetterView(
        id=f"message-{row['number']}",
        kind="message",
        at=iso(row["at"]) or "",
        reason=row["reason"],
        batch_id=None,
        job_id=None,
        flow=None,
        record_id=None,
        parameters=None,
        attempt=None,
        error=None,
        message_id=row["message_id"],
        published_at=iso(row["published_at"]),
        size=row["size"],
    )

"""The messages that ask for a job, and that tell of it, made of what the ledger has."""

import json
import sqlite3
from collections.abc import Mapping

from buttermilkd.jobs import Status, job_id
from buttermilkd.messages import JobRequest, JobUpdate


def request_for(
    batch: sqlite3.Row, job: sqlite3.Row, parameters: Mapping[str, object], now: float
) -> JobRequest:
    """The message that asks for a job as the ledger has it."""
    waits = job["status"] == Status.PENDING
    number = job["id"] - batch["first_job"] + 1
    due = job["due"]
    return JobRequest(
        job_id=job_id(batch["batch_id"], number),
        batch_id=batch["batch_id"],
        number=number,
        flow=job["own_flow"] or batch["flow"],
        record_id=job["record_id"],
        parameters=parameters,
        attempt=job["attempt"] + 1 if waits else job["attempt"],
        deferrals=job["deferrals"],
        disturbances=job["disturbances"],
        interruptions=job["interruptions"],
        generation=job["generation"],
        not_before=due if due is not None and due > now else None,
        priority=batch["priority"],
        concurrency=batch["concurrency"],
        created_at=batch["created_at"],
        total=None if batch["origin"] == "" else batch["total"],
        foreign=batch["origin"] == "",
        batch_sequence=batch["sequence"],
    )


def _written(batch: sqlite3.Row) -> str | int | None:
    """The batch's id as its creator wrote it, where that is another one."""
    return None if batch["original_id"] is None else json.loads(batch["original_id"])


LARGEST_RESULT = 4_000_000
"""Bytes; a larger one is only to be had from the host that has it."""
LARGEST_ERROR = 100_000


def _bounded(text: str | None) -> str | None:
    """Written as JSON, one character may take six bytes, and a quotation mark two."""
    return text if text is None or len(json.dumps(text)) <= LARGEST_RESULT else None


def update_for(
    batch: sqlite3.Row, job: sqlite3.Row, parameters: Mapping[str, object], host: str
) -> JobUpdate:
    """The message that tells of a job as the ledger has it, on this host."""
    number = job["id"] - batch["first_job"] + 1
    return JobUpdate(
        job_id=job_id(batch["batch_id"], number),
        batch_id=batch["batch_id"],
        original_batch_id=_written(batch),
        record_id=job["record_id"],
        flow=job["own_flow"] or batch["flow"],
        status=Status(job["status"]),
        attempt=job["attempt"],
        generation=job["generation"],
        sequence=job["sequence"],
        batch_sequence=batch["sequence"],
        host=host,
        at=max(job["started_at"] or 0.0, job["ended_at"] or 0.0) or batch["created_at"],
        error=None if job["error"] is None else job["error"][:LARGEST_ERROR],
        cause=job["cause"],
        deferrals=job["deferrals"],
        disturbances=job["disturbances"],
        interruptions=job["interruptions"],
        due=job["due"] or None,
        started_at=job["started_at"],
        ended_at=job["ended_at"],
        parameters=parameters if batch["origin"] == "" else None,
        created_at=batch["created_at"] if batch["origin"] == "" else None,
        result=_bounded(job["result"]),
    )

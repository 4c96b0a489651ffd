"""Batches, and what was done to them."""

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict


class CauseView(TypedDict):
    """How many of a batch's failed jobs share a cause."""

    cause: str
    jobs: int


class BatchView(TypedDict):
    """One batch. ``causes`` only where one batch is asked for."""

    batch_id: str
    flow: str
    status: str
    total: int
    pending: int
    running: int
    completed: int
    failed: int
    cancelled: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    eta_seconds: float | None
    waiting_for: str | None
    seed: int | None
    priority: int
    concurrency: int | None
    error_policy: str
    duplicates: int
    flow_version: str
    owner_uid: int
    queue: str
    """Where its jobs wait: ``local``, or ``pubsub``."""
    rival: str | None
    """Host that has created another batch under the same id; None where nobody has."""
    parameters: Any
    causes: NotRequired[list[CauseView]]


class BatchesView(TypedDict):
    batches: list[BatchView]
    next: str | None


class ResultView(TypedDict):
    """One line of ``/v1/batches/{id}/results``."""

    job_id: str
    record_id: str
    parameters: Mapping[str, Any]
    status: str
    attempt: int
    result: Any
    error: str | None
    started_at: str | None
    ended_at: str | None


class ReceiptView(TypedDict):
    """What a cancel did. ``summary`` says it in words: ``1,388 dropped, 4 stopped (1 killed), 608 already ended``."""

    id: str
    dropped: int
    stopped: int
    killed: int
    ended: int
    summary: str


class RetriedView(TypedDict):
    id: str
    requeued: int

"""Jobs."""

from collections.abc import Mapping
from typing import Any, TypedDict


class JobView(TypedDict):
    """One job."""

    job_id: str
    batch_id: str
    flow: str
    record_id: str
    parameters: Mapping[str, Any]
    status: str
    attempt: int
    interruptions: int
    deferrals: int
    disturbances: int
    due_at: str | None
    error: str | None
    cause: str | None
    result: Any
    host: str | None
    created_at: str
    started_at: str | None
    suspended_at: str | None
    """Since when it stands still; null while it does not."""
    ended_at: str | None


class JobsView(TypedDict):
    jobs: list[JobView]
    next: str | None

"""What the runner asks of whatever runs the jobs of one flow: processes, or calls in workers."""

from dataclasses import dataclass
from typing import Protocol

from buttermilkd.jobs import Ending, Job
from buttermilkd.runner.attempt import Attempt
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.slots import Room


@dataclass(frozen=True, slots=True)
class Running:
    """A job that executes now."""

    job: Job
    started_at: float
    """Wall-clock seconds since the epoch."""
    pid: int | None
    """Of its process, or of its worker."""
    suspended_at: float | None = None
    """Wall-clock seconds; None while it is not suspended."""


class Lane(Protocol):
    """Where the jobs of one flow run."""

    flow: FlowSettings

    def room(self, free: int) -> Room:
        """How many more it could take with this many free slots."""

    def begin(self, attempt: Attempt) -> None:
        """Take a job for which there is room."""

    def stop(self, job_ids: set[str], ending: Ending, *, now: bool) -> None:
        """Begin to end those of its jobs; ids of others are ignored."""

    def recall(self) -> None:
        """Give back what has not begun."""

    def suspend(self, job_ids: set[str]) -> None: ...

    def resume(self, job_ids: set[str]) -> None: ...

    def attempts(self) -> list[Attempt]:
        """Every job that it has."""

    def log(self, job_id: str) -> bytes: ...

    def retire(self) -> None:
        """It gets no more jobs."""

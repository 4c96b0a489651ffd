"""What the runner asks of whatever runs the jobs of one flow: processes, or calls in workers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from buttermilkd.clock import Clock
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
        """How many more it could take with this many free slots; none where their number is negative."""

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


class Lanes:
    """One lane for each flow, made when it is first asked for; anew where the flow's settings have changed."""

    def __init__(self, make: Callable[[FlowSettings, Callable[[str], int]], Lane]) -> None:
        """``make`` gets a flow, and what ``left`` is."""
        self._make = make
        self._current: dict[str, Lane] = {}
        self._retired: list[Lane] = []

    def of(self, name: str, flows: Mapping[str, FlowSettings]) -> Lane:
        """The lane of the flow of this name."""
        flow = flows[name]
        lane = self._current.get(name)
        if lane is not None and (lane.flow is flow or lane.flow == flow):
            return lane
        self.retire(name)
        lane = self._current[name] = self._make(flow, self.left)
        return lane

    def retire_outdated(self, flows: Mapping[str, FlowSettings]) -> None:
        """Give no more jobs to the lanes of flows that have changed or gone."""
        for name, lane in tuple(self._current.items()):
            if name not in flows or lane.flow != flows[name]:
                self.retire(name)

    def retire(self, name: str) -> None:
        """Give no more jobs to the lane of this name, if there is one. What it has begun goes on to its end."""
        if lane := self._current.pop(name, None):
            self._retired.append(lane)
            lane.recall()
            lane.retire()

    def left(self, name: str) -> int:
        """How many jobs of a flow still run as the flow was before."""
        return sum(len(lane.attempts()) for lane in self._retired if lane.flow.name == name)

    def executing(self) -> list[tuple[Job, FlowSettings]]:
        """The jobs that any of them has, each with its flow as it was when the job began."""
        return [(attempt.job, lane.flow) for lane in self for attempt in lane.attempts()]

    def __iter__(self) -> Iterator[Lane]:
        """All of them, with those of flows as they were that still have jobs."""
        return iter([*self._current.values(), *self._retired])

    def attempts(self) -> list[Attempt]:
        """Every job that any of them has."""
        return [attempt for lane in self for attempt in lane.attempts()]

    def are_running(self) -> bool:
        """Whether any job executes, and is not suspended."""
        return any(attempt.suspended_at is None for attempt in self.attempts())

    def running(self, clock: Clock) -> list[Running]:
        """The jobs that execute or are suspended now."""
        offset = clock.now() - clock.monotonic()
        return [
            Running(
                attempt.job,
                attempt.started_at,
                attempt.pid,
                None if attempt.suspended_at is None else attempt.suspended_at + offset,
            )
            for attempt in self.attempts()
            if attempt.started_at is not None
        ]

    def suspended(self) -> dict[str, float]:
        """Since when each of the suspended jobs has been so, in monotonic seconds."""
        return {
            attempt.job.job_id: attempt.suspended_at
            for attempt in self.attempts()
            if attempt.suspended_at is not None
        }

    def forget_empty(self) -> None:
        """Drop those that get no more jobs and have none left."""
        self._retired = [lane for lane in self._retired if lane.attempts()]

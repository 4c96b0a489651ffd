"""Command flows: one process for each attempt."""

from collections.abc import Callable

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Outcome
from buttermilkd.runner.attempt import Attempt
from buttermilkd.runner.commandrun import CommandRun
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.scratch import Scratch
from buttermilkd.runner.slots import Room, Slots
from buttermilkd.runner.timers import Timers


class CommandLane:
    """The attempts of one command flow that run now."""

    def __init__(
        self,
        flow: FlowSettings,
        *,
        spawner: Spawner,
        slots: Slots,
        timers: Timers,
        clock: Clock,
        scratch: Scratch,
        ended: Callable[[Attempt, Outcome], None],
        left: Callable[[str], int],
    ) -> None:
        """``left``: how many jobs of the flow still run as it was before it changed."""
        self.flow = flow
        self._spawner = spawner
        self._slots = slots
        self._timers = timers
        self._clock = clock
        self._scratch = scratch
        self._ended = ended
        self._left = left
        self._runs: dict[str, CommandRun] = {}

    def room(self, free: int) -> Room:
        """How many more it could begin now with this many free slots."""
        limit = self.flow.limit(self._slots.total) - self._left(self.flow.name)
        jobs = max(0, min(limit - len(self._runs), free))
        return Room(jobs, jobs)

    def begin(self, attempt: Attempt) -> None:
        result = self._scratch.result(self._spawner.next_number())
        run = CommandRun(attempt, self.flow, result, self._timers, self._clock)
        self._runs[attempt.job.job_id] = run
        self._slots.take(1)
        run.start(self._spawner, lambda outcome: self._run_ended(run, outcome))

    def _run_ended(self, run: CommandRun, outcome: Outcome) -> None:
        del self._runs[run.attempt.job.job_id]
        self._slots.take(-1)
        self._ended(run.attempt, outcome)

    def stop(self, job_ids: set[str], ending: Ending, *, now: bool) -> None:
        for job_id in job_ids:
            if run := self._runs.get(job_id):
                run.stop(ending, now=now)

    def recall(self) -> None:
        """Nothing is ever handed to a process before it begins."""

    def suspend(self, job_ids: set[str]) -> None:
        for job_id in job_ids:
            if run := self._runs.get(job_id):
                run.suspend()

    def resume(self, job_ids: set[str]) -> None:
        for job_id in job_ids:
            if run := self._runs.get(job_id):
                run.resume()

    def attempts(self) -> list[Attempt]:
        return [run.attempt for run in self._runs.values()]

    def log(self, job_id: str) -> bytes:
        run = self._runs.get(job_id)
        if run is None:
            return b""
        if run.process is not None:
            run.process.read()
        return run.log.content()

    def retire(self) -> None:
        """Nothing outlives its attempts here."""

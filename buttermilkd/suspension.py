"""What becomes of running jobs while people are there: the policy's actions, carried out on the runner."""

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from buttermilkd.bell import Bell, first_of
from buttermilkd.clock import Clock
from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.observations import Jobs
from buttermilkd.idle.policy.running import Actions, Stance
from buttermilkd.jobs import Ending, Job
from buttermilkd.journal import Kind, about
from buttermilkd.plurals import count

logger = logging.getLogger(__name__)


class Flow(Protocol):
    """What a flow says of its running jobs."""

    @property
    def on_busy(self) -> str:
        """``auto``, ``finish``, ``suspend`` or ``requeue``."""

    @property
    def restartable(self) -> bool:
        """A job may be ended and begun again."""

    @property
    def suspend_max(self) -> float | None:
        """Seconds that a job stays suspended before it makes room; None: as configured for all."""


class Runner(Protocol):
    """What it needs of the runner."""

    def executing(self) -> Iterable[tuple[Job, Flow]]:
        """Each job with its flow as it was when the job began."""

    def suspended(self) -> Mapping[str, float]:
        """Since when each of the suspended jobs has been so, in monotonic seconds."""

    def suspend(self, job_ids: Iterable[str]) -> None: ...

    def resume(self, job_ids: Iterable[str]) -> None: ...

    def recall(self) -> None: ...

    async def stop(self, job_ids: Iterable[str], ending: Ending, *, now: bool = False) -> None: ...


class Suspension:
    """Suspends, resumes and gives back, each at the look that says so: nothing lies between a report and a signal."""

    def __init__(self, runner: Runner, clock: Clock, *, longest: float) -> None:
        """``longest``: seconds after which a suspended job makes room, where it may or must."""
        self._runner = runner
        self._clock = clock
        self._longest = longest
        self._actions = Actions(start=False)
        self._evicted: dict[str, str] = {}
        """Ids of jobs to be given back since people came, and the sentence that says so."""
        self._leaving: set[str] = set()
        self._news = Bell()
        self._draining = False

    # For the idleness decision

    def jobs(self) -> Jobs:
        """How many jobs execute or are suspended, by what their flows want done."""
        counts = {"auto": 0, "finish": 0, "suspend": 0, "requeue": 0}
        for _, flow in self._runner.executing():
            counts[flow.on_busy] += 1
        return Jobs(**counts)

    @property
    def suspended(self) -> Collection[str]:
        """Ids of the jobs that are suspended."""
        return self._runner.suspended().keys()

    def carry_out(self, look: Look) -> None:
        """Do what this look asks for, before anything else can happen."""
        before, self._actions = self._actions, look.actions
        if before == look.actions:
            return
        if not look.actions.start:
            # What was accepted and has not begun must not begin now.
            self._runner.recall()
        kinds: dict[str, list[str]] = {}
        for job, flow in self._runner.executing():
            kinds.setdefault(flow.on_busy, []).append(job.job_id)
        now = {"auto": look.actions.auto, "suspend": look.actions.suspend}
        self._suspend(
            [job for kind, at in now.items() if at is Stance.STOP for job in kinds.get(kind, ())], look
        )
        self._resume([job for kind, at in now.items() if at is Stance.GO_ON for job in kinds.get(kind, ())])
        if look.actions.requeue is Stance.STOP:
            self._evicted |= dict.fromkeys(kinds.get("requeue", ()), look.verdict.sentence)
        self._news.ring()

    def _suspend(self, job_ids: list[str], look: Look) -> None:
        before = self._runner.suspended()
        new = [job_id for job_id in job_ids if job_id not in before]
        if new:
            self._runner.suspend(new)
            stopped = len(self._runner.suspended()) - len(before)
            told = about(self._runner.suspended().keys() - before.keys(), Kind.JOBS_SUSPENDED)
            logger.info("suspended %s: %s", count(stopped, "job"), look.verdict.sentence, extra=told)

    def _resume(self, job_ids: list[str]) -> None:
        suspended = self._runner.suspended()
        back = [job_id for job_id in job_ids if job_id in suspended]
        if back:
            self._runner.resume(back)
            longest = self._clock.monotonic() - min(suspended[job_id] for job_id in back)
            going = count(len(back), "job goes on", "jobs go on")
            logger.info("%s after up to %.0f s", going, longest, extra=about(back, Kind.JOBS_RESUMED))

    # Giving back

    async def run(self) -> None:
        """Give back what has to make room, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                seen = self._news.ring_count
                doomed = self._overdue() | self._evicted
                self._evicted.clear()
                for why in dict.fromkeys(doomed.values()):
                    jobs = {job_id for job_id, its in doomed.items() if its == why} - self._leaving
                    if jobs:
                        self._leaving |= jobs
                        tasks.create_task(self._give_back(jobs, why), name="giving back")
                waits = [self._news.heard(seen)]
                if (left := self._until_next()) is not None:
                    waits.append(self._clock.sleep(left))
                await first_of(waits)

    def reconfigure(self, longest: float) -> None:
        """Work with another ``longest``."""
        self._longest = longest
        self._news.ring()

    def drain(self) -> None:
        """The daemon stops: nothing that is suspended is waited for."""
        self._draining = True
        self._news.ring()

    async def _give_back(self, job_ids: set[str], why: str) -> None:
        try:
            await self._runner.stop(job_ids, Ending.GIVEN_BACK)
            told = about(job_ids, Kind.JOB_GIVEN_BACK)
            logger.info("gave back %s: %s", count(len(job_ids), "job"), why, extra=told)
        finally:
            self._leaving -= job_ids

    def _limits(self) -> dict[str, float]:
        """When each suspended job makes room, in monotonic seconds; those that never do are left out."""
        limits = {}
        suspended = self._runner.suspended()
        for job, flow in self._runner.executing():
            since = suspended.get(job.job_id)
            if since is None:
                continue
            if self._draining:
                limits[job.job_id] = since
            elif flow.restartable or self._actions.memory_is_short:
                limits[job.job_id] = since + (self._longest if flow.suspend_max is None else flow.suspend_max)
        return limits

    def _overdue(self) -> dict[str, str]:
        """The jobs that make room now, each with the reason."""
        now, suspended = self._clock.monotonic(), self._runner.suspended()
        return {
            job_id: self._why(now - suspended[job_id]) for job_id, at in self._limits().items() if at <= now
        }

    def _why(self, lasting: float) -> str:
        if self._draining:
            return "the daemon is stopping"
        scarce = ", and memory is short" if self._actions.memory_is_short else ""
        return f"suspended for {lasting:.0f} s{scarce}"

    def _until_next(self) -> float | None:
        now = self._clock.monotonic()
        later = [at - now for job_id, at in self._limits().items() if job_id not in self._leaving]
        return min(later, default=None)

"""Runs jobs: each as one process or as one call in a warm worker, at idle priority, never more than allowed."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from buttermilkd.clock import Clock
from buttermilkd.jobs import Ending, Job, Outcome
from buttermilkd.runner.attempt import Attempt, Ended, Listen
from buttermilkd.runner.flow import FlowSettings
from buttermilkd.runner.footprint import Footprint
from buttermilkd.runner.lanes import Lanes, Running
from buttermilkd.runner.launcher.launched import Launcher
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.making import LaneMaker
from buttermilkd.runner.scratch import Scratch
from buttermilkd.runner.slots import Slots
from buttermilkd.runner.timers import Timers
from buttermilkd.runner.waiting import Waiting


class Runner:
    """Runs jobs on this host; at most ``concurrency`` of them execute at once, over all flows.

    ``scratch`` is a folder of its own, for result files; what is in it is removed. ``launcher`` is where the launcher comes from
    that starts their processes. ``listen`` makes what hears each attempt print. ``on_room`` is called when more jobs can be
    started than before. Where ``flows`` are other ones than before, so are the jobs that begin later: see ``reconfigure``.
    """

    def __init__(
        self,
        flows: Mapping[str, FlowSettings],
        *,
        concurrency: int,
        scratch: Path,
        clock: Clock,
        launcher: Launcher,
        listen: Listen | None = None,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self.flows = flows
        self.on_room = on_room
        self._scratch = Scratch(scratch)
        self._clock = clock
        self._listen = listen
        self._slots = Slots(concurrency)
        self._timers = Timers(clock)
        self._failure: Exception | None = None
        self._failed = asyncio.Event()
        self._launcher = launcher
        self._spawner = Spawner(timers=self._timers, fail=self._fail, start=launcher.start)
        make = LaneMaker(
            spawner=self._spawner,
            slots=self._slots,
            timers=self._timers,
            clock=clock,
            scratch=self._scratch,
            ended=self._ended,
            changed=self._room_grew,
            fail=self._fail,
        )
        self._lanes = Lanes(make)
        self._waiting = Waiting(
            lambda: self.flows,
            self._lanes,
            self._slots,
            trouble=lambda: launcher.trouble,
            ended=self._ended,
            fail=self._fail,
        )
        self.footprint = Footprint(
            lambda: launcher.groups,
            lambda: self._spawner.launcher_pid,
            are_running=self._lanes.are_running,
            have_run=self._waiting.have_run,
        )
        self._attempts: dict[str, Attempt] = {}
        self._waiters: dict[str, list[asyncio.Future[None]]] = {}
        self._room_told = False

    async def run(self) -> None:
        """Serve until cancelled; then kill everything and give back what had not ended.

        Raises:
            Exception: whatever a callback raised; nothing is known to work after that.
        """
        self._scratch.empty()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._timers.run(), name="runner timers")
                group.create_task(
                    self._launcher.run(
                        self._spawner, empty=self._give_all_back, changed=self._launcher_changed
                    ),
                    name="launcher",
                )
                await self._failed.wait()
                if self._failure is not None:
                    raise self._failure
        finally:
            await self._close()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self._failed.set()

    async def _close(self) -> None:
        for attempt in self._attempts.values():
            attempt.asked = attempt.asked or Ending.GIVEN_BACK
        self._waiting.give_back()
        await self._spawner.close()
        self._scratch.empty()

    # Accepting

    def _launcher_changed(self) -> None:
        if self._launcher.trouble is None:
            self._room_grew()
        else:  # others may be able to run them
            self._waiting.give_back()
            self._room_grew()

    async def _give_all_back(self) -> None:
        await self.stop(list(self._attempts), Ending.GIVEN_BACK)

    @property
    def trouble(self) -> str | None:
        """Why nothing can begin here; None: it can."""
        return self._launcher.trouble

    def rooms(self) -> dict[str, int]:
        """For each flow that can take any, how many more jobs it can take now."""
        return self._waiting.rooms()

    def room(self) -> int:
        """How many more jobs can be taken now, over all flows."""
        return self._waiting.room()

    def start(self, job: Job, ended: Ended) -> None:
        """Accept a job. ``ended`` is called exactly once, on the loop, and not before this returns.

        A job beyond the room that there is waits inside, and can be recalled.
        """
        attempt = self._attempts[job.job_id] = Attempt(job, ended, self._listen)
        self._waiting.add(attempt)

    def reconfigure(self, concurrency: int) -> None:
        """Work with another number of jobs at once, and with ``flows`` as they are now.

        What has begun goes on under what it began with. Workers of flows that have changed end after their last
        call; what they have not begun is given back.
        """
        before = self._slots.total
        self._slots.resize(concurrency)
        self._lanes.retire_outdated(self.flows)
        for name, flow in self.flows.items():
            own = flow.concurrency or 1
            if flow.kind == "callable" and min(own, before) != min(own, concurrency):
                self._lanes.retire(name)  # its workers were told how many calls they may execute at once
        if concurrency < before:
            self.recall()
        self._room_grew()

    # Ending

    def _ended(self, attempt: Attempt, outcome: Outcome) -> None:
        job_id = attempt.job.job_id
        if self._attempts.get(job_id) is attempt:
            del self._attempts[job_id]
        for waiter in self._waiters.pop(job_id, ()):
            if not waiter.done():
                waiter.set_result(None)
        attempt.finish_printing()
        if outcome.ending is Ending.FAILED and not attempt.timed_out:
            outcome = replace(outcome, disturbed=attempt.is_disturbed(self._clock.monotonic()))
        attempt.ended(attempt.job, outcome)
        self._room_grew()

    def _room_grew(self) -> None:
        """Place what waits and tell the outside, once for all that happens in this turn of the loop."""
        if not self._room_told:
            self._room_told = True
            asyncio.get_running_loop().call_soon(self._tell_room)

    def _tell_room(self) -> None:
        self._room_told = False
        self._waiting.place()
        self._lanes.forget_empty()
        try:
            self.on_room()
        except Exception as error:  # noqa: BLE001 - handed to whoever runs the runner
            self._fail(error)

    async def stop(self, job_ids: Iterable[str], ending: Ending, *, now: bool = False) -> None:
        """End these jobs by SIGTERM, the flow's grace and SIGKILL (``now``: at once) and wait until they have.

        Their outcomes get ``ending``, except of those that had ended by themselves before. Ids that
        do not run here are ignored. Cancelled, it goes on ending them, and only stops waiting.
        """
        self._spawner.poll()
        wanted = {job_id for job_id in job_ids if job_id in self._attempts}
        waiters = []
        for job_id in wanted:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.setdefault(job_id, []).append(waiter)
            waiters.append(waiter)
        self._waiting.end(wanted, ending)
        for lane in self._lanes:
            lane.stop(wanted, ending, now=now)
        if waiters:
            await asyncio.wait(waiters)

    def recall(self) -> None:
        """Give back every job that was accepted and has not begun."""
        self._waiting.give_back()
        for lane in self._lanes:
            lane.recall()

    # Suspending and looking

    def suspend(self, job_ids: Iterable[str]) -> None:
        """Stop the processes of these jobs where they are; their timeouts stand still.

        A worker is suspended only where all the jobs that it executes are meant, and once none of them cleans
        up. A command that was told to end is left to do so.
        """
        wanted = set(job_ids)
        for lane in self._lanes:
            lane.suspend(wanted)

    def resume(self, job_ids: Iterable[str]) -> None:
        """Let suspended jobs go on."""
        wanted = set(job_ids)
        for lane in self._lanes:
            lane.resume(wanted)

    def suspended(self) -> dict[str, float]:
        """Since when each of the suspended jobs has been so, in monotonic seconds."""
        return self._lanes.suspended()

    def executing(self) -> list[tuple[Job, FlowSettings]]:
        """The jobs that execute, are suspended, or are about to begin, each with the flow that it began under."""
        return self._lanes.executing()

    def running(self) -> list[Running]:
        """The jobs that execute or are suspended now."""
        return self._lanes.running(self._clock)

    def log(self, job_id: str) -> bytes | None:
        """What a job has printed so far; None where it does not run here."""
        if job_id not in self._attempts:
            return None
        return b"".join(lane.log(job_id) for lane in self._lanes)

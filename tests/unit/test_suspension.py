"""The policy's actions, carried out on a runner that records what it is told."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.observations import Jobs
from buttermilkd.idle.policy.running import Actions, Stance
from buttermilkd.jobs import Ending, Job
from buttermilkd.journal import Kind, fields_in
from buttermilkd.suspension import Suspension
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.unit.idle_watch import Watch

STOP = Stance.STOP
BUSY = Actions(start=False, auto=STOP, suspend=STOP, requeue=STOP)
IDLE = Actions(start=True)
LONGEST = 600.0


@dataclass(frozen=True)
class Flow:
    on_busy: str = "suspend"
    restartable: bool = False
    suspend_max: float | None = None


@dataclass
class RecordingRunner:
    """Its jobs never end by themselves."""

    clock: HandMovedClock
    jobs: list[Job] = field(default_factory=list)
    still: dict[str, float] = field(default_factory=dict)
    told: list[tuple[str, list[str]]] = field(default_factory=list)

    def executing(self) -> list[tuple[Job, Flow]]:
        return [(job, FLOWS[job.flow]) for job in self.jobs]

    def suspend(self, job_ids: Iterable[str]) -> None:
        self.told.append(("suspend", sorted(job_ids)))
        self.still |= dict.fromkeys(self.told[-1][1], self.clock.monotonic())

    def resume(self, job_ids: Iterable[str]) -> None:
        self.told.append(("resume", sorted(job_ids)))
        for job_id in self.told[-1][1]:
            del self.still[job_id]

    def suspended(self) -> dict[str, float]:
        return dict(self.still)

    def recall(self) -> None:
        self.told.append(("recall", []))

    async def stop(self, job_ids: Iterable[str], ending: Ending, *, now: bool = False) -> None:
        assert (ending, now) == (Ending.GIVEN_BACK, False)
        gone = sorted(job_ids)
        self.told.append(("give back", gone))
        await asyncio.sleep(0)
        self.jobs = [job for job in self.jobs if job.job_id not in gone]
        self.still = {job_id: since for job_id, since in self.still.items() if job_id not in gone}


FLOWS = {
    "auto": Flow("auto"),
    "finish": Flow("finish"),
    "suspend": Flow("suspend"),
    "requeue": Flow("requeue"),
    "again": Flow("suspend", restartable=True),
    "soon": Flow("suspend", restartable=True, suspend_max=30.0),
}


class Scene:
    """A suspension beside the test."""

    def __init__(self) -> None:
        self.clock = HandMovedClock()
        self.runner = RecordingRunner(self.clock)
        self.suspension = Suspension(self.runner, self.clock, longest=LONGEST)

    def run(self, *flows: str) -> None:
        """Have a job of each of these flows run."""
        self.runner.jobs += [Job(f"{flow}.1", flow, flow, "r", {}) for flow in flows]

    def look(self, actions: Actions) -> list[tuple[str, list[str]]]:
        """What the runner is told at a look with these actions."""
        watch = Watch()
        verdict = watch.see()
        assert watch.sample is not None
        self.runner.told.clear()
        self.suspension.carry_out(Look(watch.sample, self.clock.monotonic(), actions, verdict))
        return list(self.runner.told)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    running = asyncio.ensure_future(scene.suspension.run())
    await settle_loop()
    yield scene
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_jobs_are_counted_by_what_their_flows_want(scene: Scene) -> None:
    scene.run("auto", "finish", "suspend", "requeue", "again")
    assert scene.suspension.jobs() == Jobs(auto=1, finish=1, suspend=2, requeue=1)


async def test_each_kind_is_treated_as_its_flow_says(scene: Scene) -> None:
    scene.run("auto", "finish", "suspend", "requeue")
    assert scene.look(BUSY) == [("recall", []), ("suspend", ["auto.1", "suspend.1"])]
    await settle_loop()
    assert scene.runner.told[-1] == ("give back", ["requeue.1"])
    assert set(scene.suspension.suspended) == {"auto.1", "suspend.1"}
    assert scene.look(IDLE) == [("resume", ["auto.1", "suspend.1"])]
    assert set(scene.suspension.suspended) == set()


async def test_what_was_accepted_is_called_back_before_anything_is_suspended(scene: Scene) -> None:
    scene.look(IDLE)
    scene.run("suspend")
    assert scene.look(BUSY)[0] == ("recall", [])


async def test_protected_jobs_go_on_until_they_are_stopped_too(scene: Scene) -> None:
    scene.run("auto", "suspend")
    lingering = Actions(start=False, suspend=STOP, requeue=STOP)
    assert scene.look(lingering)[1:] == [("suspend", ["suspend.1"])]
    assert scene.look(BUSY)[1:] == [("suspend", ["auto.1"])]
    assert scene.look(lingering)[1:] == [("resume", ["auto.1"])]


async def test_nothing_is_told_twice(scene: Scene) -> None:
    scene.run("suspend")
    scene.look(BUSY)
    assert scene.look(BUSY) == []
    assert ("suspend", ["suspend.1"]) not in scene.look(
        Actions(False, STOP, STOP, STOP, memory_is_short=True)
    )


async def test_a_restartable_job_that_is_suspended_for_too_long_makes_room(scene: Scene) -> None:
    scene.run("again", "soon", "suspend")
    scene.look(BUSY)
    scene.runner.told.clear()
    await scene.clock.advance(29)
    assert scene.runner.told == []
    await scene.clock.advance(1)
    assert scene.runner.told == [("give back", ["soon.1"])]
    await scene.clock.advance(LONGEST - 30)
    assert scene.runner.told[1:] == [("give back", ["again.1"])]
    await scene.clock.advance(LONGEST)
    assert len(scene.runner.told) == 2


async def test_any_job_makes_room_where_memory_is_short(scene: Scene) -> None:
    scene.run("suspend")
    scene.look(BUSY)
    await scene.clock.advance(LONGEST + 100)
    assert scene.runner.jobs
    scene.look(Actions(False, STOP, STOP, STOP, memory_is_short=True))
    await settle_loop()
    assert not scene.runner.jobs


async def test_what_is_given_back_is_logged_with_the_reason(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buttermilkd.suspension")
    scene.run("requeue", "soon", "again")
    scene.look(BUSY)
    await settle_loop()
    assert caplog.messages == [
        "suspended 2 jobs: idle for 12 min: no web server reports, other CPU 3 %",
        "gave back 1 job: idle for 12 min: no web server reports, other CPU 3 %",
    ]
    suspended, given_back = (fields_in(record) for record in caplog.records)
    assert suspended["MESSAGE_ID"] == Kind.JOBS_SUSPENDED
    assert len(suspended["JOB_ID"]) == 2
    assert given_back["MESSAGE_ID"] == Kind.JOB_GIVEN_BACK
    assert len(given_back["JOB_ID"]) == 1
    await scene.clock.advance(30)
    assert caplog.messages[2:] == ["gave back 1 job: suspended for 30 s"]
    scene.look(Actions(False, STOP, STOP, STOP, memory_is_short=True))
    await scene.clock.advance(LONGEST - 30)
    assert caplog.messages[3:] == ["gave back 1 job: suspended for 600 s, and memory is short"]


async def test_what_a_stopping_daemon_gives_back_is_logged_too(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.run("suspend", "again")
    scene.look(BUSY)
    caplog.set_level("INFO", "buttermilkd.suspension")
    scene.suspension.drain()
    await settle_loop()
    assert caplog.messages == ["gave back 2 jobs: the daemon is stopping"]


async def test_time_in_which_it_ran_does_not_count(scene: Scene) -> None:
    scene.run("soon")
    for _ in range(3):
        scene.look(BUSY)
        await scene.clock.advance(20)
        scene.look(IDLE)
        await scene.clock.advance(20)
    assert scene.runner.jobs


async def test_a_daemon_that_stops_does_not_wait_for_what_is_suspended(scene: Scene) -> None:
    scene.run("suspend", "finish")
    scene.look(BUSY)
    scene.suspension.drain()
    await settle_loop()
    assert [job.job_id for job in scene.runner.jobs] == ["finish.1"]

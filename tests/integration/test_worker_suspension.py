"""Calls in warm workers that are suspended: whatever ends, begins or is told to stop at that very moment."""

import asyncio
import time
from pathlib import Path
from typing import Any

from buttermilkd.cgroups import Group
from buttermilkd.jobs import Ending
from tests.integration.runner_host import Flow, Host, hosting, until
from tests.integration.stillness import until_still, used

COUNTING = """
import asyncio, os, time
def count(job):
    print(os.getpid(), flush=True)
    while True:
        sum(range(1000))
def touch(job):
    while not os.path.exists(job.record_id + ".go"):
        time.sleep(0.001)
    open(job.record_id, "w").close()
def quick(job):
    if job.record_id == "for ever":
        time.sleep(1000)
    elif job.record_id != "r":
        open(job.record_id, "w").close()
async def tidy(job):
    open(job.record_id, "w").close()
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0.2)
        open(job.record_id + ".tidied", "w").close()
async def slow_to_end(job):
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(float(job.record_id))
async def deaf(job):
    open(job.record_id, "w").close()
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass
async def wait(job):
    print(os.getpid(), flush=True)
    while not os.path.exists(job.record_id):
        await asyncio.sleep(0.005)
"""


def callable_flow(folder: Path, name: str, **settings: Any) -> Flow:
    (folder / "counting.py").write_text(COUNTING)
    return Flow(entrypoint=f"counting:{name}", directory=folder, **settings)


async def test_a_worker_stands_still_and_goes_on(tmp_path: Path, groups: Group | None) -> None:
    async with hosting(tmp_path, callable_flow(tmp_path, "count"), groups=groups) as host:
        job_id = host.start()
        await until(host.runner.running)
        pid = host.runner.running()[0].pid
        assert pid is not None
        host.runner.suspend([job_id])
        await until_still(pid)
        assert host.runner.running()[0].suspended_at is not None
        host.runner.resume([job_id])
        before = used(pid)
        await until(lambda: used(pid) > before)
        assert host.runner.running()[0].suspended_at is None


async def test_calls_in_one_worker_are_suspended_together(tmp_path: Path, groups: Group | None) -> None:
    flow = callable_flow(tmp_path, "wait", concurrency=2)
    async with hosting(tmp_path, flow, groups=groups) as host:
        paths = [tmp_path / "one", tmp_path / "two"]
        jobs = [host.start(str(path)) for path in paths]
        await until(lambda: len(host.runner.running()) == 2)
        host.runner.suspend(jobs)
        for path in paths:
            path.touch()
        await asyncio.sleep(0.2)
        assert not host.outcomes
        host.runner.resume(jobs)
        assert [(await host.end_of(job_id)).ending for job_id in jobs] == [Ending.COMPLETED] * 2


# What happens at the same moment


async def until_begun(host: Host, count: int = 1) -> int:
    """The pid of the worker, once so many calls have begun in it."""
    await until(lambda: len(host.runner.running()) == count)
    pid = host.runner.running()[0].pid
    assert pid is not None
    return pid


def unheard(done: Path) -> None:
    """Let the worker make this file and answer, while the loop stands still and hears nothing of it."""
    while not done.exists():
        time.sleep(0.005)
    time.sleep(0.05)  # too short on a slow machine: then it is heard as usual


async def test_a_worker_whose_last_call_has_ended_unheard_is_given_the_next_one(
    tmp_path: Path, groups: Group | None
) -> None:
    async with hosting(tmp_path, callable_flow(tmp_path, "touch"), groups=groups) as host:
        first = host.start(str(tmp_path / "one"))
        await until_begun(host)
        (tmp_path / "one.go").touch()
        unheard(tmp_path / "one")
        host.runner.suspend([first])
        assert (await host.end_of(first)).ending is Ending.COMPLETED
        (tmp_path / "two.go").touch()
        assert (await host.run(str(tmp_path / "two"))).ending is Ending.COMPLETED


async def test_the_time_of_a_call_that_begins_as_its_worker_is_suspended_stands_still(
    tmp_path: Path, groups: Group | None
) -> None:
    flow = callable_flow(tmp_path, "quick", timeout=0.5)
    async with hosting(tmp_path, flow, groups=groups) as host:
        for _ in range(60):  # until the daemon hands calls over ahead
            await host.run()
        first, second = host.start(str(tmp_path / "one")), host.start("for ever")
        while not host.runner.executing():  # noqa: ASYNC110 - to the very turn of the loop
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # now they are on their way
        unheard(tmp_path / "one")
        host.runner.suspend([first])
        await host.end_of(first)
        others = host.runner.suspended()
        await asyncio.sleep(1)  # twice its time
        assert second not in host.outcomes
        assert host.runner.suspended() == others
        assert second in others
        host.runner.resume([second])
        assert (await host.end_of(second)).cause == "timed out after 0.5s"


async def test_calls_that_a_suspended_worker_has_not_begun_do_not_count_as_running(
    tmp_path: Path, groups: Group | None
) -> None:
    async with hosting(tmp_path, callable_flow(tmp_path, "quick"), groups=groups) as host:
        for _ in range(60):
            await host.run()
        jobs = [host.start("for ever"), host.start(), host.start()]
        await until(lambda: len(host.runner.executing()) == len(jobs))
        host.runner.suspend(jobs[:1])
        assert not host.runner.footprint.are_running()
        host.runner.resume(jobs[:1])
        assert host.runner.footprint.are_running()


# What is told to stop


async def test_a_suspended_call_that_is_cancelled_cleans_up_and_its_neighbour_stays_suspended(
    tmp_path: Path, groups: Group | None
) -> None:
    async with hosting(tmp_path, callable_flow(tmp_path, "tidy", concurrency=2), groups=groups) as host:
        jobs = [host.start(str(tmp_path / name)) for name in ("one", "two")]
        pid = await until_begun(host, 2)
        await until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists())
        host.runner.suspend(jobs)
        await until_still(pid)
        await host.runner.stop(jobs[:1], Ending.CANCELLED)
        assert (host.outcomes[jobs[0]].ending, host.outcomes[jobs[0]].killed) == (Ending.CANCELLED, False)
        assert (tmp_path / "one.tidied").exists()
        await until_still(pid)
        assert host.runner.suspended().keys() == {jobs[1]}


async def test_a_call_that_cleans_up_is_not_suspended_and_its_neighbour_is_once_it_has(
    tmp_path: Path, groups: Group | None
) -> None:
    async with hosting(tmp_path, callable_flow(tmp_path, "tidy", concurrency=2), groups=groups) as host:
        jobs = [host.start(str(tmp_path / name)) for name in ("one", "two")]
        pid = await until_begun(host, 2)
        await until(lambda: (tmp_path / "one").exists() and (tmp_path / "two").exists())
        stopping = asyncio.ensure_future(host.runner.stop(jobs[:1], Ending.CANCELLED))
        await asyncio.sleep(0)
        host.runner.suspend(jobs)
        await stopping
        assert not host.outcomes[jobs[0]].killed
        await until_still(pid)
        assert jobs[1] not in host.outcomes


async def test_each_call_that_is_stopped_has_a_grace_of_its_own(tmp_path: Path) -> None:
    flow = callable_flow(tmp_path, "slow_to_end", concurrency=2, grace=1.0)
    async with hosting(tmp_path, flow) as host:
        first, second = host.start("0"), host.start("0.7")
        await until_begun(host, 2)
        await host.runner.stop([first], Ending.CANCELLED)
        await asyncio.sleep(0.6)
        await host.runner.stop([second], Ending.CANCELLED)
        assert not host.outcomes[second].killed


async def test_to_stop_now_shortens_the_grace_of_a_call_that_is_being_stopped(tmp_path: Path) -> None:
    async with hosting(tmp_path, callable_flow(tmp_path, "deaf", concurrency=2, grace=1000.0)) as host:
        job_id = host.start(str(tmp_path / "begun"))
        await until((tmp_path / "begun").exists)
        stopping = asyncio.ensure_future(host.runner.stop([job_id], Ending.CANCELLED))
        await asyncio.sleep(0)
        await host.runner.stop([job_id], Ending.CANCELLED, now=True)
        await stopping
        assert host.outcomes[job_id].killed

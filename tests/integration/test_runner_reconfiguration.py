"""What a reload does to a runner with real processes: what has begun goes on, what comes later is new."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from buttermilkd.jobs import Ending
from tests.integration.runner_host import Flow, Host, alive, hosting, shell, until, until_dead

STUDY = """
import os, time
def wait(job):
    open(job.parameters["file"] + ".begun", "w").close()
    while not os.path.exists(job.parameters["file"]): time.sleep(0.005)
    return {"pid": os.getpid(), "version": os.environ.get("VERSION")}
async def many(job):
    import asyncio
    open(job.parameters["file"] + ".begun", "w").close()
    while not os.path.exists(job.parameters["file"]): await asyncio.sleep(0.005)
    return os.getpid()
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.py").write_text(STUDY)
    return tmp_path


def reconfigure(host: Host, *flows: Flow, concurrency: int = 2) -> None:
    host.runner.flows = {flow.name: flow for flow in flows}
    host.runner.reconfigure(concurrency)


def waiting(folder: Path, word: str, **settings: object) -> Flow:
    """A command that says ``word`` once its record's file is there."""
    script = f'while [ ! -e "{folder}/$BUTTERMILK_RECORD_ID" ]; do sleep 0.01; done; echo {word}'
    return replace(shell(script), **settings)  # type: ignore[arg-type]


async def test_a_job_goes_on_under_what_it_began_with_and_the_next_is_new(tmp_path: Path) -> None:
    async with hosting(tmp_path, waiting(tmp_path, "old", on_busy="suspend")) as host:
        first = host.start("a")
        await until(host.runner.running)
        reconfigure(host, waiting(tmp_path, "new", on_busy="finish"))
        second = host.start("b")
        await until(lambda: len(host.runner.running()) == 2)
        assert {job.job_id: flow.on_busy for job, flow in host.runner.executing()} == {
            first: "suspend",
            second: "finish",
        }
        (tmp_path / "a").touch()
        (tmp_path / "b").touch()
        assert (await host.end_of(first)).log == b"old\n"
        assert (await host.end_of(second)).log == b"new\n"


async def test_a_flow_that_has_changed_runs_no_more_jobs_than_it_may_old_ones_included(
    tmp_path: Path,
) -> None:
    async with hosting(tmp_path, waiting(tmp_path, "old", concurrency=1)) as host:
        first = host.start("a")
        await until(host.runner.running)
        reconfigure(host, waiting(tmp_path, "new", concurrency=1))
        assert host.runner.rooms() == {}
        (tmp_path / "a").touch()
        await host.end_of(first)
        await until(lambda: host.runner.rooms() == {"flow": 1})


async def test_a_removed_flow_gets_no_jobs_and_those_that_run_end_as_they_would_have(
    tmp_path: Path,
) -> None:
    async with hosting(tmp_path, waiting(tmp_path, "old", on_busy="requeue")) as host:
        job = host.start("a")
        await until(host.runner.running)
        reconfigure(host)
        assert host.runner.rooms() == {}
        assert [flow.on_busy for _, flow in host.runner.executing()] == ["requeue"]
        (tmp_path / "a").touch()
        outcome = await host.end_of(job)
        assert (outcome.ending, outcome.log) == (Ending.COMPLETED, b"old\n")


async def test_with_fewer_jobs_at_once_those_that_run_end_and_none_takes_their_place(tmp_path: Path) -> None:
    async with hosting(tmp_path, waiting(tmp_path, "x"), concurrency=3) as host:
        jobs = [host.start(name) for name in ("a", "b", "c", "d")]
        await until(lambda: len(host.runner.running()) == 3)
        reconfigure(host, waiting(tmp_path, "x"), concurrency=1)
        assert (await host.end_of(jobs[3])).ending is Ending.GIVEN_BACK
        for number, name in enumerate(("a", "b", "c")):
            assert host.runner.room() == 0
            assert len(host.runner.running()) == 3 - number
            (tmp_path / name).touch()
            assert (await host.end_of(jobs[number])).ending is Ending.COMPLETED
        await until(lambda: host.runner.room() == 1)


async def test_with_more_jobs_at_once_there_is_room_at_once_and_it_is_told(tmp_path: Path) -> None:
    told: list[int] = []
    async with hosting(tmp_path, waiting(tmp_path, "x"), concurrency=1) as host:
        host.runner.on_room = lambda: told.append(host.runner.room())
        host.start("a")
        await until(host.runner.running)
        reconfigure(host, waiting(tmp_path, "x"), concurrency=3)
        assert host.runner.room() == 2
        await until(lambda: told == [2])
        (tmp_path / "a").touch()


def call(study: Path, name: str, **settings: object) -> Flow:
    return Flow(entrypoint=f"study:{name}", directory=study, **settings)  # type: ignore[arg-type]


async def test_a_changed_callables_worker_is_replaced_once_its_call_has_ended(study: Path) -> None:
    file = str(study / "end")
    async with hosting(study, call(study, "wait", env={"VERSION": "1"})) as host:
        first = host.start(parameters={"file": file})
        await until((study / "end.begun").exists)
        old = host.runner.running()[0].pid
        assert old is not None
        reconfigure(host, call(study, "wait", env={"VERSION": "2"}))
        assert alive(old)
        (study / "end").touch()
        assert json.loads((await host.end_of(first)).result or "") == {"pid": old, "version": "1"}
        await until_dead(old)
        again = json.loads((await host.run(parameters={"file": file})).result or "")
        assert (again["version"], again["pid"] != old) == ("2", True)


async def test_a_removed_callables_idle_worker_ends_at_once(study: Path) -> None:
    (study / "end").touch()
    async with hosting(study, call(study, "wait")) as host:
        pid = json.loads((await host.run(parameters={"file": str(study / "end")})).result or "")["pid"]
        reconfigure(host)
        await until_dead(pid)


async def test_a_flow_that_has_not_changed_keeps_its_worker(study: Path) -> None:
    (study / "end").touch()
    parameters = {"file": str(study / "end")}
    async with hosting(study, call(study, "wait")) as host:
        first = await host.run(parameters=parameters)
        reconfigure(host, call(study, "wait"), shell("true", name="other"), concurrency=4)
        assert (await host.run(parameters=parameters)).result == first.result


async def test_what_was_handed_to_a_worker_and_has_not_begun_runs_under_the_new_flow(study: Path) -> None:
    files = [str(study / str(number)) for number in range(3)]
    async with hosting(study, call(study, "wait", env={"VERSION": "1"}), concurrency=1) as host:
        (study / "0").touch()
        for _ in range(30):  # quick ones, so that the worker is handed calls ahead
            await host.run(parameters={"file": files[0]})
        running = host.start(parameters={"file": files[1]})
        await until((study / "1.begun").exists)
        queued = host.start(parameters={"file": files[2]})
        await until(lambda: len(host.runner.executing()) == 2)
        reconfigure(host, call(study, "wait", env={"VERSION": "2"}), concurrency=1)
        assert (await host.end_of(queued)).ending is Ending.GIVEN_BACK
        (study / "1").touch()
        assert json.loads((await host.end_of(running)).result or "")["version"] == "1"


async def test_an_async_flow_may_execute_more_calls_once_the_daemon_may_run_more_jobs(study: Path) -> None:
    flow = call(study, "many", concurrency=8)
    async with hosting(study, flow, concurrency=1) as host:
        first = host.start(parameters={"file": str(study / "a")})
        await until((study / "a.begun").exists)
        reconfigure(host, flow, concurrency=4)
        others = [host.start(parameters={"file": str(study / "b")}) for _ in range(3)]
        await until(lambda: len(host.runner.running()) == 4)
        (study / "a").touch()
        (study / "b").touch()
        for job in (first, *others):
            assert (await host.end_of(job)).ending is Ending.COMPLETED

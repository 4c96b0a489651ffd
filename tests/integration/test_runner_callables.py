"""Callable flows in real workers."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from buttermilkd.jobs import Ending
from tests.integration.runner_host import Flow, Host, alive, hosting, state_of, until, until_dead

FLOWS = """
import asyncio, logging, os, signal, sys, time
from buttermilkd.flows import Reject, Retry
print("imported")
log = logging.getLogger("study"); log.addHandler(logging.StreamHandler())

def echo(job):
    print("printed by", job.record_id); print("and warned", file=sys.stderr); log.warning("logged")
    return {"record": job.record_id, "attempt": job.attempt, "model": job.parameters.get("model"), "pid": os.getpid()}
def act(job):
    what = job.record_id
    if what == "retry": raise Retry("not yet", after=7)
    if what == "reject": raise Reject("not a text")
    if what == "raise": raise KeyError("missing")
    if what == "exit": sys.exit(3)
    if what == "interrupt": raise KeyboardInterrupt
    if what == "nan": return float("nan")
    if what == "object": return object()
    if what == "long": return "x" * 100_000
    if what == "segv": os.kill(os.getpid(), signal.SIGSEGV)
    if what == "die": os._exit(3)
    if what == "wait":
        open(job.parameters["file"], "w").close()
        while True: time.sleep(0.01)
    if what == "intrude": os.write(3, b"5\\n"); time.sleep(1000)
    if what == "shapeless": os.write(3, b'{"ending": 1}\\n'); time.sleep(1000)
    if what == "flood": print("x" * 1_000_000); print("end")
    return what
running = 0
async def many(job):
    global running
    running += 1
    most = running
    print("begun")
    try:
        if job.record_id == "wait": await asyncio.sleep(1000)
        if job.record_id == "stubborn":
            while True:
                try: await asyncio.sleep(1000)
                except asyncio.CancelledError: pass
        if job.record_id == "block": time.sleep(1000)
        if job.record_id == "exit": sys.exit(1)
        for _ in range(20):
            await asyncio.sleep(0); most = max(most, running)
        return most
    finally:
        running -= 1
class Model:
    async def __call__(self, job): return "called"
model = Model()
def escape(job):
    import subprocess
    return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
"""


@pytest.fixture
def study(tmp_path: Path) -> Path:
    (tmp_path / "study.py").write_text(FLOWS)
    (tmp_path / "broken.py").write_text("print('before')\nimport no_such_module\n")
    return tmp_path


def calling(name: str, study: Path, **settings: Any) -> Flow:
    return Flow(entrypoint=name, directory=study, **settings)


def interpreters() -> list[str]:
    found = {"/usr/bin/python3", sys.executable}
    for minor in (9, 10, 12, 13):
        found |= {str(path) for path in Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}*/bin/python")}
    return sorted(path for path in found if Path(path).exists())


@pytest.mark.parametrize("python", interpreters())
async def test_a_call_gets_the_job_and_its_value_is_the_result(study: Path, python: str) -> None:
    async with hosting(study, calling("study:echo", study, python=python)) as host:
        outcome = await host.run("ä\n", parameters={"model": "small"})
        again = await host.run("b")
    result = json.loads(outcome.result or "")
    assert (result["record"], result["attempt"], result["model"]) == ("ä\n", 1, "small")
    assert outcome.log.decode() == "printed by ä\n\nand warned\nlogged\n"
    assert json.loads(again.result or "")["pid"] == result["pid"]


@pytest.mark.parametrize("python", interpreters())
async def test_calls_of_an_async_callable_go_on_at_once_up_to_its_limit(study: Path, python: str) -> None:
    flow = calling("study:many", study, python=python, concurrency=3)
    async with hosting(study, flow, concurrency=8) as host:
        await host.run()
        outcomes = [await host.end_of(job_id) for job_id in [host.start(str(n)) for n in range(12)]]
    assert max(json.loads(outcome.result or "") for outcome in outcomes) == 3
    assert {outcome.ending for outcome in outcomes} == {Ending.COMPLETED}


@pytest.mark.parametrize(
    ("record_id", "ending", "cause"),
    [
        ("retry", Ending.DEFERRED, "Retry: not yet"),
        ("reject", Ending.REJECTED, "Reject: not a text"),
        ("raise", Ending.FAILED, "KeyError: 'missing'"),
        ("exit", Ending.FAILED, "SystemExit: 3"),
        ("interrupt", Ending.FAILED, "KeyboardInterrupt"),
        ("nan", Ending.FAILED, "result cannot be JSON: Out of range float values are not JSON compliant"),
        ("object", Ending.FAILED, "result cannot be JSON: Object of type object is not JSON serializable"),
        ("long", Ending.FAILED, "the result is over 65,536 bytes"),
        ("segv", Ending.FAILED, "worker died: SIGSEGV"),
        ("die", Ending.FAILED, "worker exited with status 3"),
    ],
)
async def test_what_goes_wrong_in_a_call_concerns_that_attempt_alone(
    study: Path, record_id: str, ending: Ending, cause: str
) -> None:
    async with hosting(study, calling("study:act", study)) as host:
        outcome = await host.run(record_id)
        after = await host.run("fine")
    assert (outcome.ending, outcome.cause) == (ending, cause)
    assert (after.ending, after.result) == (Ending.COMPLETED, '"fine"')
    assert outcome.retry_after == (7.0 if record_id == "retry" else None)


async def test_a_traceback_shows_the_flows_own_frames(study: Path) -> None:
    async with hosting(study, calling("study:act", study)) as host:
        error = (await host.run("raise")).error or ""
    assert error.startswith("Traceback (most recent call last):\n")
    assert "study.py" in error
    assert "worker.py" not in error


async def test_what_a_call_prints_is_bounded(study: Path) -> None:
    async with hosting(study, calling("study:act", study)) as host:
        outcome = await host.run("flood")
    assert len(outcome.log) < 70_000
    assert outcome.log.endswith(b"end\n")
    assert b"bytes left out" in outcome.log


@pytest.mark.parametrize(
    ("entrypoint", "cause"),
    [
        ("broken:flow", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("study:gone", "AttributeError: module 'study' has no attribute 'gone'"),
        ("study:log.name", "TypeError: study:log.name is not callable"),
    ],
)
async def test_an_import_failure_fails_what_was_handed_over_and_waits(
    study: Path, entrypoint: str, cause: str
) -> None:
    async with hosting(study, calling(entrypoint, study)) as host:
        outcome = await host.run()
        await until(lambda: not (host.runner.rooms()))
        assert (outcome.ending, outcome.cause) == (Ending.FAILED, cause)
        assert (await host.run()).cause == cause


async def test_a_missing_interpreter_fails_the_attempt(study: Path) -> None:
    async with hosting(study, calling("study:echo", study, python="/no/such/python")) as host:
        outcome = await host.run()
    assert outcome.ending is Ending.FAILED
    assert "No such file or directory" in (outcome.error or "")


async def test_an_object_with_an_async_call_is_async(study: Path) -> None:
    async with hosting(study, calling("study:model", study)) as host:
        assert (await host.run()).result == '"called"'


async def _begin_waiting(host: Host, study: Path) -> str:
    file = study / f"begun-{len(host.outcomes)}"
    job_id = host.start("wait", parameters={"file": str(file)})
    await until(file.exists)
    return job_id


async def test_a_hung_call_times_out_and_its_worker_is_replaced(study: Path) -> None:
    async with hosting(study, calling("study:act", study, timeout=0.2)) as host:
        outcome = await host.end_of(await _begin_waiting(host, study))
        after = await host.run("fine")
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, "timed out after 0.2s")
    assert after.ending is Ending.COMPLETED


@pytest.mark.parametrize("what", ["intrude", "shapeless"])
async def test_a_call_that_writes_to_its_workers_socket_fails_and_harms_nobody_else(
    study: Path, what: str
) -> None:
    async with hosting(study, calling("study:act", study)) as host:
        outcome = await host.run(what)
        after = await host.run("fine")
    assert outcome.ending is Ending.FAILED
    assert "file descriptor 3" in (outcome.cause or "")
    assert after.ending is Ending.COMPLETED


@pytest.mark.parametrize("now", [False, True])
async def test_stopping_a_call_replaces_its_worker(study: Path, now: bool) -> None:
    async with hosting(study, calling("study:act", study)) as host:
        job_id = await _begin_waiting(host, study)
        await host.runner.stop([job_id], Ending.CANCELLED, now=now)
        assert (host.outcomes[job_id].ending, host.outcomes[job_id].killed) == (Ending.CANCELLED, now)
        assert (await host.run("fine")).ending is Ending.COMPLETED


async def test_what_is_queued_behind_a_stopped_call_is_given_back(study: Path) -> None:
    async with hosting(study, calling("study:act", study), concurrency=1) as host:
        for _ in range(20):
            await host.run("fine")
        room = host.runner.room()
        assert room > 1
        first = host.start("wait", parameters={"file": str(study / "begun")})
        others = [host.start("fine") for _ in range(room - 1)]
        await until((study / "begun").exists)
        assert host.runner.room() == 0
        host.runner.recall()
        assert {(await host.end_of(job_id)).ending for job_id in others} == {Ending.GIVEN_BACK}
        assert first not in host.outcomes
        await host.runner.stop([first], Ending.GIVEN_BACK)
        assert host.outcomes[first].ending is Ending.GIVEN_BACK


async def test_a_worker_that_dies_costs_only_what_it_had_begun(study: Path) -> None:
    async with hosting(study, calling("study:act", study), concurrency=1) as host:
        for _ in range(20):
            await host.run("fine")
        dying = host.start("segv")
        behind = [host.start("fine") for _ in range(3)]
        assert (await host.end_of(dying)).cause == "worker died: SIGSEGV"
        assert {(await host.end_of(job_id)).ending for job_id in behind} <= {
            Ending.GIVEN_BACK,
            Ending.COMPLETED,
        }
        assert (await host.run("fine")).ending is Ending.COMPLETED


async def test_one_async_call_is_cancelled_and_the_others_go_on(study: Path) -> None:
    async with hosting(study, calling("study:many", study, concurrency=2)) as host:
        await host.run()
        stopped, other = host.start("wait"), host.start("wait")
        await host.until_printed(stopped, b"begun")
        await host.runner.stop([stopped], Ending.CANCELLED)
        assert host.outcomes[stopped].ending is Ending.CANCELLED
        assert other not in host.outcomes
        assert (await host.run()).ending is Ending.COMPLETED


@pytest.mark.parametrize("record_id", ["stubborn", "block"])
async def test_an_async_call_that_will_not_end_costs_the_worker(study: Path, record_id: str) -> None:
    async with hosting(study, calling("study:many", study, concurrency=2, grace=0.1, timeout=None)) as host:
        await host.run()
        other = host.start("wait")
        stopped = host.start(record_id)
        await host.until_printed(stopped, b"begun")
        await host.runner.stop([stopped], Ending.CANCELLED)
        assert (host.outcomes[stopped].ending, host.outcomes[stopped].killed) == (Ending.CANCELLED, True)
        assert (await host.end_of(other)).ending is Ending.GIVEN_BACK


async def test_an_async_timeout_cancels_the_call_alone(study: Path) -> None:
    async with hosting(study, calling("study:many", study, concurrency=2, timeout=0.2)) as host:
        await host.run()
        outcome = await host.run("wait")
        pid = next(iter(host.runner._lanes))._workers[0]._process.pid  # type: ignore[attr-defined]
        exited = await host.run("exit")
        assert alive(pid)
    assert outcome.cause == "timed out after 0.2s"
    assert exited.cause == "SystemExit: 1"


async def test_a_suspended_worker_stands_still_and_goes_on(study: Path) -> None:
    async with hosting(study, calling("study:act", study)) as host:
        job_id = await _begin_waiting(host, study)
        pid = host.runner.running()[0].pid
        host.runner.recall()
        host.runner.suspend([job_id])
        await until(lambda: state_of(pid) == "T")
        assert host.runner.rooms() == {}
        host.runner.resume([job_id])
        await until(lambda: state_of(pid) != "T")
        host.runner.suspend([job_id])
        await host.runner.stop([job_id], Ending.GIVEN_BACK)
        assert not host.outcomes[job_id].killed


@pytest.mark.parametrize("entrypoint", ["study:act", "slow:act"], ids=["in the call", "in the import"])
async def test_what_ends_with_the_launcher_is_interrupted_and_its_flow_goes_on(
    study: Path, entrypoint: str
) -> None:
    waits = "import pathlib, time\nif not pathlib.Path('wait').exists():\n    open('wait', 'w'); time.sleep(1000)\n"
    (study / "slow.py").write_text(f"{waits}from study import act\n")
    async with hosting(study, calling(entrypoint, study)) as host:
        job_id = host.start("wait", parameters={"file": str(study / "wait")})
        await until((study / "wait").exists)
        launcher = host.runner._spawner.launcher_pid
        assert launcher is not None
        os.kill(launcher, signal.SIGKILL)
        outcome = await host.end_of(job_id)
        assert (outcome.ending, outcome.cause) == (Ending.INTERRUPTED, "launcher died")
        assert host.runner.room() > 0
        assert (await host.run("again")).result == '"again"'


async def test_what_waits_for_an_import_is_given_back_when_the_runner_ends(study: Path) -> None:
    (study / "slow.py").write_text("import time\nopen('importing', 'w')\ntime.sleep(1000)\n")
    async with hosting(study, calling("slow:act", study)) as host:
        job_id = host.start()
        await until((study / "importing").exists)
    assert host.outcomes[job_id].ending is Ending.GIVEN_BACK


async def test_a_worker_runs_at_idle_priority_and_its_children_end_with_it(study: Path) -> None:
    async with hosting(study, calling("study:escape", study)) as host:
        pid = int((await host.run()).result or "")
        assert os.sched_getscheduler(pid) == os.SCHED_IDLE
        worker = next(iter(host.runner._lanes))._workers[0]._process.pid  # type: ignore[attr-defined]
        os.kill(worker, signal.SIGKILL)
        await until_dead(pid)


async def test_two_workers_run_two_calls_at_once(study: Path) -> None:
    async with hosting(study, calling("study:echo", study, workers=2)) as host:
        first, second = [await host.end_of(job_id) for job_id in [host.start(), host.start()]]
    assert json.loads(first.result or "")["pid"] != json.loads(second.result or "")["pid"]


async def test_a_changed_flow_counts_for_later_jobs(study: Path) -> None:
    async with hosting(study, calling("study:echo", study)) as host:
        before = json.loads((await host.run()).result or "")["pid"]
        host.runner.flows = {"flow": calling("study:act", study)}
        host.runner.reconfigure(concurrency=2)
        assert (await host.run("fine")).result == '"fine"'
        await until_dead(before)

"""Jobs whose launcher is a service of its own: the same as those of a child, and what is different."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from buttermilkd.jobs import Ending
from buttermilkd.runner.launcher.handshake import welcome
from buttermilkd.runner.launcher.spawner import Spawner
from buttermilkd.runner.launcher.unit import (
    ANSWER_PATIENCE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    LauncherUnit,
    answer_of,
)
from buttermilkd.runner.timers import Timers
from buttermilkd.testing import HandMovedClock
from tests.integration.launcher_service import Service, service
from tests.integration.runner_host import Host, alive, hosting, python, shell, state_of, until, until_dead


@pytest.fixture
async def unit(tmp_path: Path) -> AsyncIterator[Service]:
    async with service(tmp_path) as one:
        yield one


async def until_ready(host: Host) -> None:
    await until(lambda: host.runner.room() > 0)


async def pid_of(host: Host, job_id: str) -> int:
    return int((await host.until_printed(job_id, b"\n")).split()[0])


async def test_jobs_run_there_and_their_results_come_back(unit: Service, tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("echo $PPID; echo '[1]' >$BUTTERMILK_RESULT"), unit=unit.path) as host:
        await until_ready(host)
        outcome = await host.run()
        assert unit.process is not None
        assert (outcome.ending, outcome.result, int(outcome.log)) == (
            Ending.COMPLETED,
            "[1]",
            unit.process.pid,
        )


async def test_a_callables_worker_runs_there_as_well(unit: Service, tmp_path: Path) -> None:
    (tmp_path / "calls.py").write_text("import os\ndef parent(job): return os.getppid()\n")
    flow = python("", directory=tmp_path)
    flow = type(flow)(entrypoint="calls:parent", directory=tmp_path)
    async with hosting(tmp_path, flow, unit=unit.path) as host:
        await until_ready(host)
        outcome = await host.run()
        assert unit.process is not None
        assert outcome.result == str(unit.process.pid), outcome


async def test_nothing_is_taken_until_it_answers_and_what_was_is_given_back(tmp_path: Path) -> None:
    async with service(tmp_path, follows=False) as unit:
        async with hosting(tmp_path, shell("exit 0"), unit=unit.path) as host:
            assert (host.runner.room(), host.runner.rooms()) == (0, {})
            assert host.launcher.trouble == "the launcher of jobs has not answered yet"
            assert (await host.run()).ending is Ending.GIVEN_BACK
            await unit.start()
            await until_ready(host)
            assert host.launcher.trouble is None
            assert (await host.run()).ending is Ending.COMPLETED


async def test_where_nobody_listens_it_says_so_and_goes_on_trying(tmp_path: Path) -> None:
    async with service(tmp_path) as gone:
        pass
    path = gone.path
    gone.listener.close()
    async with hosting(tmp_path, shell("exit 0"), unit=path) as host:
        await until(lambda: "cannot be reached" in (host.launcher.trouble or ""))
        assert (
            host.launcher.trouble
            == f"the launcher of jobs cannot be reached at {path}: No such file or directory"
        )
        async with service(tmp_path):
            await until_ready(host)
            assert (await host.run()).ending is Ending.COMPLETED


@dataclass
class Scene:
    """The connection alone, with a clock that is moved by hand."""

    launcher: LauncherUnit
    clock: HandMovedClock


@asynccontextmanager
async def connecting(path: Path, keep_fds: Sequence[int] = ()) -> AsyncIterator[Scene]:
    clock = HandMovedClock()
    scene = Scene(LauncherUnit(path, clock, keep_fds), clock)
    spawner = Spawner(timers=Timers(clock), fail=_raise, start=scene.launcher.start)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(scene.launcher.run(spawner, empty=_nothing, changed=lambda: None))
        yield scene
        await spawner.close()
        task.cancel()


def _raise(error: Exception) -> None:
    raise error


async def _nothing() -> None:
    """There are no jobs."""


async def test_one_that_does_not_answer_is_given_up_after_a_while_and_tried_again(tmp_path: Path) -> None:
    async with service(tmp_path, follows=False) as unit, connecting(unit.path) as scene:
        await scene.clock.advance(ANSWER_PATIENCE)
        assert (scene.launcher.trouble or "").endswith("jobs.sock: it does not answer")
        await scene.clock.advance(FIRST_PAUSE)
        assert await (await unit.start()).wait() == 0  # it finds the connection that was given up
        await unit.start()
        await until(lambda: scene.launcher.trouble is None)


ANSWERS = [
    *(b"not JSON", b"[1]", b"{}", b"7", b"[" * 60_000, b'["ready"]', b'["ready", 1, 2, 3, 4, 5]'),
    *(b'["ready", 1, "x", null, null]', b'["ready", 1, -1, null, null]', b'["ready", 1, 1e400, null, null]'),
    *(b'["ready", 1, 99999999999999999999, null, null]', b'["ready", 1, 1, 7, null]'),
    b'["ready", 1, 1, "/\\u0000", null]',
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer[:45].decode())
async def test_one_whose_answer_is_none_is_told_of(tmp_path: Path, answer: bytes) -> None:
    async with service(tmp_path, follows=False) as unit, connecting(unit.path) as scene:
        await scene.clock.advance(0)
        other, _ = unit.listener.accept()
        with other:
            other.send(answer)
            await until(lambda: (scene.launcher.trouble or "").endswith("its answer is none"))


@pytest.mark.parametrize("answer", [["other", 7], ["ready", 7, "of", "another", "form", "perhaps"]])
async def test_one_of_another_version_is_told_of_with_what_to_do(
    tmp_path: Path, answer: list[object]
) -> None:
    async with service(tmp_path, follows=False) as unit, connecting(unit.path) as scene:
        await scene.clock.advance(0)
        other, _ = unit.listener.accept()
        with other:
            other.send(json.dumps(answer).encode())
            words = "it speaks protocol 7 and this daemon 1, so one of them is older: restart buttermilkd"
            await until(lambda: (scene.launcher.trouble or "").endswith(words))


async def test_what_goes_wrong_with_the_connection_is_an_error_of_its_own() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as nowhere:
        nowhere.setblocking(False)
        with pytest.raises(OSError, match="not connected"):
            await answer_of(nowhere, HandMovedClock())


async def test_one_that_cannot_be_started_does_not_keep_what_it_would_have_been_given(tmp_path: Path) -> None:
    """The socket of a service that never starts lives on, with what was sent to it, when the daemon has died."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    async with service(tmp_path, follows=False) as unit:
        async with connecting(unit.path, [lock]) as scene:
            await scene.clock.advance(0)
            assert scene.launcher.trouble
        os.close(lock)
        again = os.open(tmp_path / "lock", os.O_RDWR)
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(again)


@pytest.mark.parametrize("said", [b"not JSON", b'["ended", 99, 0]', b'["started", 1, -1, false]'])
async def test_one_that_says_what_it_cannot_mean_is_ended_and_the_next_one_runs_jobs(
    tmp_path: Path, said: bytes
) -> None:
    async with service(tmp_path, follows=False) as unit:
        async with hosting(tmp_path, shell("exit 0"), unit=unit.path) as host:
            other, _ = unit.listener.accept()
            with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as odd, other:  # noqa: ASYNC220
                other.send(welcome(odd.pid, None, "no groups here"))
                await until_ready(host)
                job_id = host.start()
                other.send(said)
                await until(lambda: odd.poll() is not None)
            assert (await host.end_of(job_id)).ending is not Ending.COMPLETED
            await unit.start()
            await until_ready(host)
            assert (await host.run()).ending is Ending.COMPLETED


async def test_tries_to_connect_grow_rarer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tries = 0
    async with connecting(tmp_path / "jobs.sock") as scene:
        await scene.clock.advance(0)
        assert (scene.launcher.trouble or "").endswith("No such file or directory")
        async with service(tmp_path, follows=False) as unit:
            unit.listener.setblocking(False)
            for _ in range(10):
                await scene.clock.advance(LONGEST_PAUSE)
                with suppress(BlockingIOError):
                    unit.listener.accept()[0].close()
                    tries += 1
                await until(lambda: "cannot be reached" in (scene.launcher.trouble or ""))
    assert tries == 10
    assert [record.message for record in caplog.records if "No such file" in record.message] == [
        (
            f"the launcher of jobs cannot be reached at {tmp_path}/jobs.sock: No such file or directory; "
            "no job starts until it can be"
        )
    ]


async def test_when_the_daemon_ends_its_jobs_and_the_service_end_before_it(
    unit: Service, tmp_path: Path
) -> None:
    async with hosting(tmp_path, shell("echo $$; setsid sleep 1000 & sleep 1000"), unit=unit.path) as host:
        await until_ready(host)
        job_id = host.start()
        pid = await pid_of(host, job_id)
        launcher = host.runner._spawner.launcher_pid
    assert host.outcomes[job_id].ending is Ending.GIVEN_BACK
    assert not alive(pid)
    assert launcher is not None
    assert not alive(launcher)
    assert unit.process is not None
    assert await unit.process.wait() == 0


async def test_an_end_that_is_waited_for_in_vain_gives_no_job_back_before_it_is_dead(
    unit: Service, tmp_path: Path
) -> None:
    async with hosting(tmp_path, shell("setsid sleep 1000 & echo $!; wait"), unit=unit.path) as host:
        await until_ready(host)
        job_id = host.start()
        escapee, spawner = await pid_of(host, job_id), host.runner._spawner
        assert spawner.launcher_pid is not None
        launcher = spawner.launcher_pid
        os.kill(launcher, signal.SIGSTOP)
        closing = asyncio.create_task(spawner.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert alive(escapee)
        assert job_id not in host.outcomes
        os.kill(launcher, signal.SIGCONT)
    assert host.outcomes[job_id].ending is Ending.GIVEN_BACK
    assert not alive(escapee)
    assert not alive(launcher)


async def test_when_it_is_killed_its_jobs_are_interrupted_and_the_next_one_runs(
    unit: Service, tmp_path: Path
) -> None:
    async with hosting(tmp_path, shell("echo $$; setsid sleep 1000 & sleep 1000"), unit=unit.path) as host:
        await until_ready(host)
        job_id = host.start()
        pid = await pid_of(host, job_id)
        unit.signal(signal.SIGKILL)
        outcome = await host.end_of(job_id)
        assert (outcome.ending, outcome.cause) == (Ending.INTERRUPTED, "launcher died")
        await until_dead(pid)
        await until_ready(host)
        await pid_of(host, host.start())
        assert unit.started == 2


async def test_when_it_is_stopped_its_jobs_end_with_their_grace_and_are_given_back(
    unit: Service, tmp_path: Path
) -> None:
    polite = "trap 'echo saved; exit 1' TERM; echo $$; while :; do sleep 0.01; done"
    async with hosting(tmp_path, shell(polite), unit=unit.path) as host:
        await until_ready(host)
        job_id = host.start()
        await pid_of(host, job_id)
        unit.signal(signal.SIGTERM)
        outcome = await host.end_of(job_id)
        assert (outcome.ending, outcome.killed) == (Ending.GIVEN_BACK, False)
        assert b"saved" in outcome.log
        await until(lambda: unit.started == 2)
        await until_ready(host)
        await pid_of(host, host.start())


async def test_a_suspended_job_ends_as_well_when_it_is_stopped(unit: Service, tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("echo $$; exec sleep 1000"), unit=unit.path) as host:
        await until_ready(host)
        job_id = host.start()
        pid = await pid_of(host, job_id)
        host.runner.suspend([job_id])
        await until(lambda: state_of(pid) == "T")
        unit.signal(signal.SIGTERM)
        assert (await host.end_of(job_id)).ending is Ending.GIVEN_BACK
        await until_dead(pid)


async def test_a_job_that_tries_to_stop_it_does_not(unit: Service, tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("kill -TERM $PPID; sleep 0.1; echo $PPID"), unit=unit.path) as host:
        await until_ready(host)
        first, second = await host.run(), await host.run()
        assert first.ending is second.ending is Ending.COMPLETED
        assert first.log == second.log


async def test_what_jobs_have_used_is_counted_on_when_it_is_started_again(
    unit: Service, tmp_path: Path
) -> None:
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    async with hosting(tmp_path, python(burn), unit=unit.path) as host:
        await until_ready(host)
        await host.run()
        before = host.runner.footprint.cpu_seconds()
        assert before is not None
        assert before >= 0.1
        launcher = host.runner._spawner.launcher_pid
        assert launcher is not None
        os.kill(launcher, signal.SIGKILL)
        await until(lambda: unit.started == 2)
        await until_ready(host)
        await host.run()
        after = host.runner.footprint.cpu_seconds()
        assert after is not None
        assert after - before >= 0.1

"""Timeouts, stops, suspensions, and processes that try to stay."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from buttermilkd.jobs import Ending
from buttermilkd.runner.launcher.processes import mark_of
from tests.integration.runner_host import (
    Flow,
    Host,
    alive,
    hosting,
    processes_marked,
    python,
    shell,
    until,
    until_dead,
)

IGNORES_SIGTERM = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
ESCAPEE = """if True:
    import os, time
    if os.fork() == 0:
        os.setsid()
        escaped = os.fork()
        if escaped == 0:
            os.close(1); os.close(2)
            while True: time.sleep(1)
        print(escaped, flush=True)
        os._exit(0)
    os.wait()
"""


def number_in(log: bytes) -> int:
    return int(log.split()[0])


async def test_stop_is_sigterm_and_the_outcome_is_what_was_asked(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("trap 'echo bye; exit 0' TERM; echo ready; sleep 100 & wait")) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        await host.runner.stop([job_id, "batch-1.99"], Ending.CANCELLED)
        outcome = host.outcomes[job_id]
    assert (outcome.ending, outcome.killed, outcome.log) == (Ending.CANCELLED, False, b"ready\nbye\n")


async def test_what_ignores_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell(IGNORES_SIGTERM, grace=0.1)) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        await host.runner.stop([job_id], Ending.GIVEN_BACK)
        outcome = host.outcomes[job_id]
    assert (outcome.ending, outcome.killed) == (Ending.GIVEN_BACK, True)


async def test_stop_now_does_not_wait(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell(IGNORES_SIGTERM, grace=1000)) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        await host.runner.stop([job_id], Ending.CANCELLED, now=True)
        assert host.outcomes[job_id].killed


async def test_a_job_is_stopped_even_before_it_has_a_process(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("sleep 100"), concurrency=1) as host:
        job_ids = [host.start(), host.start()]
        await asyncio.sleep(0)
        await host.runner.stop(job_ids, Ending.CANCELLED)
        assert [host.outcomes[job_id].ending for job_id in job_ids] == [Ending.CANCELLED] * 2


async def test_a_timeout_fails_the_attempt(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("sleep 100", timeout=0.1)) as host:
        outcome = await host.run()
    assert (outcome.ending, outcome.cause) == (Ending.FAILED, "timed out after 0.1s")


async def test_children_in_the_group_do_not_outlive_their_leader(tmp_path: Path) -> None:
    script = "(trap '' TERM HUP; sh -c 'sleep 1000 & echo $!; wait' & wait) & read x < $PIPE"
    os.mkfifo(tmp_path / "pipe")
    async with hosting(tmp_path, shell(script, env={"PIPE": str(tmp_path / "pipe")})) as host:
        job_id = host.start()
        pid = number_in(await host.until_printed(job_id, b"\n"))
        assert alive(pid)
        (tmp_path / "pipe").write_text("go\n")
        assert (await host.end_of(job_id)).ending is Ending.COMPLETED
        await until_dead(pid)


async def test_a_process_that_escapes_its_session_ends_with_its_job(tmp_path: Path) -> None:
    async with hosting(tmp_path, python(ESCAPEE)) as host:
        outcome = await host.run()
        await until_dead(number_in(outcome.log))
    assert outcome.ending is Ending.COMPLETED


async def test_an_escapee_of_a_longer_job_ends_with_it_and_others_stay(tmp_path: Path) -> None:
    long = python(
        ESCAPEE + "\n    input_ = open(os.environ['PIPE']).read()",
        name="long",
        env={"PIPE": str(tmp_path / "p")},
    )
    os.mkfifo(tmp_path / "p")
    async with hosting(tmp_path, long, python(ESCAPEE, name="short")) as host:
        longer = host.start(flow="long")
        kept = number_in(await host.until_printed(longer, b"\n"))
        short = await host.run(flow="short")
        await until_dead(number_in(short.log))
        assert alive(kept)
        (tmp_path / "p").write_text("")
        await host.end_of(longer)
        await until_dead(kept)


async def _launcher_of(host: Host) -> int:
    pid = host.runner._spawner.launcher_pid
    assert pid is not None
    return pid


async def test_when_the_launcher_is_killed_its_jobs_are_interrupted_and_the_next_one_runs(
    tmp_path: Path,
) -> None:
    flow = python(
        "import os, subprocess\nprint(os.getpid(), flush=True)\nsubprocess.run(['sleep', '1000'], start_new_session=True)"
    )
    async with hosting(tmp_path, flow, Flow(name="next", command=("true",))) as host:
        job_id = host.start()
        pid = number_in(await host.until_printed(job_id, b"\n"))
        os.kill(await _launcher_of(host), signal.SIGKILL)
        outcome = await host.end_of(job_id)
        assert (outcome.ending, outcome.cause) == (Ending.INTERRUPTED, "launcher died")
        await until_dead(pid, *processes_marked(str(tmp_path)))
        assert (await host.run(flow="next")).ending is Ending.COMPLETED


async def test_so_is_a_job_that_has_wiped_its_environment_and_nothing_of_it_stays(
    tmp_path: Path,
) -> None:
    script = "env -i setsid sh -c 'echo $$; exec sleep 1000' & echo $$; exec env -i sleep 1000"
    async with hosting(tmp_path, shell(script)) as host:
        job_id, log = host.start(), b""
        while len(log.split()) < 2:
            log = await host.until_printed(job_id, b"\n")
        pids = [int(pid) for pid in log.split()]
        await until(lambda: all(mark_of(pid) is None for pid in pids))
        os.kill(await _launcher_of(host), signal.SIGKILL)
        assert (await host.end_of(job_id)).ending is Ending.INTERRUPTED
        await until_dead(*pids)


async def test_cancelling_the_runner_gives_back_and_leaves_no_process(tmp_path: Path) -> None:
    script = "(setsid sh -c 'echo $$; exec sleep 1000' &) ; echo $$; exec sleep 1000"
    async with hosting(tmp_path, shell(script)) as host:
        job_id = host.start()
        waiting = [host.start() for _ in range(3)]
        log = b""
        while len(log.split()) < 2:
            log = await host.until_printed(job_id, b"\n")
        launcher = await _launcher_of(host)
    assert {host.outcomes[each].ending for each in (job_id, *waiting)} == {Ending.GIVEN_BACK}
    assert not any(alive(int(pid)) for pid in log.split())
    assert not alive(launcher)


HOST_PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.integration.runner_host import hosting, shell
script = "(trap '' TERM; setsid sh -c 'trap : TERM; while :; do sleep 1; done' &); sleep 1000 & echo $$ $!; wait"
async def main():
    with open(sys.argv[3]) as lock:
        async with hosting(Path(sys.argv[2]), shell(script, env={"TREE": sys.argv[2]}), keep_fds=[lock.fileno()]) as host:
            for job_id in [host.start(), host.start()]:
                await host.until_printed(job_id, b"\\n")
            print("ready", flush=True)
            await asyncio.Event().wait()
asyncio.run(main())
"""


async def test_when_the_daemon_is_killed_nothing_survives(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch()
    daemon = subprocess.Popen(  # noqa: ASYNC220 - killed as a daemon would be, from outside
        [sys.executable, "-c", HOST_PROGRAM, str(Path(__file__).parent), str(tmp_path), str(lock)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )
    with daemon:
        assert daemon.stdout is not None
        assert await asyncio.to_thread(daemon.stdout.readline) == b"ready\n"
        assert len(processes_marked(f"TREE={tmp_path}")) >= 4
        daemon.kill()
    await until(lambda: not (processes_marked(f"TREE={tmp_path}")))
    await until(lambda: not (any(_holds(process, lock) for process in Path("/proc").glob("[0-9]*"))))
    assert processes_marked(f"TREE={tmp_path}") == []


def _holds(process: Path, file: Path) -> bool:
    try:
        return any(fd.readlink() == file for fd in (process / "fd").iterdir())
    except OSError:
        return False


async def test_cpu_time_is_counted_while_and_after_a_job_runs(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\nimport sys; sys.stdin.read(); open({!r}).read()"
    os.mkfifo(tmp_path / "p")
    async with hosting(tmp_path, python(burn.format(str(tmp_path / "p")))) as host:
        assert host.runner.footprint.cpu_seconds() is None
        job_id = host.start()
        await host.until_printed(job_id, b"burnt")
        during = host.runner.footprint.cpu_seconds()
        (tmp_path / "p").write_text("")
        await host.end_of(job_id)
        after = host.runner.footprint.cpu_seconds()
    assert during is not None
    assert after is not None
    assert after >= during >= 0.3

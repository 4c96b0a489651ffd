"""Jobs that are suspended and go on: by the freezer of their control group, or else by signals."""

import asyncio
import os
from pathlib import Path

from buttermilkd.cgroups import Group
from buttermilkd.jobs import Ending
from tests.integration.job_groups import job_group
from tests.integration.runner_host import (
    Host,
    alive,
    hosting,
    python,
    shell,
    state_of,
    until,
    until_dead,
)
from tests.integration.stillness import until_still, used

TREE = "sh -c 'sh -c \"echo \\$\\$; while :; do :; done\"; true' & setsid sh -c 'echo $$; while :; do :; done' & wait"
"""A tree of depth 3, one branch of which has left the process group; prints the pids of both leaves."""


async def pids_of(host: Host, job_id: str, count: int) -> list[int]:
    """The pids that a job has printed, once it has printed so many."""
    log = b""
    while len(log.split()) < count:
        log = await host.until_printed(job_id, b"\n")
    return [int(word) for word in log.split()]


async def test_a_whole_tree_stands_still_and_goes_on(tmp_path: Path, groups: Group | None) -> None:
    async with hosting(tmp_path, shell(TREE), groups=groups) as host:
        job_id = host.start()
        leaves = await pids_of(host, job_id, 2)
        host.runner.suspend([job_id])
        await asyncio.gather(*(until_still(pid) for pid in leaves))
        host.runner.resume([job_id])
        before = [used(pid) for pid in leaves]
        await until(lambda: all(used(pid) > at for pid, at in zip(leaves, before, strict=True)))
        await host.runner.stop([job_id], Ending.CANCELLED)
        await until_dead(*leaves)


async def test_other_jobs_go_on(tmp_path: Path, groups: Group | None) -> None:
    burn = "echo $$; while :; do :; done"
    async with hosting(tmp_path, shell(burn), groups=groups) as host:
        one, other = host.start(), host.start()
        (still,), (busy,) = await pids_of(host, one, 1), await pids_of(host, other, 1)
        host.runner.suspend([one])
        await until_still(still)
        before = used(busy)
        await until(lambda: used(busy) > before)


async def test_a_job_that_is_suspended_before_it_has_a_process_stands_still_from_its_start(
    tmp_path: Path, groups: Group | None
) -> None:
    flow = shell("while ! [ -e go ]; do sleep 0.01; done", directory=tmp_path)
    async with hosting(tmp_path, flow, groups=groups) as host:
        job_id = host.start()
        await asyncio.sleep(0)
        host.runner.suspend([job_id])
        await until(host.runner.running)
        (tmp_path / "go").touch()
        await asyncio.sleep(0.2)
        assert job_id not in host.outcomes
        host.runner.resume([job_id])
        assert (await host.end_of(job_id)).ending is Ending.COMPLETED


async def test_suspended_time_does_not_count(tmp_path: Path, groups: Group | None) -> None:
    flow = shell("echo ready; exec sleep 1000", timeout=2)
    async with hosting(tmp_path, flow, groups=groups) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        await until(host.runner.running)
        host.runner.suspend([job_id])
        await asyncio.sleep(2.2)  # longer than its timeout
        assert job_id not in host.outcomes
        host.runner.resume([job_id])
        assert (await host.end_of(job_id)).cause == "timed out after 2s"


async def test_a_suspended_job_can_be_cancelled_and_may_still_clean_up(
    tmp_path: Path, groups: Group | None
) -> None:
    script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    async with hosting(tmp_path, shell(script), groups=groups) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        host.runner.suspend([job_id])
        await host.runner.stop([job_id], Ending.CANCELLED)
        outcome = host.outcomes[job_id]
    assert (outcome.ending, outcome.killed) == (Ending.CANCELLED, False)
    assert outcome.log.endswith(b"bye\n")


async def test_a_job_that_cleans_up_is_not_suspended_in_the_midst_of_it(
    tmp_path: Path, groups: Group | None
) -> None:
    script = (
        "trap 'echo tidying; sleep 0.5; echo tidied; exit 0' TERM; echo ready; while :; do sleep 0.01; done"
    )
    async with hosting(tmp_path, shell(script, grace=10), groups=groups) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        stopping = asyncio.ensure_future(host.runner.stop([job_id], Ending.CANCELLED))
        await host.until_printed(job_id, b"tidying")
        host.runner.suspend([job_id])
        await stopping
        assert host.outcomes[job_id].log.endswith(b"tidied\n")
        assert not host.outcomes[job_id].killed


async def test_a_suspended_job_that_does_not_listen_is_killed(tmp_path: Path, groups: Group | None) -> None:
    script = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    async with hosting(tmp_path, shell(script, grace=0.1), groups=groups) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        host.runner.suspend([job_id])
        await host.runner.stop([job_id], Ending.GIVEN_BACK)
        assert host.outcomes[job_id].killed


async def test_suspended_jobs_do_not_keep_the_runner_from_ending(
    tmp_path: Path, groups: Group | None
) -> None:
    async with hosting(tmp_path, shell(TREE), groups=groups) as host:
        job_id = host.start()
        leaves = await pids_of(host, job_id, 2)
        host.runner.suspend([job_id])
    assert not any(alive(pid) for pid in leaves)
    assert host.outcomes[job_id].ending is Ending.GIVEN_BACK


async def test_what_fails_soon_after_a_suspension_is_marked_as_disturbed(
    tmp_path: Path, groups: Group | None
) -> None:
    os.mkfifo(tmp_path / "pipe")
    flow = shell("echo ready; read x < $PIPE; exit 1", env={"PIPE": str(tmp_path / "pipe")})
    async with hosting(tmp_path, flow, groups=groups) as host:
        for suspended in (True, False):
            job_id = host.start()
            await host.until_printed(job_id, b"ready")
            if suspended:
                host.runner.suspend([job_id])
                host.runner.resume([job_id])
            (tmp_path / "pipe").write_text("go\n")
            outcome = await host.end_of(job_id)
            assert (outcome.ending, outcome.disturbed) == (Ending.FAILED, suspended)


async def test_what_runs_out_of_its_own_time_is_not(tmp_path: Path, groups: Group | None) -> None:
    async with hosting(tmp_path, shell("echo ready; sleep 1000", timeout=0.5), groups=groups) as host:
        job_id = host.start()
        await host.until_printed(job_id, b"ready")
        host.runner.suspend([job_id])
        host.runner.resume([job_id])
        outcome = await host.end_of(job_id)
    assert (outcome.cause, outcome.disturbed) == ("timed out after 0.5s", False)


# Control groups


async def test_what_escapes_without_its_environment_ends_with_its_job_while_others_run(
    tmp_path: Path,
) -> None:
    escape = "import os\nif os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  os.execve('/bin/sh', ['sh', '-c', 'echo $$; exec sleep 1000'], {})\n os._exit(0)\nos.wait(); import time; time.sleep(0.3)"
    with job_group() as group:
        async with hosting(tmp_path, shell("sleep 1000", name="long"), python(escape), groups=group) as host:
            host.start(flow="long")
            outcome = await host.run()
            await until_dead(int(outcome.log))


async def test_each_job_has_a_group_that_is_gone_after_it(tmp_path: Path) -> None:
    with job_group() as group:
        moved = "while grep -q /launcher$ /proc/self/cgroup; do :; done; cat /proc/self/cgroup"
        async with hosting(tmp_path, shell(moved), groups=group) as host:
            logs = [(await host.run()).log.decode() for _ in range(2)]
            await until(lambda: [one.name for one in group.folder.iterdir() if one.is_dir()] == ["launcher"])
    assert logs[0] != logs[1]
    assert all(f"/{group.folder.name}/" in log for log in logs)


async def test_the_kernel_counts_what_jobs_use(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass"
    with job_group() as group:
        async with hosting(tmp_path, python(burn), groups=group) as host:
            await host.run()
            seconds = host.runner.footprint.cpu_seconds()
    assert seconds is not None
    assert seconds >= 0.2
    assert host.runner.footprint.method == ""


async def test_without_the_group_jobs_are_stopped_by_signals(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("echo $$; exec sleep 1000"), groups=Group(tmp_path / "gone")) as host:
        job_id = host.start()
        (pid,) = await pids_of(host, job_id, 1)
        host.runner.suspend([job_id])
        await until(lambda: state_of(pid) == "T")


async def test_when_the_launcher_is_killed_nobody_in_the_groups_survives(tmp_path: Path) -> None:
    escape = "env -i setsid sh -c 'echo $$; exec sleep 1000' & echo $$; wait"
    with job_group() as group:
        async with hosting(tmp_path, shell(escape), groups=group) as host:
            job_id = host.start()
            pids = await pids_of(host, job_id, 2)
            launcher = host.runner._spawner.launcher_pid
            assert launcher is not None
            os.kill(launcher, 9)
            assert (await host.end_of(job_id)).cause == "launcher died"
            await until_dead(*pids)

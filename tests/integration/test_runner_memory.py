"""A job that eats memory: it alone ends, and the reason is told."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from buttermilkd.jobs import Ending
from tests.integration.runner_host import hosting, shell
from tests.parts import need

MOST = 48 * 1024 * 1024
EAT = "dd if=/dev/zero of=/dev/null bs=300M count=1"


@pytest.fixture
def limited() -> Iterator[Path]:
    """A control group with little memory."""
    folders = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup")]
    names = {"memory.limit_in_bytes": "memory.memsw.limit_in_bytes", "memory.max": "memory.swap.max"}
    for parent in folders:
        group = parent / f"buttermilkd-test-memory-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        for name, swap in names.items():
            if (group / name).exists():
                (group / name).write_text(str(MOST))
                if (group / swap).exists():
                    (group / swap).write_text("0" if swap == "memory.swap.max" else str(MOST))
                yield group
                group.rmdir()
                return
        group.rmdir()
    need(None, "a control group whose memory may be limited")


async def test_one_that_runs_out_of_memory_is_killed_and_its_neighbour_goes_on(
    tmp_path: Path, limited: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    script = f"case $BUTTERMILK_RECORD_ID in eats) echo $$ > {limited}/cgroup.procs; exec {EAT};; esac; read go < pipe; echo $go"
    async with hosting(tmp_path, shell(script, directory=tmp_path), concurrency=2) as host:
        neighbour = host.start("neighbour")
        outcome = await host.run("eats")
        (tmp_path / "pipe").write_text("went on\n")
        other = await host.end_of(neighbour)
    assert (outcome.ending, outcome.error) == (Ending.FAILED, "killed by SIGKILL")
    assert (other.ending, other.log) == (Ending.COMPLETED, b"went on\n")


async def test_one_that_may_have_no_more_says_so_itself(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell(f"ulimit -v 100000; {EAT}")) as host:
        outcome = await host.run()
    assert outcome.ending is Ending.FAILED
    assert "memory exhausted" in (outcome.error or "")


async def test_where_the_whole_machine_runs_out_jobs_are_the_kernels_first_choice(tmp_path: Path) -> None:
    async with hosting(tmp_path, shell("cat /proc/self/oom_score_adj")) as host:
        outcome = await host.run()
    assert int(outcome.log) >= 500 > int(Path("/proc/self/oom_score_adj").read_text())

"""A job for which there could be no control group, beside others that have theirs."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from buttermilkd.cgroups import membership
from buttermilkd.jobs import Ending
from tests.integration.job_groups import job_group
from tests.integration.runner_host import Host, alive, hosting, shell, until_dead

BRANCHING = "(setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; read line < $PIPE"
"""Prints its pid and that of a child outside its process group and session, and ends when it is told to."""


def group_of(pid: int) -> str:
    """The last part of the name of its control group."""
    here = membership(pid)
    assert here is not None
    assert here.group is not None
    return here.group.rpartition("/")[2]


@asynccontextmanager
async def without_a_group(tmp_path: Path) -> AsyncIterator[tuple[Host, str, list[int]]]:
    """A job for which there could be none, and its two processes."""
    os.mkfifo(tmp_path / "pipe")
    branching = shell(BRANCHING, env={"PIPE": str(tmp_path / "pipe")})
    brief = shell("(setsid sleep 1000 &); cat", name="brief")
    with job_group() as group:
        async with hosting(tmp_path, branching, brief, groups=group) as host:
            await host.run(flow="brief")  # so that there is a launcher
            group.child(str(host.runner._spawner.next_number())).folder.mkdir()
            job_id = host.start()
            log = b""
            while len(log.split()) < 2:
                log = await host.until_printed(job_id, b"\n")
            yield host, job_id, [int(word) for word in log.split()]


async def test_it_is_not_taken_for_part_of_the_job_that_begins_next(tmp_path: Path) -> None:
    async with without_a_group(tmp_path) as (host, _, pids):
        for _ in range(2):
            assert (await host.run(flow="brief")).ending is Ending.COMPLETED
            assert [group_of(pid) for pid in pids] == ["launcher", "launcher"]
        assert all(alive(pid) for pid in pids)


async def test_what_has_left_its_process_group_ends_with_it_all_the_same(tmp_path: Path) -> None:
    async with without_a_group(tmp_path) as (host, job_id, pids):
        (tmp_path / "pipe").write_text("end\n")
        assert (await host.end_of(job_id)).ending is Ending.COMPLETED
        await until_dead(*pids)

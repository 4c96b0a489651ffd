"""How much CPU time jobs have used: all of it, whenever it is asked for."""

import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from buttermilkd.runner.launcher import usage
from buttermilkd.runner.launcher.processes import Stat, all_pids
from tests.integration.runner_host import hosting, python, until

BURN = "import time\nwhile time.process_time() < 0.2: pass"


async def test_the_cpu_time_of_jobs_that_came_and_went_between_two_looks_is_counted(tmp_path: Path) -> None:
    async with hosting(tmp_path, python(BURN)) as host:
        await host.run()
        before = host.runner.footprint.cpu_seconds()
        assert host.runner.footprint.cpu_seconds() == before
        await host.run()
        after = host.runner.footprint.cpu_seconds()
    assert before is not None
    assert after is not None
    assert after - before >= 0.15


class Scan:
    """Looks for all processes, and does something between that and the look at their parent."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile
        self.looks = 0

    def __call__(self) -> list[int]:
        self.looks += 1
        self._meanwhile()
        return all_pids()


class Untouched(usage.Sessions):
    """Lowers no session: what runs below the tests themselves is in the session of whoever started them."""

    def lower(self, launcher: int, jobs: Iterable[Stat]) -> None:
        del launcher, jobs


def _estimate() -> float:
    seconds = usage.EstimatedUsage(Untouched()).seconds(os.getpid(), running=True)
    assert seconds is not None
    return seconds


async def test_a_job_that_is_reaped_during_a_look_is_counted_by_that_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = _estimate()
    job = subprocess.Popen(["python3", "-c", BURN])  # noqa: ASYNC220 - which asyncio would reap by itself
    await until(lambda: os.waitid(os.P_PID, job.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT))
    monkeypatch.setattr(usage, "all_pids", Scan(job.wait))
    assert _estimate() - before >= 0.15


def test_a_look_comes_to_an_end_where_jobs_are_reaped_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scan = Scan(lambda: subprocess.run(["python3", "-c", BURN], check=True))
    monkeypatch.setattr(usage, "all_pids", scan)
    assert _estimate() > 0
    assert scan.looks < 10

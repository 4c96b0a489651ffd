"""What the runner's tests share: a flow's settings, and a Runner that runs beside the test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buttermilkd.cgroups import Group
from buttermilkd.clock import SystemClock
from buttermilkd.jobs import Job, Outcome
from buttermilkd.runner.attempt import Listen
from buttermilkd.runner.launcher.child import ChildLauncher
from buttermilkd.runner.launcher.launched import Launcher
from buttermilkd.runner.launcher.unit import LauncherUnit
from buttermilkd.runner.runner import Runner


@dataclass(frozen=True)
class Flow:
    name: str = "flow"
    command: Sequence[str] | None = None
    entrypoint: str | None = None
    python: str = sys.executable
    workers: int = 1
    directory: Path = Path("/")
    timeout: float | None = None
    grace: float = 5.0
    concurrency: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: Mapping[str, Path] = field(default_factory=dict)
    output_limit: int = 64 * 1024
    result_limit: int = 64 * 1024
    on_busy: str = "auto"
    restartable: bool = False
    suspend_max: float | None = None

    @property
    def kind(self) -> str:
        return "callable" if self.entrypoint else "command"

    def limit(self, daemon_concurrency: int) -> int:
        own = (self.concurrency or 1) * self.workers if self.entrypoint else self.concurrency
        return min(own or daemon_concurrency, daemon_concurrency)


def python(code: str, **settings: Any) -> Flow:
    return Flow(command=(sys.executable, "-c", code), **settings)


def shell(script: str, **settings: Any) -> Flow:
    return Flow(command=("/bin/sh", "-c", script), **settings)


class Host:
    """A runner, and the jobs that were handed to it."""

    def __init__(self, runner: Runner, launcher: Launcher) -> None:
        self.runner = runner
        self.launcher = launcher
        self.outcomes: dict[str, Outcome] = {}
        self._count = 0
        self._ended: dict[str, asyncio.Event] = {}

    def start(
        self, record_id: str = "r", *, flow: str = "flow", parameters: Mapping[str, Any] | None = None
    ) -> str:
        self._count += 1
        job = Job(f"batch-1.{self._count}", "batch-1", flow, record_id, parameters or {})
        self._ended[job.job_id] = asyncio.Event()
        self.runner.start(job, self._on_end)
        return job.job_id

    def _on_end(self, job: Job, outcome: Outcome) -> None:
        assert job.job_id not in self.outcomes, "ended twice"
        self.outcomes[job.job_id] = outcome
        self._ended[job.job_id].set()

    async def end_of(self, job_id: str) -> Outcome:
        await self._ended[job_id].wait()
        return self.outcomes[job_id]

    async def run(self, record_id: str = "r", **details: Any) -> Outcome:
        return await self.end_of(self.start(record_id, **details))

    async def until_printed(self, job_id: str, text: bytes) -> bytes:
        while True:
            log = self.runner.log(job_id)
            assert log is not None, self.outcomes[job_id]
            if text in log:
                return log
            await asyncio.sleep(0.005)


@asynccontextmanager
async def hosting(
    tmp_path: Path,
    *flows: Flow,
    concurrency: int = 2,
    keep_fds: Sequence[int] = (),
    groups: Group | None = None,
    unit: Path | None = None,
    listen: Listen | None = None,
) -> AsyncIterator[Host]:
    """``unit`` is the socket of a launcher that is a service of its own; without it, the runner has a child."""
    scratch = tmp_path / "scratch"
    launcher = (
        LauncherUnit(unit, SystemClock(), keep_fds) if unit else ChildLauncher(os.environ, keep_fds, groups)
    )
    runner = Runner(
        {flow.name: flow for flow in flows},
        concurrency=concurrency,
        scratch=scratch,
        clock=SystemClock(),
        launcher=launcher,
        listen=listen,
    )
    async with asyncio.TaskGroup() as group:
        task = group.create_task(runner.run())
        await until(scratch.exists)
        try:
            yield Host(runner, launcher)
        finally:
            task.cancel()


def alive(pid: int) -> bool:
    """Whether this process exists and is no zombie."""
    try:
        return state_of(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], object]) -> None:
    """Wait for what only the kernel or another process knows."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.002)


async def until_dead(*pids: int) -> None:
    await until(lambda: not any(alive(pid) for pid in pids))


def state_of(pid: int | None) -> str:
    """``R``, ``S``, ``T`` and so on, as in /proc."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def processes_marked(text: str) -> list[int]:
    """Living processes whose environment holds ``text``."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:
            continue
        if text.encode() in environment and alive(int(folder.name)):
            found.append(int(folder.name))
    return found

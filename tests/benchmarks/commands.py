"""Programs that start processes: jobs of ``/bin/true`` a second, of so many jobs, so many at once."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.peers.environments import ROOT, UnavailableError
from tests.benchmarks.report import Timer
from tests.benchmarks.service import until

PATIENCE = 120.0
_CACHE = ROOT / ".cache"


def _program(name: str, unpacked: Path) -> str:
    """Raises UnavailableError where it is neither installed nor unpacked."""
    found = str(unpacked) if unpacked.exists() else shutil.which(name)
    if found is None:
        raise UnavailableError(f"no {name}: scripts/packages bench")
    return found


def _fed(command: list[str], jobs: int, environ: dict[str, str]) -> float:
    numbers = "\n".join(map(str, range(jobs)))
    timer = Timer()
    subprocess.run(
        command,
        input=numbers,
        text=True,
        check=True,
        stderr=subprocess.DEVNULL,
        timeout=PATIENCE,
        env=environ,
    )
    return jobs / timer.seconds


def xargs(jobs: int, at_once: int) -> float:
    command = [_program("xargs", Path("/nowhere")), "-P", str(at_once), "-n", "1", "/bin/true"]
    return _fed(command, jobs, dict(os.environ))


def parallel(jobs: int, at_once: int) -> float:
    program = _program("parallel", _CACHE / "parallel/usr/bin/parallel")
    with tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as folder:
        (Path(folder) / ".parallel").mkdir()
        (Path(folder) / ".parallel" / "will-cite").touch()
        command = [program, "-j", str(at_once), "-N0", "/bin/true"]
        return _fed(command, jobs, os.environ | {"HOME": folder, "TMPDIR": folder})


class Spooler:
    """A task-spooler with a queue of its own."""

    def __init__(self, program: str, folder: Path, jobs: int, at_once: int) -> None:
        self._program = program
        self._environ = os.environ | {
            "TS_SOCKET": str(folder / "s"),
            "TMPDIR": str(folder),
            "TS_SLOTS": str(at_once),
            "TS_MAXFINISHED": str(jobs + 50),
            "TS_MAXCONN": str(jobs + 100),
        }

    def __call__(self, *arguments: str) -> str:
        command = [self._program, *arguments]
        return subprocess.run(
            command, env=self._environ, check=True, capture_output=True, text=True, timeout=PATIENCE
        ).stdout


def task_spooler(jobs: int, at_once: int) -> float:
    """All slots are held by a lock until the queue is full; then the lock is let go.

    Raises:
        RuntimeError: a job was not run.
    """
    program = _program("tsp", _CACHE / "task-spooler/usr/bin/tsp")
    with (
        tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as name,
        (Path(name) / "gate").open("w") as gate,
    ):
        spooler = Spooler(program, Path(name), jobs, at_once)
        fcntl.flock(gate, fcntl.LOCK_EX)
        try:
            for _ in range(at_once):
                spooler("-n", "flock", "-s", gate.name, "true")
            for _ in range(jobs):
                spooler("-n", "/bin/true")
            timer = Timer()
            fcntl.flock(gate, fcntl.LOCK_UN)
            spooler("-w")  # the last one added
            until(lambda: not {" queued ", " running "} & _words(spooler()), "the end of its queue")
            seconds = timer.seconds
            done = sum(" finished " in line and "/bin/true" in line for line in spooler().splitlines())
        finally:
            spooler("-K")
    if done != jobs:
        raise RuntimeError(f"task-spooler has run {done} of {jobs}")
    return jobs / seconds


def _words(table: str) -> set[str]:
    return {word for word in (" queued ", " running ") if word in table}


RUNNERS: dict[str, tuple[Callable[[int, int], float], float]] = {
    "xargs": (xargs, 1.0),
    "task-spooler": (task_spooler, 0.15),
    "GNU parallel": (parallel, 0.1),
}
"""Each, and its share of the jobs: a slow one is known after fewer, and task-spooler keeps a process for each."""

"""Process trees for benchmarks, and what the kernel says of them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TREE = """
import os, sys
for _ in range(2):
    if os.fork():
        os.wait()
        sys.exit()
while True:
    sum(range(10_000))
"""
"""A tree of depth 3 whose leaf burns."""


def start_trees(count: int) -> list[subprocess.Popen[bytes]]:
    """So many trees at idle priority, each a process group."""

    def last() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))

    return [
        subprocess.Popen([sys.executable, "-c", TREE], process_group=0, preexec_fn=last)  # noqa: PLW1509
        for _ in range(count)
    ]


def end_trees(trees: Iterable[subprocess.Popen[bytes]]) -> None:
    for tree in trees:
        os.killpg(tree.pid, signal.SIGKILL)
        tree.wait()


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def members(leaders: Iterable[int]) -> dict[int, list[int]]:
    """The processes of these process groups."""
    found: dict[int, list[int]] = {leader: [] for leader in leaders}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            group = int(stat(int(folder.name))[2])
        except (OSError, ValueError):
            continue
        if group in found:
            found[group].append(int(folder.name))
    return found


class States:
    """Looks at many processes fast, with files that stay open."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._files = [os.open(f"/proc/{pid}/stat", os.O_RDONLY) for pid in pids]

    def all_stopped(self) -> bool:
        return all(self._state(fd) in "Tt" for fd in self._files)

    def any_stopped(self) -> bool:
        return any(self._state(fd) in "Tt" for fd in self._files)

    @staticmethod
    def _state(fd: int) -> str:
        text = os.pread(fd, 512, 0)
        return chr(text[text.rindex(b")") + 2])

    def close(self) -> None:
        for fd in self._files:
            os.close(fd)


class Frozen:
    """The same for control groups."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._files = [os.open(folder / "cgroup.events", os.O_RDONLY) for folder in folders]

    def all_stopped(self) -> bool:
        return all(b"frozen 1" in os.pread(fd, 128, 0) for fd in self._files)

    def any_stopped(self) -> bool:
        return any(b"frozen 1" in os.pread(fd, 128, 0) for fd in self._files)

    def close(self) -> None:
        for fd in self._files:
            os.close(fd)

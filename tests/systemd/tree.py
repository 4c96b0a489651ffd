"""A job of three generations that burn, and its processes by the numbers that they have for the tests."""

import os
import subprocess
from pathlib import Path

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.processes import Stat, read_stats
from tests.systemd.patience import until
from tests.systemd.services import DaemonService

GENERATIONS = 3
BURNERS = 2


class Tree:
    """The one job that runs, once all of it does."""

    def __init__(self, daemon: DaemonService) -> None:
        self.pids: list[int] = until(lambda: _grown(daemon.group), "a tree of processes")
        self.goes_on()

    def goes_on(self) -> None:
        """Return once all of it that burns has used a CPU since this was called."""
        before = self._used()
        until(
            lambda: sum(now > then for now, then in zip(self._used(), before, strict=True)) == BURNERS, "work"
        )

    def stands_still(self) -> bool:
        """Whether it uses no CPU while another process is seen to use some."""
        before = self._used()
        with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as other:
            until(lambda: read_stats([other.pid])[0].own_ticks >= 10, "work of another process")
            other.kill()
        return self._used() == before

    def states(self) -> set[str]:
        """As the kernel shows them: ``T`` is one that was stopped by a signal."""
        return {one.state for one in read_stats(self.pids)}

    def is_gone(self) -> bool:
        return not any(_belongs(one) for one in read_stats(self.pids))

    def _used(self) -> list[int]:
        return [one.own_ticks for one in read_stats(self.pids)]


def members(group: Group) -> list[int]:
    """All processes in a group and below it."""
    return [pid for folder, *_ in os.walk(group.folder) for pid in Group(Path(folder)).pids()]


def until_frozen(group: Group, *, frozen: bool = True) -> None:
    """Return once the kernel says so of the whole group."""
    line = f"frozen {frozen:d}\n"
    until(lambda: line in (group.read("cgroup.events") or ""), f"{line.strip()} of {group.folder.name}")


def _grown(group: Group) -> list[int]:
    """All of the tree; empty until the last generation has left its session and its variables."""
    stats = [one for one in read_stats(members(group)) if _belongs(one)]
    escaped = [one for one in stats if one.session == one.pid and _text(one.pid, "environ") == b""]
    return [one.pid for one in stats] if escaped and len(stats) == GENERATIONS else []


def _belongs(process: Stat) -> bool:
    return process.state != "Z" and _text(process.pid, "comm") == b"sh\n"


def _text(pid: int, name: str) -> bytes | None:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return None

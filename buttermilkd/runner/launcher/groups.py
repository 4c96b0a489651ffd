"""A control group for each process that is started, below the one that the daemon has for all: the launcher's part."""

import contextlib
import os
import signal

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.processes import descendants, mark_of, read_stats, send_signal
from buttermilkd.runner.launcher.strays import Leader

LAUNCHER = "launcher"
"""The launcher's own group: what it starts is there for its first moment, and for good where it can have none."""


class JobGroups:
    """Groups named by the numbers of processes. Nothing that a job starts ever leaves its group."""

    def __init__(self, top: Group) -> None:
        """Enter the launcher's own group. Raises OSError."""
        self._top = top
        self._own = top.child(LAUNCHER)
        self._leaving: list[Group] = []
        self._stayed: set[int] = set()
        """The numbers of those that run in the launcher's group, with what they start."""
        self._own.folder.mkdir(exist_ok=True)
        self._own.write("cgroup.procs", "0")
        self._leaving = [Group(folder) for folder in top.folder.iterdir() if folder.name.isdigit()]
        self.sweep()  # what a launcher that died has left

    def adopt(self, leader: Leader) -> None:
        """Give a process that has just been started a group of its own, with all that it has started meanwhile.

        Raises:
            OSError: there can be no such group; it goes on in the launcher's.
        """
        group = self._top.child(str(leader.number))
        try:
            group.folder.mkdir()
            _move(leader.pid, group)
            while others := self._newcomers(leader, group):
                for each in others:
                    _move(each, group)
        except OSError:
            self._stayed.add(leader.number)
            raise

    def _newcomers(self, leader: Leader, group: Group) -> list[int]:
        """What a process has started meanwhile and is not in its group yet."""
        inside = [pid for pid in self._own.pids() if pid != os.getpid()]
        if not self._stayed:
            # Nobody but this launcher is left in its group after each start, so whoever is there came from this one.
            return inside
        below = {one.pid for one in descendants(read_stats([*inside, *group.pids()]), [leader.pid])}
        return [pid for pid in inside if pid in below or mark_of(pid) == leader.mark]

    def end(self, leader: Leader) -> bool:
        """Kill what is left in the group of a process that has ended; whether all that it started was in there."""
        has_stayed = leader.number in self._stayed
        self._stayed.discard(leader.number)
        group = self._top.child(str(leader.number))
        if group.folder.exists():
            self._leaving.append(group)
            _kill(group)
        return not has_stayed

    def sweep(self) -> None:
        """Remove the groups whose processes are gone."""
        self._leaving = [group for group in self._leaving if not _removed(group)]


def _move(pid: int, group: Group) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended already
        group.write("cgroup.procs", str(pid))


def _kill(group: Group) -> None:
    try:
        group.write("cgroup.kill", "1")
    except FileNotFoundError:  # before Linux 5.14
        while pids := group.pids():
            for pid in pids:
                send_signal(pid, signal.SIGKILL)


def _removed(group: Group) -> bool:
    try:
        group.folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # somebody is still in it
        return False
    return True

"""A control group for each process that is started, below the one that the daemon has for all: the launcher's part."""

import contextlib
import os
import signal

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.processes import send_signal

LAUNCHER = "launcher"
"""The launcher's own group: what it starts is there for its first moment."""


class JobGroups:
    """Groups named by the numbers of processes. Nothing that a job starts ever leaves its group."""

    def __init__(self, top: Group) -> None:
        """Enter the launcher's own group. Raises OSError."""
        self._top = top
        self._own = top.child(LAUNCHER)
        self._leaving: list[Group] = []
        self._own.folder.mkdir(exist_ok=True)
        self._own.write("cgroup.procs", "0")
        self._leaving = [Group(folder) for folder in top.folder.iterdir() if folder.name.isdigit()]
        self.sweep()  # what a launcher that died has left

    def adopt(self, number: int, pid: int) -> None:
        """Give a process that has just been started a group of its own, with all that it has started meanwhile.

        Raises:
            OSError: there can be no such group; it goes on in the launcher's.
        """
        group = self._top.child(str(number))
        group.folder.mkdir()
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            group.write("cgroup.procs", str(pid))
        # Nobody but this launcher is left in its group after each start, so whoever is there came from this one.
        while others := [each for each in self._own.pids() if each != os.getpid()]:
            for each in others:
                with contextlib.suppress(ProcessLookupError):
                    group.write("cgroup.procs", str(each))

    def end(self, number: int) -> None:
        """Kill what is left of a process that has ended."""
        group = self._top.child(str(number))
        if not group.folder.exists():
            return
        self._leaving.append(group)
        try:
            group.write("cgroup.kill", "1")
        except FileNotFoundError:  # before Linux 5.14
            while pids := group.pids():
                for pid in pids:
                    send_signal(pid, signal.SIGKILL)

    def sweep(self) -> None:
        """Remove the groups whose processes are gone."""
        self._leaving = [group for group in self._leaving if not _removed(group)]


def _removed(group: Group) -> bool:
    try:
        group.folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:  # somebody is still in it
        return False
    return True

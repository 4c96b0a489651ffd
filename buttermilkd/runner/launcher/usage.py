"""How much CPU time the jobs have used; and that what leaves their session uses it last as well."""

import os
from collections.abc import Iterable
from typing import Protocol

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.processes import (
    Stat,
    all_pids,
    descendants,
    lower_session,
    read_stat,
    read_stats,
)

_TICKS = os.sysconf("SC_CLK_TCK")
_LOOKS = 3


class CpuUsage(Protocol):
    """The CPU seconds of all job processes so far. Never goes back."""

    method: str
    """How it is counted, where it is no count but an estimate."""

    def seconds(self, launcher: int | None, *, running: bool) -> float | None:
        """``launcher`` is the pid of the present one; None when nothing was ever started.

        ``running``: whether any job has executed since this was asked last.
        """


class Sessions:
    """Lowers the sessions that jobs make for themselves.

    Whoever makes one leaves the launcher's, and with it the weight that all jobs share.
    """

    def __init__(self) -> None:
        self._lowered: set[int] = set()

    def lower(self, launcher: int, jobs: Iterable[Stat]) -> None:
        """Lower those of them that are new. ``jobs`` are all processes of jobs."""
        members = {process.session: process.pid for process in jobs if process.session != launcher}
        self._lowered &= members.keys()
        self._lowered |= {
            session
            for session, member in members.items()
            if session not in self._lowered and lower_session(member)
        }


class EstimatedUsage:
    """Implements ``CpuUsage`` from the processes' own times: what ends between two looks may be missed."""

    method = "estimated from the processes' own times"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._launcher: int | None = None
        self._ended = 0.0
        """Of launchers that are gone."""
        self._current = 0.0
        """Of the present one, as last seen."""
        self._ran = True

    def seconds(self, launcher: int | None, *, running: bool) -> float | None:
        """Reads /proc once, unless nothing runs and nothing did when it was asked last."""
        if launcher != self._launcher and launcher is not None:
            self._ended += self._current
            self._current = 0.0
            self._launcher = launcher
        if self._launcher is None:
            return None
        stands_still, self._ran = not (running or self._ran), running
        found = None if stands_still else _family(self._launcher)
        if found is not None:
            top, below = found
            used = sum(each.own_ticks + each.children_ticks for each in (top, *below)) / _TICKS
            # What moves from a child to its parent deeper down may be missed in one look, hence the maximum.
            self._current = max(self._current, used)
            self._sessions.lower(self._launcher, below)
        return self._ended + self._current


def _family(launcher: int) -> tuple[Stat, list[Stat]] | None:
    """The launcher and all below it; None where it is gone.

    A child that is reaped during a look is in neither, or in both. Then it is looked again, but not for ever
    where jobs end all the time.
    """
    top = read_stat(launcher)
    for _ in range(_LOOKS):
        if top is None:
            return None
        below = descendants(read_stats(all_pids()), [launcher])
        before, top = top, read_stat(launcher)
        if top is not None and top.children_ticks == before.children_ticks:
            return top, below
    return before, below


class CountedUsage:
    """Implements ``CpuUsage`` by the kernel's own count for the control group of all jobs."""

    method = ""

    def __init__(self, jobs: Group, sessions: Sessions) -> None:
        self._jobs = jobs
        self._sessions = sessions
        self._before = 0.0
        """Of groups of this path that are gone: a service's is made anew when it starts again."""
        self._current: float | None = None

    def seconds(self, launcher: int | None, *, running: bool) -> float | None:
        counted = self._jobs.cpu_seconds()
        if counted is not None:
            if counted < (self._current or 0.0):
                self._before += self._current or 0.0
            self._current = counted
        # Where the CPU controller divides groups, sessions do not count.
        if running and launcher is not None and self._jobs.weight() is None:
            groups = (Group(folder) for folder in self._jobs.folder.glob("*") if folder.is_dir())
            self._sessions.lower(launcher, read_stats(pid for group in groups for pid in group.pids()))
        return None if self._current is None else self._before + self._current

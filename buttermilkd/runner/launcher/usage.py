"""How much CPU time the jobs have used, an estimate from the processes' own times, and that they use it last."""

import os
from collections.abc import Iterable

from buttermilkd.runner.launcher.processes import (
    Stat,
    all_pids,
    descendants,
    lower_session,
    read_stat,
    read_stats,
)

_TICKS = os.sysconf("SC_CLK_TCK")


class CpuUsage:
    """The CPU seconds of everything below the launchers so far. Never goes back.

    Whoever makes a session of its own leaves the launcher's, and with it the weight that all jobs share:
    each look lowers the sessions that are new.
    """

    def __init__(self) -> None:
        self._launcher: int | None = None
        self._ended = 0.0
        """Of launchers that are gone."""
        self._current = 0.0
        """Of the present one, as last seen."""
        self._lowered: set[int] = set()

    def seconds(self, launcher: int | None) -> float | None:
        """Reads /proc once; None when nothing was ever started."""
        if launcher != self._launcher and launcher is not None:
            self._ended += self._current
            self._current = 0.0
            self._launcher = launcher
        if self._launcher is None:
            return None
        top = read_stat(self._launcher)
        if top is not None:
            below = descendants(read_stats(all_pids()), [self._launcher])
            used = sum(each.own_ticks + each.children_ticks for each in (top, *below)) / _TICKS
            # What has just moved from a child to its parent may be missed in one look, hence the maximum.
            self._current = max(self._current, used)
            self._lower(top, below)
        return self._ended + self._current

    def _lower(self, launcher: Stat, below: Iterable[Stat]) -> None:
        members = {process.session: process.pid for process in below if process.session != launcher.session}
        self._lowered &= members.keys()
        self._lowered |= {
            session
            for session, member in members.items()
            if session not in self._lowered and lower_session(member)
        }

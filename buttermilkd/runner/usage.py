"""How much CPU time the jobs have used: an estimate from the processes' own times."""

import os

from buttermilkd.runner.processes import all_pids, descendants, read_stat, read_stats

_TICKS = os.sysconf("SC_CLK_TCK")


class CpuUsage:
    """The CPU seconds of everything below the launchers so far. Never goes back."""

    def __init__(self) -> None:
        self._launcher: int | None = None
        self._ended = 0.0
        """Of launchers that are gone."""
        self._current = 0.0
        """Of the present one, as last seen."""

    def seconds(self, launcher: int | None) -> float | None:
        """Reads /proc once; None when nothing was ever started."""
        if launcher != self._launcher and launcher is not None:
            self._ended += self._current
            self._current = 0.0
            self._launcher = launcher
        if self._launcher is None:
            return None
        # What has just moved from a child to its parent may be missed in one look, hence the maximum.
        self._current = max(self._current, _used_below(self._launcher))
        return self._ended + self._current


def _used_below(launcher: int) -> float:
    top = read_stat(launcher)
    if top is None:
        return 0.0
    below = descendants(read_stats(all_pids()), [launcher])
    return sum(each.own_ticks + each.children_ticks for each in (top, *below)) / _TICKS

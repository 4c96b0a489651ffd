"""Processes of a job that have left its process group: found by descent and by the mark in their environment."""

import os
import signal
import time
from collections.abc import Collection
from typing import NamedTuple

from buttermilkd.runner.launcher.processes import (
    Stat,
    all_pids,
    descendants,
    mark_of,
    newest_pid,
    read_stats,
    send_signal,
)

_SHORT = 1.0
"""Seconds; for a process that ended sooner, only pids given out since its start are looked at."""


class Leader(NamedTuple):
    """A process that was started for the daemon, the leader of its process group."""

    number: int
    pid: int
    mark: str
    began: float


def kill_strays(leader: Leader, others: Collection[Leader], ended: Collection[int]) -> None:
    """Kill what an ended leader left outside its group. ``others`` still run; ``ended`` wait to be reaped.

    One that has been killed cannot fork any more, so when a look finds nothing new, nothing is left.
    """
    killed: set[int] = set()
    while new := [
        process
        for process in _candidates(leader, {other.pid for other in others}.union(ended))
        if process.pid not in killed and _was_of(process, leader, others)
    ]:
        for process in new:
            send_signal(process.pid, signal.SIGKILL)
            killed.add(process.pid)


def signal_strays(leaders: Collection[Leader], all_leaders: Collection[Leader], number: int) -> None:
    """Signal what belongs to these of all leaders, which run, and is in none of the groups that they lead."""
    stats = [stat for stat in read_stats(all_pids()) if stat.state != "Z"]
    led = {leader.pid for leader in all_leaders}
    strays = [one for one in descendants(stats, [os.getpid()]) if one.group not in led]
    if not strays:
        return
    for leader in leaders:
        below = {one.pid for one in descendants(stats, [leader.pid])}
        for stray in strays:
            if stray.pid in below or mark_of(stray.pid) == leader.mark:
                send_signal(stray.pid, number)


def _candidates(leader: Leader, leaders: Collection[int]) -> list[Stat]:
    """Living descendants that may be this leader's."""
    newest = newest_pid()
    short = time.monotonic() - leader.began < _SHORT  # noqa: TID251 - no Clock here
    # Pids are given out in turn: those of its descendants lie between its own and the newest. This
    # spares a short job the reading of all of /proc.
    pids = range(leader.pid + 1, newest + 1) if short and newest >= leader.pid else all_pids()
    stats = read_stats(pid for pid in pids if pid not in leaders)
    return [process for process in descendants(stats, [os.getpid(), *leaders]) if process.state != "Z"]


def _was_of(process: Stat, leader: Leader, others: Collection[Leader]) -> bool:
    mark = mark_of(process.pid)
    if mark == leader.mark:
        return True
    orphan = process.parent == os.getpid()
    if mark is None:
        return orphan and not others
    return orphan and all(mark != other.mark for other in others)

"""Does idle priority keep our jobs out of the web servers' way? Proven from how the kernel divides the CPUs.

Idle priority counts among the processes of one control group, and among sessions where the kernel schedules by
session. Between groups their weights count: where the paths of both parties part, the branch with our jobs
must be idle, or as good as weightless beside the other one.
"""

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from buttermilkd.cgroups import Membership
from buttermilkd.idle.policy.observations import Protection

LIGHT = 20
"""How many times the weight of our branch that of the web server must have."""
_STEP = 1.25
"""One step of nice is so much of CPU time. Source: sched(7)."""

Weight = Callable[[str], int | None]
"""The CPU weight of a group, 0 for idle; None where the CPU controller does not reach it."""


def protection(jobs: Membership, web: Iterable[Membership], weight: Weight) -> Protection:
    """Whether it protects every one of the web servers."""
    found = [_against(jobs, server, weight) for server in web]
    if not found:
        return Protection()
    return next((one for one in found if not one.proven), found[0])


def _against(jobs: Membership, server: Membership, weight: Weight) -> Protection:
    if _is_somewhere(jobs) and not _is_somewhere(server):
        return Protection(proven=False, why="where the web server runs is not to be seen")
    if jobs.v1_cpu is not None or server.v1_cpu is not None:
        if jobs.v1_cpu != server.v1_cpu:
            return Protection(proven=False, why="the CPU controller of control groups is version 1")
        return _in_one_group(jobs, server, shared=jobs.v1_cpu or "/")
    if jobs.group is None or server.group is None:
        return Protection(proven=False, why="control groups of version 2 are not to be seen")
    ours, theirs = _divided(jobs.group, weight), _divided(server.group, weight)
    while ours and theirs and ours[0] == theirs[0]:
        ours, theirs = ours[1:], theirs[1:]
    if not ours and not theirs:
        shared = _divided(jobs.group, weight)
        return _in_one_group(jobs, server, shared=shared[-1] if shared else "/")
    return _in_branches(ours, theirs, weight)


def _is_somewhere(one: Membership) -> bool:
    return one.group is not None or one.v1_cpu is not None


def _divided(path: str, weight: Weight) -> list[str]:
    """The groups on the way to ``path``, from the top, among which the CPU is divided."""
    steps = [*reversed(PurePosixPath(path).parents), PurePosixPath(path)]
    return [str(step) for step in steps if str(step) != "/" and weight(str(step)) is not None]


def _in_one_group(jobs: Membership, server: Membership, *, shared: str) -> Protection:
    ours, theirs = jobs.session_nice, server.session_nice
    if shared != "/":
        return Protection(proven=True, why=f"jobs are idle beside web servers in the group {shared}")
    if ours is None or theirs is None:
        if ours is theirs:
            return Protection(
                proven=True, why="jobs are idle beside web servers, undivided by control groups"
            )
        return Protection(proven=False, why="the web server's session is not to be seen")
    ratio = _STEP ** (ours - theirs)
    words = f"the session of jobs is at nice {ours}, the web server's at {theirs}"
    return Protection(proven=ratio >= LIGHT, why=words)


def _in_branches(ours: list[str], theirs: list[str], weight: Weight) -> Protection:
    """``ours`` and ``theirs`` begin where the paths part; who has none stays where they do."""
    if not ours:
        return Protection(proven=False, why=f"jobs run above the web server's group {theirs[0]}")
    mine = weight(ours[0])
    if mine == 0:
        return Protection(proven=True, why=f"the jobs' group {ours[0]} is idle")
    other = (weight(theirs[0]) if theirs else 100) or 0
    light = mine is not None and mine * LIGHT <= other
    against = f"the web server's {theirs[0]}" if theirs else "the web server beside it"
    return Protection(proven=light, why=f"the jobs' group {ours[0]} has weight {mine}, {against} {other}")

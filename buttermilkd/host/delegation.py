"""The control group that systemd has delegated to this daemon, and the one below it that all jobs run in.

With ``Delegate=yes`` a service owns its group: it may make others below it, freeze and kill them, read what they
used, and have their processes come last. Source: https://systemd.io/CGROUP_DELEGATION
"""

import contextlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from buttermilkd.cgroups import Group, Hierarchy, membership

logger = logging.getLogger(__name__)

DAEMON = "daemon"
JOBS = "jobs"
CONTROLLERS = ("cpu", "io", "memory", "pids")
_MARKS = ("user.delegate", "trusted.delegate")
"""Attributes of a group that systemd has given away."""


@dataclass(frozen=True, slots=True)
class Delegation:
    """Where jobs get control groups of their own, or why they get none."""

    jobs: Group | None = None
    problem: str | None = None


@contextmanager
def delegated(hierarchy: Hierarchy | None) -> Iterator[Delegation]:
    """The group for jobs, made where this process may make it; removed again, as far as it is empty then.

    The daemon moves itself into a group beside it, since a group whose share is divided holds no processes.
    """
    found = _given(hierarchy)
    if not isinstance(found, Group):
        yield Delegation(problem=found)
        return
    try:
        jobs = _made(found)
    except OSError as error:
        yield Delegation(problem=f"the control group {found.folder} cannot be divided: {error.strerror}")
        return
    try:
        yield Delegation(jobs)
    finally:
        _remove(jobs)


def _given(hierarchy: Hierarchy | None) -> Group | str:
    """The group that is ours, or why there is none."""
    here = membership("self")
    if hierarchy is None or here is None or here.group is None:
        return "control groups of version 2 are not to be seen here"
    group = hierarchy.group(here.group)
    for candidate in (group, Group(group.folder.parent)):
        if _is_marked(candidate):
            break
    else:
        return f"the control group {here.group} is not delegated to this daemon (Delegate=yes in its unit)"
    if not os.access(candidate.folder / "cgroup.procs", os.W_OK):
        return f"the control group {hierarchy.path(candidate)} may not be written"
    return candidate


def _is_marked(group: Group) -> bool:
    for name in _MARKS:
        with contextlib.suppress(OSError):
            if os.getxattr(group.folder, name) == b"1":
                return True
    return False


def _made(given: Group) -> Group:
    """The group for jobs below the one that is ours. Raises OSError."""
    if os.getpid() in given.pids():
        daemon = given.child(DAEMON)
        daemon.folder.mkdir(exist_ok=True)
        daemon.write("cgroup.procs", "0")
    for controller in CONTROLLERS:
        # Refused where it is not delegated, and while a process of somebody else is in the group.
        with contextlib.suppress(OSError):
            given.write("cgroup.subtree_control", f"+{controller}")
    jobs = given.child(JOBS)
    if jobs.folder.exists():  # of a daemon that died
        _remove(jobs)
    jobs.folder.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        jobs.write("cpu.idle", "1")
    return jobs


def _remove(jobs: Group) -> None:
    """Remove what is empty."""
    for folder in (*(one for one in jobs.folder.iterdir() if one.is_dir()), jobs.folder):
        try:
            folder.rmdir()
        except OSError as error:
            logger.debug("cannot remove the control group %s: %s", folder, error)

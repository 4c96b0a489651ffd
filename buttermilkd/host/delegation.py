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

from buttermilkd.cgroups import Group, Hierarchy, given_group, share_controllers

logger = logging.getLogger(__name__)

TOLD = "BUTTERMILKD_DELEGATED"
"""The variable by which a user's unit says that its group is delegated: its systemd marks none (252)."""
DAEMON = "daemon"
JOBS = "jobs"


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
    found = given_group(hierarchy, "this daemon", told=os.environ.get(TOLD) == "yes")
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


def _made(given: Group) -> Group:
    """The group for jobs below the one that is ours. Raises OSError."""
    if os.getpid() in given.pids():
        daemon = given.child(DAEMON)
        daemon.folder.mkdir(exist_ok=True)
        daemon.write("cgroup.procs", "0")
    share_controllers(given)
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

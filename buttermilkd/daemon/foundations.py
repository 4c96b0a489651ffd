"""What has to be there before anything is put together on it: what a start brings, the ledger, where jobs are started."""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from buttermilkd.cgroups import Hierarchy
from buttermilkd.clock import Clock
from buttermilkd.config.settings import DaemonSettings, Settings
from buttermilkd.daemon.reload import Read
from buttermilkd.daemon.telling import Progress, extended
from buttermilkd.host.delegation import delegated
from buttermilkd.host.journal.sender import Sender
from buttermilkd.host.notifier import Notifier
from buttermilkd.idle.recorder import Recorder
from buttermilkd.idle.sources import Sources
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.recovery import Recovered
from buttermilkd.peers import is_trusted
from buttermilkd.places import ACTIVITY_SOCKET, JOBS_SOCKET
from buttermilkd.plurals import count
from buttermilkd.runner.launcher import leftovers
from buttermilkd.runner.launcher.child import ChildLauncher
from buttermilkd.runner.launcher.launched import Launcher
from buttermilkd.runner.launcher.unit import LauncherUnit

logger = logging.getLogger(__name__)

CONTROL = "control"
ACTIVITY = "activity"
"""What the sockets are called that systemd may have opened (``FileDescriptorName=``)."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a daemon is started with, beside its settings and a clock."""

    read: Read
    """Reads the settings anew."""
    notifier: Notifier
    sockets: Mapping[str, socket.socket] = field(default_factory=dict)
    """Those that systemd has opened, by their names."""
    record: Path | None = None
    """A file to which what decides on idleness is appended."""
    journal: Sender | None = None
    """Sends to systemd's journal, where the daemon's own log goes there."""


@dataclass(frozen=True, slots=True)
class Foundations:
    """What has been opened before anything is put together on it."""

    hierarchy: Hierarchy | None
    launcher: Launcher
    ledger: Ledger
    recovered: Recovered
    activity: Sources
    recorder: Recorder | None
    journal: Sender | None


def activity_socket(runtime_dir: Path) -> Path:
    """Where web servers are listened to: where a link leads to, if the runtime directory has one in its place.

    An administrator makes one where the directory is root's, so that the daemon could make no socket in it.
    """
    path = runtime_dir / ACTIVITY_SOCKET
    return runtime_dir / path.readlink() if path.is_symlink() else path


async def chosen_launcher(
    daemon: DaemonSettings, lock: int, hierarchy: Hierarchy | None, clock: Clock, stack: AsyncExitStack
) -> Launcher:
    """The service that listens for it, where there is one; else a child. ``lock`` is the state directory's.

    What a child has left that died together with its daemon is ended first.

    A service that does not answer is waited for, since jobs may have rights there that they lack here, and lack there
    what the daemon has.
    """
    left = daemon.state_dir / leftovers.FILE
    await asyncio.to_thread(leftovers.end_leftovers, left)  # it waits for them to be gone
    path = daemon.runtime_dir / JOBS_SOCKET
    if (owner := _owner_of_socket(path)) is not None:
        if is_trusted(owner):
            return LauncherUnit(path, clock, [lock], hierarchy)
        logger.warning(
            "jobs are started here and not by way of %s: it belongs to user %d, who is neither root nor the daemon's",
            path,
            owner,
        )
    delegation = stack.enter_context(delegated(hierarchy))
    return ChildLauncher(os.environ, [lock], delegation.jobs, delegation.problem, left)


def _owner_of_socket(path: Path) -> int | None:
    """The user that it belongs to; None where there is no socket."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_uid if stat.S_ISSOCK(status.st_mode) else None


async def open_ledger(
    settings: Settings, clock: Clock, notifier: Notifier, stack: AsyncExitStack
) -> tuple[Ledger, Recovered]:
    """The ledger, migrated and recovered, for which systemd waits as long as SQLite works. Raises StorageError."""
    daemon, progress = settings.daemon, Progress()

    async def made() -> tuple[Ledger, Recovered]:
        ledger = await Ledger.open(daemon.state_dir, clock, stack, daemon.host, progress.note)
        return ledger, await _recover(ledger, daemon.max_interruptions)

    notifier.status("starting: the ledger is being opened")
    return await extended(made(), lambda: progress.count, notifier, clock)


async def _recover(ledger: Ledger, most_interruptions: int) -> Recovered:
    recovered = await ledger.recover(most_interruptions)
    if recovered.interrupted or recovered.failed:
        logger.warning(
            "the last daemon died: %s pending again, %d failed after too many interruptions",
            count(len(recovered.interrupted), "job is", "jobs are"),
            len(recovered.failed),
        )
    for job in recovered.interrupted:
        text = "%s was interrupted by the daemon's death: it is pending again, and this costs no attempt"
        logger.info(text, job.job_id, extra=about(job, Kind.JOB_INTERRUPTED))
    for job in recovered.failed:
        told = about(job, Kind.JOB_FAILED)
        logger.warning(
            "%s failed: it was interrupted too often; it is a dead letter now", job.job_id, extra=told
        )
    return recovered

"""A launcher, wherever it comes from: what the daemon's end needs of it."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.processes import kill_left

if TYPE_CHECKING:
    from buttermilkd.runner.launcher.spawner import Spawner


class Launcher(Protocol):
    """Where launchers come from: they are children of the daemon (``child``), or a service of their own (``unit``)."""

    groups: Group | None
    """The control group below which each process gets one of its own, as far as it is known."""
    ungrouped: str | None
    """Why they get none."""

    @property
    def trouble(self) -> str | None:
        """Why nothing can be started at present; None where it can."""

    def start(self) -> "Launched":
        """One, where the spawner has none. Raises OSError."""

    async def run(
        self, spawner: "Spawner", *, empty: Callable[[], Awaitable[None]], changed: Callable[[], None]
    ) -> None:
        """Serve until cancelled.

        ``empty`` is called when a launcher is to end: it stops all jobs, each with its grace. ``changed`` is called
        when there is trouble or none any more.
        """


@dataclass(frozen=True, slots=True)
class Launched:
    """Ends by itself, with every process that it has started, once ``connected`` is closed."""

    connected: socket.socket
    pid: int
    pidfd: int
    """Tells of its end, and signals nobody else. Closed by ``forget``."""
    mark: str
    """What the marks of its processes begin with."""
    groups: Group | None
    """The control group below which each of its processes gets one of its own."""
    is_child: bool
    """Whether it is to be reaped by this process."""

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    async def ended(self) -> None:
        """Return once it has ended."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self.pidfd, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self.pidfd)
        self.forget()

    def bury(self) -> None:
        """It has died too early: end what it would have ended."""
        self.kill()
        if self.groups is not None:
            for folder in (one for one in self.groups.folder.glob("*") if one.is_dir()):
                with contextlib.suppress(OSError):  # before Linux 5.14 there is no such file
                    Group(folder).write("cgroup.kill", "1")
        kill_left(self.pid, f"{self.mark}.")
        self.forget()

    def forget(self) -> None:
        if self.is_child:
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        os.close(self.pidfd)

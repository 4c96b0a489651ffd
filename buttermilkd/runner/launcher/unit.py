"""The daemon's connection to a launcher that is a service of its own: kept up, and made again when it has ended."""

import asyncio
import errno
import json
import logging
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from buttermilkd.bell import first_of
from buttermilkd.cgroups import Group, Hierarchy
from buttermilkd.clock import Clock
from buttermilkd.peers import Peer, is_trusted
from buttermilkd.runner.launcher.handshake import Welcome, introduction, welcomed
from buttermilkd.runner.launcher.launched import Launched
from buttermilkd.runner.launcher.process import describe_os_error
from buttermilkd.runner.launcher.program import PACKET_LIMIT
from buttermilkd.runner.launcher.spawner import Spawner

logger = logging.getLogger(__name__)

ANSWER_PATIENCE = 60.0
"""Seconds for the service to start, at the least share of a busy machine."""
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
"""Seconds between two connections: the pause doubles until one has lasted as long."""

_UNANSWERED = "the launcher of jobs has not answered yet"


class LauncherUnit:
    """Implements ``Launcher``: hands each one to the spawner, and lets nothing begin while there is none."""

    def __init__(
        self, path: Path, clock: Clock, keep_fds: Sequence[int] = (), hierarchy: Hierarchy | None = None
    ) -> None:
        """``path`` is that of its listening socket; ``keep_fds`` stay open until the last process of a job is gone."""
        self.groups: Group | None = None
        self.ungrouped: str | None = _UNANSWERED
        self._path = path
        self._clock = clock
        self._keep_fds = keep_fds
        self._hierarchy = hierarchy
        self._is_ready = False
        self._problem = ""
        self._changed: Callable[[], None] = lambda: None

    @property
    def trouble(self) -> str | None:
        if self._is_ready:
            return None
        if not self._problem:
            return _UNANSWERED
        return f"the launcher of jobs cannot be reached at {self._path}: {self._problem}"

    def start(self) -> Launched:
        """None is started here: systemd does so at a connection."""
        raise ConnectionRefusedError(errno.ECONNREFUSED, "the launcher of jobs cannot be reached")

    async def run(
        self, spawner: Spawner, *, empty: Callable[[], Awaitable[None]], changed: Callable[[], None]
    ) -> None:
        """Keep connected, until cancelled."""
        self._changed = changed
        pause = FIRST_PAUSE
        while True:
            began = self._clock.monotonic()
            try:
                await self._work_with(await self._connected(), spawner, empty)
            except OSError as error:
                self._note(describe_os_error(error))
            if self._clock.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            logger.warning("%s; no job starts until it can be", self.trouble)

    async def _work_with(
        self, launched: Launched, spawner: Spawner, empty: Callable[[], Awaitable[None]]
    ) -> None:
        """Return once it has ended."""
        lost, stopping = asyncio.Event(), asyncio.Event()

        async def follow_stop() -> None:
            await stopping.wait()
            logger.info("the service of the launcher is being stopped: its jobs are given back")
            await empty()
            await spawner.close()

        spawner.attach(
            launched, lost=lambda: self._no_more(lost), asked_to_stop=lambda: self._no_more(stopping)
        )
        logger.info("jobs run in the service of the launcher, pid %d", launched.pid)
        self._problem = ""
        self._set_ready(ready=True)
        try:
            await first_of([_come(lost), follow_stop()])
        finally:
            self._set_ready(ready=False)

    def _no_more(self, event: asyncio.Event) -> None:
        """Nothing is begun from this very moment on."""
        self._set_ready(ready=False)
        event.set()

    def _set_ready(self, *, ready: bool) -> None:
        if self._is_ready != ready:
            self._is_ready = ready
            self._changed()

    # Connecting

    async def _connected(self) -> Launched:
        """Raises OSError."""
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            connected.setblocking(False)
            connected.connect(os.fspath(self._path))
            _check_listener(connected)
            mark = secrets.token_hex(6)
            connected.send(introduction(mark))
            launcher = welcomed(await answer_of(connected, self._clock))
            if self._keep_fds:
                packet = json.dumps({"reap": [], "keep": True}).encode()
                socket.send_fds(connected, [packet], self._keep_fds)
            self._divide(launcher)
            return Launched(
                connected, launcher.pid, os.pidfd_open(launcher.pid), mark, self.groups, is_child=False
            )
        except BaseException:
            connected.close()
            raise

    def _divide(self, launcher: Welcome) -> None:
        """Note which control groups its processes get."""
        group, self.ungrouped = launcher.group, launcher.ungrouped
        if group is not None and self._hierarchy is None:
            group, self.ungrouped = None, "control groups of version 2 are not to be seen here"
        self.groups = self._hierarchy.group(group) if self._hierarchy and group else None


async def answer_of(connected: socket.socket, clock: Clock) -> bytes:
    """What comes first. Raises OSError: nothing does, in time or at all."""
    heard: list[bytes] = []
    problems: list[OSError] = []

    async def hear() -> None:
        try:
            heard.append(await asyncio.get_running_loop().sock_recv(connected, PACKET_LIMIT))
        except ConnectionError:  # as its end
            heard.append(b"")
        except OSError as error:  # a group of tasks would wrap it
            problems.append(error)

    await first_of([hear(), clock.sleep(ANSWER_PATIENCE)])
    if problems:
        raise problems[0]
    if not heard or not heard[0]:
        raise ConnectionAbortedError(errno.ECONNABORTED, "it does not answer")
    return heard[0]


def _check_listener(connected: socket.socket) -> None:
    """Raise PermissionError where another user listens: it would get to see what jobs are given."""
    if not is_trusted(Peer.of(connected).uid):
        raise PermissionError(errno.EPERM, "another user listens there")


async def _come(event: asyncio.Event) -> None:
    await event.wait()

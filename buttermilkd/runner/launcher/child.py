"""The launcher as a child of the daemon, where it is no service of its own."""

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import psutil

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.environment import inherited
from buttermilkd.runner.launcher.launched import Launched
from buttermilkd.runner.launcher.leftovers import note
from buttermilkd.runner.launcher.spawner import Spawner

_BOOT = "import sys; sys.path.append(sys.argv.pop(1)); from buttermilkd.runner.launcher.program import main; main()"
_PACKAGE_ROOT = str(Path(__file__).parents[3])


class ChildLauncher:
    """Implements ``Launcher``: starts one when the first process is wanted, and the next one when that has died."""

    trouble = None

    def __init__(
        self,
        environment: Mapping[str, str],
        keep_fds: Sequence[int] = (),
        groups: Group | None = None,
        ungrouped: str | None = None,
        leftovers: Path | None = None,
    ) -> None:
        """``environment`` is that of this process, from which jobs inherit.

        ``leftovers``: the file for ``leftovers.end_leftovers``.

        ``keep_fds`` stay open until the last process of a job is gone, even when the daemon is killed.
        """
        self.groups = groups
        self.ungrouped = ungrouped
        self._environment = inherited(environment)
        self._keep_fds = keep_fds
        self._leftovers = leftovers

    async def run(
        self, spawner: Spawner, *, empty: Callable[[], Awaitable[None]], changed: Callable[[], None]
    ) -> None:
        """There is nothing to do."""

    def start(self) -> Launched:
        """Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        mark = secrets.token_hex(6)
        if self._leftovers is not None:
            note(self._leftovers, mark)
        with theirs:
            try:
                child = self._child(theirs, mark)
                psutil.Process(child.pid).ionice(psutil.IOPRIO_CLASS_IDLE)
                pidfd = os.pidfd_open(child.pid)
            except OSError:
                ours.close()
                raise
        child.returncode = 0  # it is waited for by its pidfd
        return Launched(ours, child.pid, pidfd, mark, self.groups, is_child=True)

    def _child(self, theirs: socket.socket, mark: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-X", "utf8", "-c", _BOOT, _PACKAGE_ROOT),
                *(str(theirs.fileno()), mark, str(self.groups.folder) if self.groups else ""),
                *map(str, self._keep_fds),
            ],
            env=self._environment,
            pass_fds=(theirs.fileno(), *self._keep_fds),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

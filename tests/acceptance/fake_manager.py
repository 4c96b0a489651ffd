"""A service manager for one daemon: opens its socket, hears what it tells, and starts it as systemd does."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.program import Daemon, until

_START = """
import os, sys
given, arguments = [int(word) for word in sys.argv[1].split(",") if word], sys.argv[2:]
for number, descriptor in enumerate(given):
    os.dup2(descriptor, 500 + number)
for number in range(len(given)):
    os.dup2(500 + number, 3 + number)
os.closerange(3 + len(given), 600)
if given:
    os.environ["LISTEN_PID"] = str(os.getpid())
if "WATCHDOG_USEC" in os.environ:
    os.environ["WATCHDOG_PID"] = str(os.getpid())
os.execv(arguments[0], arguments)
"""
"""Puts what is given at the descriptors from 3 on. Only the process itself knows its number before it is the daemon."""


class Manager:
    """Hears the daemon in ``daemon.folder``, and keeps its sockets open from one start to the next."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.messages: list[dict[str, str]] = []
        """What has been told so far."""
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._address = daemon.folder / "notify"
        self._notify.bind(str(self._address))
        self._notify.setblocking(False)
        self._sockets: dict[str, socket.socket] = {}

    def close(self) -> None:
        for one in (self._notify, *self._sockets.values()):
            one.close()

    def listen(self, name: str, path: Path, kind: socket.SocketKind = socket.SOCK_STREAM) -> None:
        """Open a socket, as a socket unit does."""
        one = socket.socket(socket.AF_UNIX, kind)
        path.parent.mkdir(exist_ok=True)
        one.bind(str(path))
        if kind is socket.SOCK_STREAM:
            one.listen(64)
        self._sockets[name] = one

    def launch(self, *arguments: str, watchdog: float | None = None) -> subprocess.Popen[bytes]:
        """Start the daemon without waiting for anything."""
        environment = self.daemon.environment | {"NOTIFY_SOCKET": str(self._address)}
        if watchdog is not None:
            environment["WATCHDOG_USEC"] = str(round(watchdog * 1e6))
        if self._sockets:
            environment["LISTEN_FDS"] = str(len(self._sockets))
            environment["LISTEN_FDNAMES"] = ":".join(self._sockets)
        program = [sys.executable, "-m", "buttermilkd", "--config", str(self.daemon.config), *arguments]
        given = [one.fileno() for one in self._sockets.values()]
        with self.daemon.log.open("ab") as log:
            self.daemon.process = subprocess.Popen(
                [sys.executable, "-c", _START, ",".join(map(str, given)), *program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.daemon.folder,
                env=environment,
                pass_fds=given,
            )
        return self.daemon.process

    def start(self, *arguments: str, watchdog: float | None = None) -> None:
        """Start the daemon, and return once it is ready."""
        self.messages.clear()
        process = self.launch(*arguments, watchdog=watchdog)
        until(lambda: process.poll() is not None or self.heard("READY"), "readiness")
        assert process.poll() is None, self.daemon.log.read_text()

    def read(self) -> list[dict[str, str]]:
        """What has been told so far, with what lies there now."""
        while True:
            try:
                datagram = self._notify.recv(65536)
            except BlockingIOError:
                return self.messages
            self.messages.append(dict(line.split("=", 1) for line in datagram.decode().split("\n")))

    def heard(self, name: str) -> list[dict[str, str]]:
        """The messages that assign this, so far."""
        return [message for message in self.read() if name in message]

    def silent_for(self, name: str, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Whether nothing assigns this for so long; what lay there before does not count."""
        before = len(self.heard(name))
        meanwhile()
        end = time.monotonic() + seconds  # noqa: TID251 - the manager's own patience
        while time.monotonic() < end:  # noqa: TID251
            if len(self.heard(name)) > before:
                return False
            time.sleep(0.01)
        return True

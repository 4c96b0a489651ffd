"""The launcher as a service, and a part of systemd's for it: a listening socket, and the service when one connects."""

import array
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

_ACTIVATE = """
import os, sys
passed = int(sys.argv[1])
if passed != 3:
    os.dup2(passed, 3)
    os.close(passed)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "buttermilkd.runner.launcher.service", *sys.argv[2:]])
"""


class Service:
    """A socket at which the launcher can be reached, and the process that was started last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(str(path))
        self.listener.listen()
        self.process: asyncio.subprocess.Process | None = None
        self.started = 0
        self._peers: list[Peer] = []

    def connect(self) -> "Peer":
        peer = Peer(self.path)
        self._peers.append(peer)
        return peer

    async def start(self, *arguments: str, name: str = "jobs") -> asyncio.subprocess.Process:
        """As systemd does once somebody has connected."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _ACTIVATE, str(self.listener.fileno()), *arguments),
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": name, "NOTIFY_SOCKET": "/nowhere"},
            pass_fds=(self.listener.fileno(),),
            stderr=subprocess.PIPE,
            start_new_session=True,  # as systemd does: it lowers the weight of its session
        )
        self.started += 1
        return self.process

    async def follow(self) -> None:
        """Start it at each connection, one after the other, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            connected = asyncio.Event()
            loop.add_reader(self.listener, connected.set)
            try:
                await connected.wait()
            finally:
                loop.remove_reader(self.listener)
            await (await self.start()).wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def close(self) -> None:
        for peer in self._peers:
            peer.close()
        self.listener.close()
        self.path.unlink()
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            await self.process.communicate()


@asynccontextmanager
async def service(tmp_path: Path, *, follows: bool = True) -> AsyncIterator[Service]:
    """``follows``: it is started whenever somebody connects; else only by ``start``."""
    one = Service(tmp_path / "jobs.sock")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.follow()) if follows else None
        try:
            yield one
        finally:
            if task is not None:
                task.cancel()
    await one.close()


class Peer:
    """A daemon's end of the connection, as bare packets."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.connect(str(path))
        self._socket.setblocking(False)

    def send(self, message: object, *fds: int) -> None:
        data = message if isinstance(message, bytes) else json.dumps(message).encode()
        self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])

    def spawn(self, script: str) -> None:
        """Ask for a job, which writes where the tests do."""
        request: dict[str, Any] = {
            "number": 1,
            "arguments": ["/bin/sh", "-c", script],
            "directory": "/",
            "environment": {},
            "files": {},
            "stdin": "",
        }
        self.send({"reap": [], "spawn": request}, 1, 2)

    async def heard(self) -> Any:
        """The next message; None at the end."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        except ConnectionResetError:
            return None
        return json.loads(data) if data else None

    def close(self) -> None:
        self._socket.close()

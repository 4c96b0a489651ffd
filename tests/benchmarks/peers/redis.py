"""A Redis of our own, which keeps nothing on disk: on a free port of the loopback interface, ended by its id."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.peers.environments import ROOT, UnavailableError
from tests.benchmarks.service import until

_UNPACKED = ROOT / ".cache" / "redis" / "usr"


def _program() -> Path | None:
    unpacked = _UNPACKED / "bin" / "redis-server"
    found = str(unpacked) if unpacked.exists() else shutil.which("redis-server")
    return Path(found) if found else None


class Redis:
    """One that runs."""

    def __init__(self, port: int, process: subprocess.Popen[bytes]) -> None:
        self.port = port
        self.process = process
        self.url = f"redis://127.0.0.1:{port}/0"

    def ask(self, command: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(f"{command}\r\n".encode())
            return connection.recv(64)

    def answers(self) -> bool:
        try:
            return self.ask("PING").startswith(b"+PONG")
        except OSError:
            return False

    def empty(self) -> None:
        self.ask("FLUSHALL")


@contextmanager
def redis() -> Iterator[Redis]:
    """Raises UnavailableError where there is no redis-server."""
    program = _program()
    if program is None:
        raise UnavailableError("no redis-server: scripts/packages bench")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    libraries = next((_UNPACKED / "lib").glob("*-linux-gnu"), _UNPACKED / "lib")
    with tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as folder:
        process = subprocess.Popen(
            [
                *(str(program), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
                *("--save", "", "--appendonly", "no"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LD_LIBRARY_PATH": str(libraries)},
            start_new_session=True,
        )
        try:
            one = Redis(port, process)
            until(lambda: one.answers() or process.poll() is not None, "the start of Redis")
            yield one
        finally:
            process.kill()
            process.wait()

"""A real daemon for benchmarks, in a folder and, where that is possible, a control group of its own."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from buttermilkd.cgroups import Group, Hierarchy
from buttermilkd.client import Client
from buttermilkd.reports import Hello, Snapshot, encode

PATIENCE = 60.0
UNMOVED = """
foreign_cpu_busy = 1.0
foreign_cpu_clear = 0.99
steal_busy = 1.0
cpu_pressure_busy = 1.0
io_pressure_busy = 1.0
memory_pressure_busy = 1.0
memory_available_busy = 0.0001
"""
"""A benchmark is about one signal: nothing else shall decide."""


def until(condition: Callable[[], Any], what: str, *, patience: float = PATIENCE) -> Any:
    """The condition's value, once it is true; ``patience`` is in seconds."""
    deadline = time.monotonic() + patience  # noqa: TID251 - benchmarks measure real time
    while not (value := condition()):
        if time.monotonic() > deadline:  # noqa: TID251
            raise TimeoutError(f"{what} did not happen within {patience:.0f} s")
        time.sleep(0.01)
    return value


class Service:
    """A daemon that runs."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], group: Group | None) -> None:
        self.folder = folder
        self.process = process
        self.group = group
        self.activity = folder / "run" / "activity.sock"
        self.client = Client(socket=folder / "run" / "control.sock")

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.folder / "run" / "control.sock")) == 0


@contextmanager
def running(
    config: str,
    *,
    group: Group | None = None,
    queue: str = "local",
    environ: Mapping[str, str] | None = None,
) -> Iterator[Service]:
    """A daemon with this configuration, and ``environ`` over ours; ``group`` is given to it as systemd would."""
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-bench-"))
    (folder / "b.toml").write_text(
        f'queue = "{queue}"\n[daemon]\nstate_dir = "state"\nruntime_dir = "run"\n{config}'
    )
    command = [sys.executable, "-m", "buttermilkd", "--config", str(folder / "b.toml")]

    def enter() -> None:
        if group is not None:
            group.write("cgroup.procs", "0")

    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | dict(environ or {}),
            start_new_session=True,
            preexec_fn=enter,  # noqa: PLW1509
        )
    service = Service(folder, process, group)
    try:
        until(lambda: process.poll() is not None or service.answers(), "the daemon's start")
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text())
        yield service
    finally:
        for each in (process, service.process):  # a benchmark may have started it anew
            each.kill()
            each.wait()
        _wait_for_jobs(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for_jobs(folder: Path) -> None:
    """The launcher holds the lock until the last job is gone."""
    import fcntl  # noqa: PLC0415

    with (folder / "state" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@contextmanager
def delegated_group() -> Iterator[Group | None]:
    """A control group as systemd delegates them; None where this user cannot make one."""
    hierarchy = Hierarchy.find()
    if hierarchy is None or not os.access(hierarchy.mount / "cgroup.procs", os.W_OK):
        yield None
        return
    group = hierarchy.group(f"/buttermilkd-bench-{os.getpid()}")
    group.folder.mkdir()
    os.setxattr(group.folder, "user.delegate", b"1")
    try:
        yield group
    finally:
        group.write("cgroup.kill", "1")
        until(lambda: _removed(group.folder), "the removal of the control group")


def _removed(folder: Path) -> bool:
    for below, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            Path(below).rmdir()
    return not folder.exists()


class Reporter:
    """One process of a web server, as the daemon sees it."""

    def __init__(self, path: Path, app: str = "bench", beat_ms: int = 60_000) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(str(path))
        self._seq = 0
        self._total = 1
        self._connection.sendall(encode(Hello(app, os.getpid(), "w1", "asgi", beat_ms)))

    def say(self, *, requests: int = 0, idle_ms: float = 0.0) -> None:
        self._seq += 1
        self._total += requests
        told = Snapshot(self._seq, requests, 0, self._total, idle_ms)
        self._connection.sendall(encode(told))

    def close(self) -> None:
        self._connection.close()

"""A real daemon as a process of its own, in a folder of its own, and everything that talks to it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buttermilkd.client import Client
from buttermilkd.messages import BatchView
from tests.unmoved import UNMOVED

PATIENCE = 30.0
"""Seconds after which a condition that does not come true fails the test."""

IDLE_AT_ONCE = f"""
[idle]
quiet_for = "1s"
settle_for = "100ms"
{UNMOVED}
"""


def until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The condition's value, once it is true."""
    deadline = time.monotonic() + patience  # noqa: TID251 - the tests' own patience
    while not (value := condition()):
        if time.monotonic() > deadline:  # noqa: TID251
            pytest.fail(f"{what} did not happen within {patience:.0f} s")
        time.sleep(0.01)
    return value


def processes_with(marker: str) -> list[int]:
    """Ids of living processes that have this text among their arguments or in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if marker.encode() in text and not zombie and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


class Daemon:
    """One state directory, and the daemon that works in it: started, killed and started again by tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "buttermilkd.toml"
        self.control = folder / "run" / "control.sock"
        self.activity = folder / "run" / "activity.sock"
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.umask = -1
        """Of the daemon; -1 for that of the tests."""
        self.variables: dict[str, str] = {}
        """What it and ``buttermilkctl`` find in their environment beside the tests' own."""
        self.client = Client(socket=self.control)
        self.within: list[str] = []
        """A command that starts the daemon: in surroundings of its own, or under somebody's eyes."""
        self.write("")

    def write(self, flows: str, *, concurrency: int = 2, daemon: str = "", idle: str = IDLE_AT_ONCE) -> None:
        """Write the configuration."""
        self.config.write_text(
            f'[daemon]\nconcurrency = {concurrency}\nstate_dir = "state"\nruntime_dir = "run"\n{daemon}\n{idle}\n{flows}\n'
        )

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BUTTERMILKD_")}
        return kept | {"TEST_FOLDER": str(self.folder)} | self.variables

    def launch(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the program without waiting for it."""
        with self.log.open("ab") as log:
            program = [sys.executable, "-m", "buttermilkd", "--config", str(self.config), *arguments]
            command = [*self.within, *program]
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=self.environment,
                umask=self.umask,
            )

    def start(self, *arguments: str) -> None:
        """Start the daemon and wait until it answers."""
        process = self.process = self.launch(*arguments)
        until(lambda: process.poll() is not None or self.answers(), "an answer of the daemon")
        assert process.poll() is None, self.log.read_text()

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self.control)) == 0

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def ctl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run ``buttermilkctl`` as a user would."""
        command = [sys.executable, "-m", "buttermilkd.cli", "--socket", str(self.control), *arguments]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=60,
            check=False,
        )

    def ctl_json(self, *arguments: str, stdin: str | None = None) -> Any:
        done = self.ctl(*arguments, "--json", stdin=stdin)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def ended(self, batch_id: str) -> BatchView:
        """The batch, once it has ended."""
        found: BatchView = until(
            lambda: view if (view := self.client.batch(batch_id, wait=5))["ended_at"] else None,
            "the batch's end",
        )
        return found

    def running(self, count: int, patience: float = PATIENCE) -> None:
        """Return once so many jobs execute."""
        until(lambda: len(self.client.status()["running"]) == count, f"{count} running jobs", patience)

    def jobs(self, batch_id: str) -> list[dict[str, Any]]:
        return [dict(job) for job in self.client.jobs(batch_id, limit=1000)["jobs"]]

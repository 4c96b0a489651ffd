"""Google's emulator of Pub/Sub, on a loopback port of its own, started by ``pubsub-emulator`` and ended with it."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.parts import need

TOOL = str(Path(__file__).with_name("pubsub-emulator"))
PATIENCE = 30.0
"""Seconds that the emulator gets to end."""
_READY = 'echo "$PUBSUB_EMULATOR_HOST $PUBSUB_EMULATOR_PID" && exec cat'
"""The end of this command's input is the emulator's end."""
_NOT_INSTALLED = 69


class Emulator:
    """One that runs. Whoever kills, stops or restarts it starts one for that test alone."""

    def __init__(self) -> None:
        self.host = ""
        """Its host and port; they stay the same when it is started again."""
        self.pid = 0
        """Its process."""
        self._tool: subprocess.Popen[str] | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        """What clients of it need."""
        return {"PUBSUB_EMULATOR_HOST": self.host}

    def start(self) -> None:
        """Return when it answers; nothing is in it. Skips the test where it is not installed."""
        port = ["--port", self.host.rpartition(":")[2]] if self.host else []
        with tempfile.TemporaryFile("w+") as errors:
            tool = subprocess.Popen(
                [TOOL, "run", *port, "--", "sh", "-c", _READY],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            assert tool.stdout is not None
            told = tool.stdout.readline().split()
            if not told:
                status = tool.wait(PATIENCE)
                _close(tool)
                errors.seek(0)
                problem = errors.read().strip()
                need(status != _NOT_INSTALLED, f"the Pub/Sub emulator ({problem})")
                pytest.fail(problem)
        self._tool, self.host, self.pid = tool, told[0], int(told[1])

    def end(self) -> None:
        """End it in order, even if it was stopped or killed."""
        if self._tool is not None:
            _close(self._tool)
            self._tool.wait(PATIENCE)
            self._tool = None

    def kill(self) -> None:
        """End it as a crash does; its port is free when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        self.end()

    def restart(self) -> None:
        """Start it again where it was, with nothing in it."""
        self.end()
        self.start()

    def stop(self) -> None:
        """Have it answer nothing any more, though its port is open; return when the kernel has stopped all of it."""
        os.kill(self.pid, signal.SIGSTOP)
        threads = list(Path(f"/proc/{self.pid}/task").iterdir())
        while any(_state(thread) != "T" for thread in threads):
            time.sleep(0.001)

    def cont(self) -> None:
        """Undo ``stop``."""
        os.kill(self.pid, signal.SIGCONT)


def _state(thread: Path) -> str:
    try:
        return (thread / "stat").read_text().rpartition(") ")[2].split()[0]
    except OSError:  # it has ended
        return "T"


def _close(tool: subprocess.Popen[str]) -> None:
    assert tool.stdin is not None
    assert tool.stdout is not None
    tool.stdin.close()
    tool.stdout.close()


@contextmanager
def emulator() -> Iterator[Emulator]:
    """One for as long as this lasts."""
    one = Emulator()
    one.start()
    try:
        yield one
    finally:
        one.end()

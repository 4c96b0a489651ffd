"""``buttermilkctl`` as a process of its own, in a folder with a stand-in for the daemon."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.stand_in import StandIn

BATCH = "batch-1a2b3c4d"


class Terminal:
    """A folder with a daemon's stand-in, and ``buttermilkctl`` to run in it."""

    def __init__(self, folder: Path, daemon: StandIn) -> None:
        self.folder = folder
        self.daemon = daemon
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BUTTERMILKD_")}
        own = {"HOME": str(folder), "BUTTERMILKD_CONTROL_SOCKET": str(daemon.socket), "TERM": "xterm"}
        self.environ = {**kept, **own, "PYTHONPATH": str(Path(__file__).parents[2])}

    def command(self, *arguments: str, module: str = "buttermilkd.cli") -> list[str]:
        return [sys.executable, "-m", module, *arguments]

    def run(
        self, *arguments: str, stdin: str | bytes = "", module: str = "buttermilkd.cli", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments, module=module),
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=self.folder,
            env={**self.environ, **environ},
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    @contextmanager
    def running(self, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[Any]]:
        """A command that is watched while it runs; the block's end is its own."""
        environ = {**self.environ, **options.pop("environ", {})}
        command = self.command(*arguments)
        with subprocess.Popen(command, env=environ, cwd=self.folder, **options) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *arguments: str, code: int = 0, stdin: str = "") -> Any:
        done = self.run(*arguments, "--json", stdin=stdin)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def typed(self, *arguments: str, **environ: str) -> str:
        """What the command prints where all its streams are a terminal."""
        ours, theirs = pty.openpty()
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        with self.running(*arguments, environ={"COLUMNS": "120", **environ}, **streams) as process:
            os.close(theirs)
            text = b""
            try:
                while piece := os.read(ours, 65536):
                    text += piece
            except OSError:
                """Its end, as Linux tells it of a terminal."""
            process.wait()
        os.close(ours)
        return text.decode()


@contextmanager
def opened(folder: Path) -> Iterator[Terminal]:
    """A terminal whose daemon answers until the block ends."""
    daemon = StandIn(folder / "control.sock")
    daemon.start()
    try:
        yield Terminal(folder, daemon)
    finally:
        daemon.stop()

"""From the start of the process to ``READY=1``, with a ledger of a million jobs."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.create import create
from tests.benchmarks.report import Report, Timer
from tests.benchmarks.service import PATIENCE, UNMOVED, Service, until
from tests.benchmarks.table import say

OURS = "buttermilkd, until READY=1"
AIOHTTP = "python -c 'import aiohttp'"
BOTH = "python -c 'import aiohttp, pydantic'"
CONFIG = f"""[daemon]
state_dir = "state"
runtime_dir = "run"
[idle]
{UNMOVED}
[flows.true]
command = ["/bin/true"]
"""


class Manager:
    """Starts the daemon as systemd does, and hears what it tells."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "b.toml").write_text(CONFIG)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(PATIENCE)

    def start(self) -> tuple["subprocess.Popen[bytes]", float]:
        """The daemon, and seconds until it was ready."""
        command = [sys.executable, "-m", "buttermilkd", "--config", str(self._folder / "b.toml")]
        environ = os.environ | {"NOTIFY_SOCKET": str(self._folder / "notify")}
        with (self._folder / "log").open("ab") as log:
            timer = Timer()
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
        try:
            while b"READY=1" not in self._socket.recv(65_536).split(b"\n"):
                pass
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process, timer.seconds

    def close(self) -> None:
        self._socket.close()


def stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    until(lambda: process.poll() is not None, "the daemon's end")


def main(report: Report) -> None:
    """Print milliseconds of each."""
    jobs, rounds = report.pick((1_000_000, 15), (100_000, 6), (100, 2))
    ways = {AIOHTTP: "import aiohttp", BOTH: "import aiohttp, pydantic"}
    times: dict[str, list[float]] = {OURS: [], AIOHTTP: [], BOTH: []}
    with tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as name:
        folder = Path(name)
        manager = Manager(folder)
        try:
            process, _ = manager.start()
            try:
                service = Service(folder, process, None)
                service.client.pause()
                say(f"# a ledger of {jobs:,} jobs, made in {create(service, jobs):.1f} s")
            finally:
                stop(process)
            for _ in range(rounds):
                process, seconds = manager.start()
                stop(process)
                times[OURS].append(1000 * seconds)
                for way, program in ways.items():
                    timer = Timer()
                    subprocess.run([sys.executable, "-c", program], check=True)
                    times[way].append(1000 * timer.seconds)
        finally:
            manager.close()
    medians = report.compare(f"a start with a ledger of {jobs:,} jobs", "ms", times, ours=OURS)
    report.goal("times import aiohttp", medians[OURS] / medians[AIOHTTP], 3)

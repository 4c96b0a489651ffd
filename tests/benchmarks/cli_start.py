"""``buttermilkctl status`` as a whole process, beside an interpreter that does nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.report import Report, Timer
from tests.benchmarks.service import UNMOVED, running

OURS = "buttermilkctl status"
PYTHON = "python -c pass"
CLICK = "python -c 'import click'"
SYSTEMCTL = "systemctl status, where no systemd runs: it only starts and fails"


def main(report: Report) -> None:
    """Print milliseconds of each."""
    rounds = report.pick(40, 15, 2)
    with running(f"[idle]\n{UNMOVED}") as service:
        ctl = str(Path(sys.executable).with_name("buttermilkctl"))
        ways = {
            OURS: [ctl, "--socket", str(service.folder / "run" / "control.sock"), "status"],
            PYTHON: [sys.executable, "-c", "pass"],
            CLICK: [sys.executable, "-c", "import click"],
        }
        if shutil.which("systemctl"):
            lives = Path("/run/systemd/system").exists()
            ways["systemctl status" if lives else SYSTEMCTL] = ["systemctl", "status", "--no-pager"]
        else:
            report.lacks("systemctl status", "no systemctl")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, command in ways.items():
                timer = Timer()
                subprocess.run(command, capture_output=True, check=name == OURS)
                times[name].append(1000 * timer.seconds)
    medians = report.compare("a whole process", "ms", times, ours=OURS)
    report.goal("times python", medians[OURS] / medians[PYTHON], 8)
    report.goal("whole process", medians[OURS], 150, unit="ms")

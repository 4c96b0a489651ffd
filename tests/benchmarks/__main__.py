"""``python -m tests.benchmarks [NAME…]``: run these benchmarks, or all of them, and sum them up."""

import argparse
import json
import os
import platform
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.benchmarks import document
from tests.benchmarks.plots import draw
from tests.benchmarks.report import Effort, Report, Timer
from tests.benchmarks.table import say, show

BENCHMARKS = (
    "drain-callable",
    "drain-command",
    "latency",
    "create",
    "status-at-scale",
    "cli-start",
    "waiting",
    "start",
    "yield",
    "impact",
    "harvest",
    "middleware",
    "pubsub",
    "memory",
    "growth",
)
BUSY = 0.7
"""Load average from which a warning is due."""
_MODULES = {"yield": "yielding"}


def run(name: str, effort: Effort, *, huge: bool) -> Report:
    """Run one benchmark; one that fails says so in its report, and does not keep others from running."""
    report = Report(name, effort, huge)
    timer = Timer()
    say(f"\n== {name}")
    try:
        with limited(report.pick(900, 300)):
            import_module(f"tests.benchmarks.{_MODULES.get(name, name.replace('-', '_'))}").main(report)
    except Exception as error:  # noqa: BLE001 - the other benchmarks still run
        report.error = f"{type(error).__name__}: {error}".splitlines()[0]
        say(traceback.format_exc())
    report.seconds = timer.seconds
    return report


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in what runs longer: one benchmark that hangs shall not cost all the others."""

    def expire(*_: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, expire)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def surroundings(effort: Effort) -> dict[str, Any]:
    """Where this was measured."""
    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "date": time.strftime("%Y-%m-%d"),
        "effort": effort.value,
        "cpus": os.cpu_count(),
        "processor": model[0].partition(": ")[2] if model else platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def sum_up(reports: list[Report]) -> None:
    """Print each goal and whether it is met, and what could not be run."""
    rows = [row for report in reports for row in report.summary()]
    show("goals", ["benchmark", "figure", "measured", "goal", "met"], rows)
    for report in reports:
        for reference, why in report.missing.items():
            say(f"{report.name}: not measured: {reference}: {why}")
    say(", ".join(f"{report.name} {report.seconds:.0f} s" for report in reports))


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Exits with status 2 where they cannot be understood."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures, each beside a reference.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller sizes")
    parser.add_argument("--huge", action="store_true", help="let batches grow to ten million jobs")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and samples")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the curves of growth as SVG")
    parser.add_argument("--write", action="store_true", help="put all of it into BENCHMARKS.md, with plots")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}: there are {', '.join(BENCHMARKS)}")
    return options


def main(arguments: list[str]) -> int:
    options = parsed(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended
    effort = Effort.TINY if options.tiny else Effort.QUICK if options.quick else Effort.FULL
    if os.getloadavg()[0] > BUSY:
        say(
            "# something else runs on this machine: jobs at idle priority come last, so most figures mean little"
        )
    reports: list[Report] = []
    found = surroundings(effort)
    for name in options.names or BENCHMARKS:
        reports.append(run(name, effort, huge=options.huge))
        found["benchmarks"] = [report.document() for report in reports]
        if options.json:  # after each, so that an interrupted run has not measured for nothing
            options.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    sum_up(reports)
    folder = options.plots or (document.PLOTS if options.write else None)
    if folder:
        draw([curve for report in reports for curve in report.curves], folder)
    if options.write:
        document.write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

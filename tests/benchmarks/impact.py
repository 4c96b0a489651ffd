"""What a web server's visitors notice of jobs beside it: p99 at 100 requests a second."""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median, quantiles

from tests.benchmarks.report import Report
from tests.benchmarks.service import UNMOVED, Service, running, until
from tests.benchmarks.table import say
from tests.benchmarks.web import RATE, load, server, undisturbed

JOBS = 2
AUTO = "buttermilkd, auto"
SEED = 7
KINDS = {
    "cpu": "while True: sum(range(10_000))",
    "memory": "a = bytearray(1 << 26)\nwhile True: b = bytes(a)",
    "disk": (
        "import os, tempfile\nwith tempfile.TemporaryFile() as f:\n while True:\n"
        "  os.pwrite(f.fileno(), bytes(1 << 20), 0); os.fsync(f.fileno())"
    ),
}
"""What jobs do."""
Way = Callable[[str], AbstractContextManager[None]]
"""Runs jobs with this code while it is entered."""


@contextmanager
def nothing(_code: str) -> Iterator[None]:
    yield


def beside(lower: Callable[[], None]) -> Way:
    """Jobs as processes of sessions of their own, after ``lower`` in each."""

    @contextmanager
    def started(code: str) -> Iterator[None]:
        def begin() -> None:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            lower()

        jobs = [
            subprocess.Popen([sys.executable, "-c", code], start_new_session=True, preexec_fn=begin)  # noqa: PLW1509
            for _ in range(JOBS)
        ]
        try:
            yield
        finally:
            for job in jobs:
                job.kill()
                job.wait()

    return started


def _idle() -> None:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _nice() -> None:
    os.nice(19)


def _nothing() -> None:
    """As it comes."""


def config(on_busy: str) -> str:
    flows = "\n".join(
        f'[flows.{kind}]\ncommand = ["{sys.executable}", "-c", \'\'\'{code}\'\'\']\non_busy = "{on_busy}"\ngrace = "1s"'
        for kind, code in KINDS.items()
    )
    idle = f'[idle]\nquiet_for = "1s"\nsettle_for = "100ms"\nsuspend_min = "1s"\n{UNMOVED}'
    return f"concurrency = {JOBS}\n{idle}\n{flows}"


@contextmanager
def batch(service: Service, kind: str) -> Iterator[None]:
    """Jobs of this kind that run, since it was quiet."""
    created = service.client.create(kind, records=[str(n) for n in range(JOBS)]).batch_id
    until(lambda: len(service.client.status()["running"]) == JOBS, "the start of the jobs")
    try:
        yield
    finally:
        service.client.cancel(created, now=True)


@dataclass
class Figures:
    """Of one way to run jobs of one kind."""

    p50: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)

    def add(self, latencies: list[float]) -> None:
        cuts = quantiles(latencies, n=100, method="inclusive")
        self.p50.append(cuts[49])
        self.p99.append(cuts[98])


def main(report: Report) -> None:
    """Print p99 of each way beside that without jobs, all interleaved in one run."""
    rounds, seconds = report.pick((3, 4.0), (1, 2.5), (1, 0.5))
    plain: dict[str, Way] = {
        "without jobs": nothing,
        "normal priority": beside(_nothing),
        "nice 19": beside(_nice),
        "SCHED_IDLE": beside(_idle),
    }
    say(
        f"# {RATE:.0f} requests a second, {JOBS} jobs, {rounds} rounds of {seconds:g} s each, interleaved; {os.cpu_count()} CPUs"
    )
    for kind, code in report.pick(KINDS, {"cpu": KINDS["cpu"]}).items():
        figures = _measured(kind, code, plain, rounds, seconds)
        base = median(figures["without jobs"].p99)
        rows = [
            [
                name,
                f"{1000 * median(one.p50):.1f}",
                f"{1000 * median(one.p99):.1f}",
                f"{1000 * min(one.p99):.1f} to {1000 * max(one.p99):.1f}",
                f"{median(one.p99) / base:.2f}",
            ]
            for name, one in figures.items()
        ]
        report.show(
            f"impact of jobs that use {kind}",
            ["jobs", "p50 ms", "p99 ms", "range", "times without jobs"],
            rows,
            "goal: 1.10 times without jobs",
        )
        report.samples[kind] = {name: one.p99 for name, one in figures.items()}
        report.goal(f"{kind}: p99, times that without jobs", median(figures[AUTO].p99) / base, 1.10)


def _measured(kind: str, code: str, plain: dict[str, Way], rounds: int, seconds: float) -> dict[str, Figures]:
    order = [*plain, "buttermilkd, finish", AUTO]
    figures = {name: Figures() for name in order}
    rng = Random(SEED)
    for number in range(rounds):
        rng.shuffle(order)
        for name in order:
            with ExitStack() as stack:
                folder = stack.enter_context(tempfile.TemporaryDirectory())
                path = Path(folder) / "none"
                if name not in plain:
                    service = stack.enter_context(running(config(name.rpartition(" ")[2])))
                    path = service.activity
                port = stack.enter_context(server(path))
                if name in plain:
                    stack.enter_context(plain[name](code))
                else:
                    stack.enter_context(batch(service, kind))
                time.sleep(0.5)
                stack.enter_context(undisturbed())
                figures[name].add(asyncio.run(load(port, seconds, SEED + number)))
    return figures

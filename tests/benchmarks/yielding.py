"""From the report of a request to the last of twenty jobs that stands still, and from quiet to their going on."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles

from buttermilkd.cgroups import Group
from tests.benchmarks.jobs import TREE, Frozen, States, end_trees, members, start_trees
from tests.benchmarks.report import Report
from tests.benchmarks.service import UNMOVED, Reporter, delegated_group, running, until
from tests.benchmarks.table import say

JOBS = 20
QUIET = 1.2
LOOK_EVERY = 0.0002
"""Seconds between two looks, so that who looks does not take the CPU that others need."""
CONFIG = f"""
concurrency = {JOBS}
[idle]
quiet_for = "{QUIET * 1000:.0f}ms"
settle_for = "100ms"
suspend_min = "0s"
suspensions_per_hour = 1000
{UNMOVED}
[flows.burn]
command = ["{sys.executable}", "-c", '''{TREE}''']
on_busy = "suspend"
grace = "1s"
"""
BARE = """
import os, signal, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
peer, _ = listener.accept()
groups = [int(text) for text in sys.argv[2:]]
while line := peer.recv(4096):
    number = signal.SIGSTOP if b'"req":1' in line else signal.SIGCONT
    for group in groups:
        os.killpg(group, number)
"""
"""The least that can be done: a process that reads the same socket and sends the signals."""


@dataclass
class Times:
    """Of each round, in seconds."""

    stopped: list[float] = field(default_factory=list)
    resumed: list[float] = field(default_factory=list)


def measure(reporter: Reporter, jobs: States | Frozen, *, rounds: int, quiet: float) -> Times:
    """Say that a request begins and ends, again and again, and look until everything stands still and goes on."""
    times = Times()
    clock = time.perf_counter
    for _ in range(rounds):
        began = clock()
        reporter.say(requests=1)
        while not jobs.all_stopped():
            time.sleep(LOOK_EVERY)
        times.stopped.append(clock() - began)
        ended = clock()
        reporter.say()
        while jobs.any_stopped():
            time.sleep(LOOK_EVERY)
        times.resumed.append(clock() - ended - quiet)
        time.sleep(0.02)
    return times


def ours(group: Group | None, rounds: int) -> Times:
    with running(CONFIG, group=group) as service:
        service.client.create("burn", records=[str(n) for n in range(JOBS)])
        until(lambda: len(service.client.status()["running"]) == JOBS, "the start of all jobs")
        pids = [int(one["pid"] or 0) for one in service.client.status()["running"]]
        trees = until(lambda: _whole(members(pids)), "the growth of all trees")
        jobs: States | Frozen
        if group is None:
            jobs = States(pid for tree in trees.values() for pid in tree)
        else:
            jobs = Frozen(folder for folder in (group.folder / "jobs").iterdir() if folder.name.isdigit())
        reporter = Reporter(service.activity)
        reporter.say(idle_ms=3_600_000)
        try:
            return measure(reporter, jobs, rounds=rounds, quiet=QUIET)
        finally:
            reporter.close()
            jobs.close()


def _whole(trees: dict[int, list[int]]) -> dict[int, list[int]] | None:
    return trees if all(len(tree) == 3 for tree in trees.values()) else None


@contextmanager
def bare_stopper(path: Path, groups: list[int]) -> Iterator[None]:
    command = [sys.executable, "-c", BARE, str(path), *map(str, groups)]
    with subprocess.Popen(command) as process:
        try:
            until(path.exists, "the socket")
            yield
        finally:
            process.kill()


def bare(rounds: int) -> Times:
    trees = start_trees(JOBS)
    try:
        pids = [tree.pid for tree in trees]
        found = until(lambda: _whole(members(pids)), "the growth of all trees")
        jobs = States(pid for tree in found.values() for pid in tree)
        with tempfile.TemporaryDirectory() as folder, bare_stopper(Path(folder) / "s", pids):
            reporter = Reporter(Path(folder) / "s")
            time.sleep(0.1)  # the introduction is no report
            try:
                return measure(reporter, jobs, rounds=rounds, quiet=0.0)
            finally:
                reporter.close()
                jobs.close()
    finally:
        end_trees(trees)


BARE_NAME = "a bare kill -STOP over the same socket"
SIGNALS = "buttermilkd, by signals"
FREEZER = "buttermilkd, by the freezer"


def main(report: Report) -> None:
    """Print how long stopping and going on take."""
    turns, rounds = report.pick(3, 1), report.pick(20, 12, 3)
    say(
        f"# {JOBS} jobs, each a tree of three processes of which one burns a CPU, {turns} times {rounds} rounds"
    )
    times: dict[str, Times] = {}
    for _ in range(turns):
        _add(times, BARE_NAME, bare(rounds))
        _add(times, SIGNALS, ours(None, rounds))
        with delegated_group() as group:
            if group is None:
                report.lacks(FREEZER, "no control group can be made here")
            else:
                _add(times, FREEZER, ours(group, rounds))
    report.show(
        "yield, in milliseconds",
        ["", "stopped p50", "p99", "most", "going on p50", "p99", "most"],
        [[name, *_figures(one.stopped), *_figures(one.resumed)] for name, one in times.items()],
        "stopped: from the line that tells of a request to the last of all jobs that stands still; goals: p50 5, p99 50",
        "going on: from the end of quiet_for to the last job that goes on; goal: 1,000",
    )
    for name, one in times.items():
        report.samples[name] = {"stopped": one.stopped, "resumed": one.resumed}
        if name != BARE_NAME:
            cuts = quantiles(one.stopped, n=100, method="inclusive")
            report.goal(f"{name.partition(', ')[2]}: stopped, p50", 1000 * cuts[49], 5, unit="ms")
            report.goal(f"{name.partition(', ')[2]}: stopped, p99", 1000 * cuts[98], 50, unit="ms")


def _add(times: dict[str, Times], name: str, found: Times) -> None:
    kept = times.setdefault(name, Times())
    kept.stopped += found.stopped
    kept.resumed += found.resumed


def _figures(values: list[float]) -> list[str]:
    cuts = quantiles(values, n=100, method="inclusive")
    return [f"{1000 * value:.1f}" for value in (cuts[49], cuts[98], max(values))]

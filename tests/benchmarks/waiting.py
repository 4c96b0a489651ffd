"""What it costs to wait: CPU time, wake-ups and memory over a minute, beside workers of other queues."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import pytest

from tests.benchmarks.peers import driving
from tests.benchmarks.peers.catalogue import PEERS
from tests.benchmarks.report import Effort, Report
from tests.benchmarks.service import UNMOVED, Reporter, Service, running, until
from tests.emulator import emulator

REPORTERS = 3
BEAT = 1.0
CONFIG = f"""
[idle]
settle_for = "100ms"
{UNMOVED}
[flows.wait]
command = ["sleep", "1000"]
on_busy = "suspend"
"""
CONFIG_SHARED = 'host = "bench"\n[pubsub]\nproject = "waiting"\ncreate = true\n'
COMPARED = ("arq", "Dramatiq", "Celery", "Huey (SQLite)", "Huey (Redis)")
BESIDE = (*COMPARED, "taskiq")


@dataclass(frozen=True)
class Usage:
    """Of a process and its descendants so far."""

    cpu: float
    wakeups: int
    own: float
    """MiB of the process alone."""
    whole: float
    """MiB with its descendants."""

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Nanoseconds of run time are in the first field of schedstat, switches in status."""
        whole = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        tasks = [task for one in whole for task in Path(f"/proc/{one}/task").iterdir()]
        nanoseconds = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
        switches = sum(_status(task / "status", "voluntary_ctxt_switches") for task in tasks)
        return cls(nanoseconds / 1e9, switches, memory(pid), sum(memory(one) for one in whole))


def memory(pid: int) -> float:
    """MiB of memory that a process holds."""
    return _status(Path(f"/proc/{pid}/status"), "VmRSS") / 1024


def most_memory(pid: int) -> float:
    """MiB that it has held at most."""
    return _status(Path(f"/proc/{pid}/status"), "VmHWM") / 1024


def _status(file: Path, name: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


class Beats:
    """Web servers that report every second that nobody is there."""

    def __init__(self, path: Path, count: int = REPORTERS) -> None:
        self._reporters = [Reporter(path, f"app{n}", round(BEAT * 1000)) for n in range(count)]
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat)
        self._began = time.monotonic()  # noqa: TID251 - benchmarks measure real time

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            for reporter in self._reporters:
                reporter.say(idle_ms=3_600_000 + 1000 * (time.monotonic() - self._began))  # noqa: TID251

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        for reporter in self._reporters:
            reporter.close()


def _nothing(service: Service) -> None:
    until(lambda: service.client.status()["idle"], "idleness")


def _held(service: Service) -> None:
    """A batch that waits, so that the daemon looks each second."""
    service.client.pause()
    service.client.create("wait", records=["a"])


def _suspended(service: Service) -> None:
    service.client.create("wait", records=["a", "b"])
    until(lambda: len(service.client.status()["running"]) == 2, "the start of the jobs")
    reporter = Reporter(service.activity, "busy")
    reporter.say(requests=1)
    until(lambda: all(one["suspended_at"] for one in service.client.status()["running"]), "the suspension")


SHARED = "buttermilkd: on Pub/Sub, nothing waits"
NOTHING = "buttermilkd: nothing waits to run"
STATES: dict[str, Callable[[Service], None]] = {
    NOTHING: _nothing,
    "buttermilkd: a batch waits, paused": _held,
    "buttermilkd: two jobs are suspended": _suspended,
}


def main(report: Report) -> None:
    """Print what waiting costs; all wait in the same minute, since who waits disturbs nobody."""
    seconds = report.pick(60.0, 12.0, 2.0)
    beside = report.pick(BESIDE, BESIDE, ())
    with ExitStack() as stack:
        pids = {name: _daemon(stack, state) for name, state in STATES.items()}
        if report.effort is not Effort.TINY:
            _add_shared(report, stack, pids)
        able, store = stack.enter_context(
            driving.references(report, [peer for peer in PEERS if peer.name in beside])
        )
        for peer in able:
            scene = stack.enter_context(driving.scene(peer, store, waits=True))
            scene.produce("enqueue", "1")
            worker = stack.enter_context(scene.worker())
            scene.until_ticked(1, worker)
            pids[peer.name] = worker.pid
        time.sleep(min(5.0, seconds))
        before = {name: Usage.of(pid) for name, pid in pids.items()}
        time.sleep(seconds)
        after = {name: Usage.of(pid) for name, pid in pids.items()}
    shares = {name: 100 * (after[name].cpu - before[name].cpu) / seconds for name in pids}
    wakeups = {name: (after[name].wakeups - before[name].wakeups) / seconds for name in pids}
    report.samples["of one CPU in percent"] = {name: [share] for name, share in shares.items()}
    report.show(
        f"waiting for {seconds:.0f} s; ours with {REPORTERS} web servers that report each second",
        ["", "% of one CPU", "wake-ups/s", "MiB", "with children"],
        [
            [
                name,
                f"{shares[name]:.3f}",
                f"{wakeups[name]:.1f}",
                f"{after[name].own:.0f}",
                f"{after[name].whole:.0f}",
            ]
            for name in pids
        ],
        "CPU and wake-ups are those of a process and all its children; Redis is not counted",
    )
    judge(report, shares, {name: usage.own for name, usage in after.items()})


def judge(report: Report, shares: dict[str, float], mebibytes: dict[str, float]) -> None:
    report.goal("of one CPU, at most in any state", max(shares[name] for name in STATES), 0.1, unit="%")
    report.goal("memory", mebibytes[NOTHING], 45, unit="MiB")
    if SHARED in mebibytes:
        report.goal("memory with Pub/Sub", mebibytes[SHARED], 80, unit="MiB")
    others = {name: share for name, share in shares.items() if name in COMPARED}
    if others:
        least = min(others, key=lambda name: others[name])
        report.goal(f"CPU, times the least of others ({least})", shares[NOTHING] / others[least], 1)


def _daemon(stack: ExitStack, state: Callable[[Service], None]) -> int:
    service = stack.enter_context(running(CONFIG))
    stack.enter_context(Beats(service.activity))
    state(service)
    return service.process.pid


def _add_shared(report: Report, stack: ExitStack, pids: dict[str, int]) -> None:
    """A daemon that waits for Pub/Sub, where its emulator can run."""
    try:
        cloud = stack.enter_context(emulator())
    except pytest.skip.Exception as error:  # what starts the emulator is the tests'
        report.lacks(SHARED, str(error))
        return
    service = stack.enter_context(running(CONFIG_SHARED + CONFIG, queue="pubsub", environ=cloud.environ))
    stack.enter_context(Beats(service.activity))
    _nothing(service)
    pids[SHARED] = service.process.pid

"""What a daemon costs that waits: CPU time, wake-ups and memory over a minute, with three web servers connected."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.benchmarks.service import UNMOVED, Reporter, Service, running, until
from tests.benchmarks.table import show

SECONDS = 60.0
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


@dataclass(frozen=True)
class Usage:
    """Of a process so far."""

    cpu: float
    wakeups: int
    memory: float
    """MiB."""

    @classmethod
    def of(cls, pid: int) -> "Usage":
        """Nanoseconds of run time are in the first field of schedstat, switches in status."""
        nanoseconds = sum(
            int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()
        )
        switches = sum(
            _status(task / "status", "voluntary_ctxt_switches")
            for task in Path(f"/proc/{pid}/task").iterdir()
        )
        return cls(nanoseconds / 1e9, switches, _status(Path(f"/proc/{pid}/status"), "VmRSS") / 1024)


def _status(file: Path, name: str) -> int:
    line = next(line for line in file.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])


class Beats:
    """Web servers that report every second that nobody is there."""

    def __init__(self, path: Path) -> None:
        self._reporters = [Reporter(path, f"app{n}", round(BEAT * 1000)) for n in range(REPORTERS)]
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


def measure(prepare: Callable[[Service], None]) -> list[str]:
    with ExitStack() as stack:
        service = stack.enter_context(running(CONFIG))
        stack.enter_context(Beats(service.activity))
        prepare(service)
        time.sleep(3)
        before = Usage.of(service.process.pid)
        time.sleep(SECONDS)
        after = Usage.of(service.process.pid)
    return [
        f"{(after.cpu - before.cpu) / SECONDS:.3%}",
        f"{(after.wakeups - before.wakeups) / SECONDS:.1f}",
        f"{after.memory:.0f}",
    ]


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


def main() -> None:
    """Print what waiting costs."""
    rows = [
        ["nothing waits to run", *measure(_nothing)],
        ["a batch waits", *measure(_held)],
        ["two jobs are suspended", *measure(_suspended)],
    ]
    show(
        f"waiting: a daemon over {SECONDS:.0f} s with {REPORTERS} web servers that report each second",
        ["", "of one CPU", "wake-ups/s", "MiB"],
        rows,
        "goals: 0.1 % of one CPU, 45 MiB",
    )

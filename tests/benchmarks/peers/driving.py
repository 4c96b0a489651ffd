"""Runs another queue: enqueue, work, wait, and end."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from tests.benchmarks.peers.adapters.ticks import TICK
from tests.benchmarks.peers.catalogue import Peer
from tests.benchmarks.peers.environments import ROOT, UnavailableError, programs
from tests.benchmarks.peers.redis import Redis, redis
from tests.benchmarks.report import Report
from tests.benchmarks.service import until

PRODUCE = "tests.benchmarks.peers.adapters.produce"


class Ticks:
    """What jobs have written."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def count(self) -> int:
        return self.file.stat().st_size // TICK.size if self.file.exists() else 0

    def rate(self, jobs: int) -> float:
        """Jobs a second from the first to the last.

        Raises:
            AssertionError: one is missing, or was run twice.
        """
        ticks = list(TICK.iter_unpack(self.file.read_bytes()))
        assert sorted(number for number, _ in ticks) == list(range(jobs)), "a job was lost or run twice"
        times = [at for _, at in ticks]
        return float((jobs - 1) / ((max(times) - min(times)) / 1e9))


class Scene:
    """A folder and an empty broker for one measurement of one peer."""

    def __init__(
        self, peer: Peer, folder: Path, store: Redis | None, *, at_once: int | None, waits: bool
    ) -> None:
        self._peer = peer
        self._redis = store.url if store else ""
        self._at_once = at_once or peer.at_once
        self.folder = folder
        self.ticks = Ticks(folder / "ticks")
        self.environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "BENCH_TICKS": str(self.ticks.file),
            "BENCH_FOLDER": str(folder),
            "BENCH_AT_ONCE": str(self._at_once),
            "BENCH_REDIS": self._redis,
            "C_FORCE_ROOT": "1",  # Celery warns of root
            **(peer.idles if waits and peer.idles is not None else peer.settings),
        }
        if store:
            store.empty()

    def produce(self, *arguments: str, patience: float = 60.0) -> list[float]:
        command = [
            str(programs(self._peer.environment) / "python"),
            "-m",
            PRODUCE,
            self._peer.adapter,
            *arguments,
        ]
        done = subprocess.run(
            command,
            env=self.environ,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{self._peer.name}: {done.stderr.strip()[-2000:]}")
        values: list[float] = json.loads(done.stdout.splitlines()[-1])
        return values

    @contextmanager
    def worker(self) -> Iterator[psutil.Process]:
        """Its worker; ended with whatever it has started."""
        places = {
            "bin": str(programs(self._peer.environment)),
            "at_once": self._at_once,
            "redis": self._redis,
        }
        command = [part.format(**places) for part in self._peer.worker]
        with (self.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command, env=self.environ, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            yield psutil.Process(process.pid)
        finally:
            end(process)

    def until_ticked(self, count: int, worker: psutil.Process) -> None:
        until(
            lambda: self.ticks.count() >= count or not worker.is_running(),
            f"{count} jobs of {self._peer.name}",
        )
        if self.ticks.count() < count:
            raise RuntimeError(f"{self._peer.name}: {(self.folder / 'log').read_text()[-2000:]}")


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all that descend from it, each by its id."""
    whole = []
    try:
        root = psutil.Process(process.pid)
        whole = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        pass
    for one in whole:
        try:
            one.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    psutil.wait_procs(whole, timeout=5)


@contextmanager
def scene(
    peer: Peer, store: Redis | None, *, at_once: int | None = None, waits: bool = False
) -> Iterator[Scene]:
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-bench-"))
    try:
        yield Scene(peer, folder, store, at_once=at_once, waits=waits)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def drain(peer: Peer, store: Redis | None, jobs: int, at_once: int | None = None) -> float:
    """Jobs a second that its worker runs, all queued before it starts."""
    with scene(peer, store, at_once=at_once) as one:
        one.produce("enqueue", str(jobs))
        with one.worker() as worker:
            one.until_ticked(jobs, worker)
        return one.ticks.rate(jobs)


def latencies(peer: Peer, store: Redis | None, count: int, seconds: float) -> list[float]:
    """Seconds from enqueueing one job to its running, of a worker that is warm and has nothing else to do."""
    with scene(peer, store) as one:
        one.produce("enqueue", "1")
        with one.worker() as worker:
            one.until_ticked(1, worker)
            return one.produce("latency", str(count), str(seconds), patience=seconds + 60)


@contextmanager
def references(report: Report, peers: Iterable[Peer]) -> Iterator[tuple[list[Peer], Redis | None]]:
    """Those that can be run here, with their Redis; the report says why others cannot."""
    with ExitStack() as stack:
        store, why = None, ""
        try:
            store = stack.enter_context(redis())
        except UnavailableError as error:
            why = str(error)
        able = []
        for peer in peers:
            try:
                programs(peer.environment)
            except UnavailableError as error:
                report.lacks(peer.name, str(error))
                continue
            if store is None and peer.needs_redis:
                report.lacks(peer.name, why)
            else:
                able.append(peer)
        yield able, store

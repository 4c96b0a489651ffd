"""Where the checker's evidence comes from: the ledger by plain SQL, the API by plain HTTP, processes by ``/proc``.

Nothing here is the daemon's own code: a mistake of that must not be made here as well.
"""

import http.client
import json
import os
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from tests.chaos.checker import ENDED, Row

LOOK_EVERY = 0.1
"""Seconds between two looks at the ledger."""
_JOBS = """SELECT batches.batch_id || '.' || (jobs.id - batches.first_job + 1) AS job, jobs.status, jobs.ended_at
           FROM jobs JOIN batches ON jobs.batch = batches.key"""
COUNTED = ("pending", "running", *ENDED)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """For reading alone: a last writer that closes would tidy up what a crash has left."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        yield connection


def jobs_of(path: Path) -> dict[str, Row]:
    """Every job in the ledger, by id."""
    with _opened(path) as connection:
        return {job: Row(status, ended_at) for job, status, ended_at in connection.execute(_JOBS)}


def counters_of(path: Path) -> dict[str, dict[str, int]]:
    """What the ledger counts for each batch."""
    with _opened(path) as connection:
        rows = connection.execute(f"SELECT batch_id, {', '.join(COUNTED)} FROM batches")
        return {batch: dict(zip(COUNTED, counts, strict=True)) for batch, *counts in rows}


def in_flight(path: Path) -> list[str]:
    """Jobs that run by the ledger, on this host."""
    if not path.exists():
        return []
    with _opened(path) as connection:
        try:
            rows = connection.execute(f"{_JOBS} WHERE jobs.status = 'running' AND jobs.host IS NULL")
            return [job for job, _, _ in rows]
        except sqlite3.OperationalError:  # it died before it had made any table
            return []


class Work:
    """The file in which everything is written down, in the order in which it happens."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, *words: str) -> None:
        """Append a line, in one write, as jobs do."""
        fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(fd, f"{' '.join(words)}\n".encode())
        finally:
            os.close(fd)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []

    def begun(self) -> int:
        """How many executions have begun."""
        return sum(line.startswith("begun") for line in self.lines())

    def ended(self) -> int:
        """How many executions have come to their ends."""
        return sum(line.startswith("ended") for line in self.lines())


class Watch:
    """Looks at the ledger again and again, and writes down each end that it sees there for the first time."""

    def __init__(self, ledger: Path, work: Work) -> None:
        self._ledger = ledger
        self._work = work
        self._seen: dict[str, tuple[str, float | None]] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.lock = threading.Lock()
        """Held by whoever asks for an ended job's retry, so that no end is seen late."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            with self.lock:
                self.look()

    def look(self) -> None:
        """Write down what has ended since the last look. The lock is the caller's to hold."""
        if not self._ledger.exists():
            return
        try:
            rows = jobs_of(self._ledger)
        except sqlite3.OperationalError:  # not made yet, or being recovered
            return
        for job, row in rows.items():
            end = row.status, row.ended_at
            if row.status in ENDED and self._seen.get(job) != end:
                self._seen[job] = end
                self._work.note("recorded", job, row.status, str(row.ended_at))


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("buttermilkd", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(socket_path: Path, path: str) -> Any:
    """The API's answer to a plain GET."""
    with closing(_Connection(socket_path)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        document = json.loads(response.read())
    if response.status != http.client.OK:
        raise ValueError(f"GET {path}: {response.status} {document}")
    return document


def api_jobs(socket_path: Path, batch: str) -> dict[str, str]:
    """Status by job id, over all pages."""
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page = ask(socket_path, f"/v1/batches/{quote(batch)}/jobs?limit=1000{cursor}")
        found |= {job["job_id"]: job["status"] for job in page["jobs"]}
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def api_counters(socket_path: Path, batch: str) -> dict[str, int]:
    view = ask(socket_path, f"/v1/batches/{quote(batch)}")
    return {status: view[status] for status in COUNTED}


def survivors(mark: str) -> list[int]:
    """Living processes with this text in their environment, but for our own."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = mark.encode() in (folder / "environ").read_bytes()
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended meanwhile
            continue
        if marked and state != "Z" and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found

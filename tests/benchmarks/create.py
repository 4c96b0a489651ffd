"""A batch of a million records, beside the same rows written by bare SQLite."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from tests.benchmarks.report import Report, Timer
from tests.benchmarks.service import UNMOVED, Service, running
from tests.benchmarks.waiting import memory, most_memory

CONFIG = f'[idle]\n{UNMOVED}\n[flows.true]\ncommand = ["/bin/true"]\n'
STREAM = "as a stream of records"
BARE = "the same rows by bare executemany"


def records(count: int, first: int = 0) -> Iterator[str]:
    return (f"record-{number:08}" for number in range(first, first + count))


def create(service: Service, count: int) -> float:
    """Seconds until a batch of so many records is durable; nothing of it runs."""
    timer = Timer()
    service.client.create("true", records=records(count))
    return timer.seconds


def bare(count: int) -> float:
    """Seconds for the same rows, in a table with the same columns and indices, in one transaction."""
    with tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as folder:
        with closing(sqlite3.connect(Path(folder) / "bare.sqlite3")) as db:
            from buttermilkd.ledger.schema import MIGRATIONS  # noqa: PLC0415

            db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + "".join(MIGRATIONS))
            timer = Timer()
            with db:
                db.executemany(
                    "INSERT INTO jobs (id, batch, record_id, variant) VALUES (?, ?, ?, ?)",
                    ((number, 1, record, 0) for number, record in enumerate(records(count))),
                )
            return timer.seconds


def main(report: Report) -> None:
    """Print seconds and the daemon's memory."""
    count, rounds = report.pick((1_000_000, 3), (100_000, 1), (1_000, 1))
    seconds: dict[str, list[float]] = {STREAM: [], BARE: []}
    peaks: list[float] = []
    for _ in range(rounds):
        with running(CONFIG) as service:
            service.client.pause()
            before = memory(service.process.pid)
            seconds[STREAM].append(create(service, count))
            peaks.append(most_memory(service.process.pid))
        seconds[BARE].append(bare(count))
    medians = report.compare(
        f"a batch of {count:,} records, until it is durable",
        "s",
        seconds,
        f"the daemon's memory: {before:.0f} MiB before, {max(peaks):.0f} at most",
        ours=STREAM,
    )
    report.goal("seconds, times bare rows", medians[STREAM] / medians[BARE], 2)
    report.goal("memory of the daemon", max(peaks), 300, unit="MiB")

"""Buttermilkd, driven as the others are."""

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic_ns  # the clock of ticks

from tests.benchmarks.peers.adapters.produce import FIRST, GAP, ticked
from tests.benchmarks.peers.driving import Ticks
from tests.benchmarks.peers.environments import ROOT
from tests.benchmarks.report import Timer
from tests.benchmarks.service import UNMOVED, Service, running, until

OURS = "buttermilkd"
PATIENCE = 120.0
"""Seconds for a batch."""
CONFIG = f"""
concurrency = {{concurrency}}
[idle]
settle_for = "0s"
{UNMOVED}
[flows.tick]
entrypoint = "tests.benchmarks.peers.adapters.on_buttermilkd:job"
directory = {json.dumps(str(ROOT))}
python = {json.dumps(sys.executable)}
concurrency = {{concurrency}}
env = {{{{ BENCH_TICKS = "{{ticks}}" }}}}
[flows.true]
command = ["/bin/true"]
"""


@contextmanager
def daemon(*, concurrency: int = 1) -> Iterator[tuple[Service, Ticks]]:
    """A daemon whose gate is open, and what its jobs tick."""
    with tempfile.TemporaryDirectory(prefix="buttermilkd-bench-") as folder:
        ticks = Ticks(Path(folder) / "ticks")
        with running(CONFIG.format(concurrency=concurrency, ticks=ticks.file)) as service:
            until(lambda: service.client.status()["idle"], "idleness")
            yield service, ticks


def drain_callable(jobs: int) -> float:
    """Jobs a second through one warm worker, one call at a time, from the first tick to the last."""
    with daemon() as (service, ticks):
        service.client.pause()
        created = service.client.create("tick", records=map(str, range(jobs))).batch_id
        service.client.resume()
        until_ended(service, created)
        return ticks.rate(jobs)


def drain_command(service: Service, jobs: int) -> float:
    """Jobs of ``/bin/true`` a second, from the word to begin until the end of the batch is known."""
    service.client.pause()
    created = service.client.create("true", records=map(str, range(jobs))).batch_id
    timer = Timer()
    service.client.resume()
    until_ended(service, created)
    return jobs / timer.seconds


def until_ended(service: Service, batch: str) -> None:
    """Return once all jobs of this batch have completed.

    Raises:
        TimeoutError: they have not within two minutes.
        AssertionError: one has failed.
    """
    view = service.client.batch(batch, wait=PATIENCE)
    if view["ended_at"] is None:
        raise TimeoutError(
            f"{view['completed']:,} of {view['total']:,} jobs were done after {PATIENCE:.0f} s"
        )
    assert view["completed"] == view["total"], f"{view['failed']} jobs failed"


def latencies(count: int) -> tuple[list[float], list[float]]:
    """Seconds from creating a batch of one job to its running, and to its result in the client's hands."""
    to_tick: list[float] = []
    to_result: list[float] = []
    rng = random.Random(7)
    with daemon() as (service, ticks):
        service.client.batch(service.client.create("tick", records=["0"]).batch_id, wait=60)
        with ticks.file.open("rb") as file:
            file.seek(0, 2)
            for number in range(FIRST, FIRST + count):
                time.sleep(rng.uniform(*GAP))
                began = monotonic_ns()
                service.client.create("tick", records=[str(number)])
                to_tick.append((ticked(file) - began) / 1e9)
            for number in range(FIRST + count, FIRST + 2 * count):
                time.sleep(rng.uniform(*GAP))
                timer = Timer()
                created = service.client.create("tick", records=[str(number)])
                view = service.client.batch(created.batch_id, wait=60)
                to_result.append(timer.seconds)
                assert view["completed"] == 1, view
    return to_tick, to_result

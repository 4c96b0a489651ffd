"""How figures grow: with a batch's size, with jobs at once, with web servers, with hosts, and with a ledger's age."""

import time
from statistics import median

import pytest

from tests.benchmarks.commands import xargs
from tests.benchmarks.create import CONFIG, bare, create
from tests.benchmarks.peers import ours
from tests.benchmarks.pubsub import ours as drained_by_hosts
from tests.benchmarks.report import Report, Timer
from tests.benchmarks.service import UNMOVED, Service, running, until
from tests.benchmarks.waiting import Beats, Usage
from tests.emulator import emulator

Points = list[tuple[float, float]]


def main(report: Report) -> None:
    """Print each curve's points."""
    batches(report)
    concurrency(report)
    reporters(report)
    age(report)
    hosts(report)


def batches(report: Report) -> None:
    """Creating and asking for a batch of each size."""
    sizes = [10**power for power in range(3, report.pick(7, 6, 5))] + ([10_000_000] if report.huge else [])
    made: Points = []
    plain: Points = []
    asked: Points = []
    for size in sizes:
        with running(CONFIG) as service:
            service.client.pause()
            made.append((size, create(service, size)))
            batch = service.client.batches()["batches"][0]["batch_id"]
            asked.append((size, median(_milliseconds(service, batch) for _ in range(50))))
        plain.append((size, bare(size)))
    report.curve(
        "create", "a batch is created", "jobs", "seconds", {"buttermilkd": made, "bare executemany": plain}
    )
    report.curve("status", "a batch is asked for", "jobs", "milliseconds", {"buttermilkd": asked})


def _milliseconds(service: Service, batch: str) -> float:
    timer = Timer()
    service.client.batch(batch)
    return 1000 * timer.seconds


def concurrency(report: Report) -> None:
    """Jobs of ``/bin/true``, so many at once."""
    jobs = report.pick(1_500, 300, 30)
    mine: Points = []
    beside: Points = []
    for at_once in report.pick((1, 2, 4, 8, 16, 32, 64), (1, 4, 16, 64), (1, 4)):
        with ours.daemon(concurrency=at_once) as (service, _):
            mine.append((at_once, ours.drain_command(service, jobs)))
        beside.append((at_once, xargs(jobs, at_once)))
    report.curve(
        "concurrency", "jobs of /bin/true", "at once", "jobs/s", {"buttermilkd": mine, "xargs -P": beside}
    )


def reporters(report: Report) -> None:
    """What a daemon costs that waits while so many processes of web servers report each second."""
    seconds = report.pick(8.0, 4.0, 1.0)
    points: Points = []
    for count in report.pick((1, 10, 50, 100, 200), (1, 50, 200), (1, 5)):
        with running(f"[idle]\n{UNMOVED}") as service, Beats(service.activity, count):
            _until_all_report(service, count)
            time.sleep(1)
            before = Usage.of(service.process.pid)
            time.sleep(seconds)
            after = Usage.of(service.process.pid)
            points.append((count, 100 * (after.cpu - before.cpu) / seconds))
    report.curve(
        "reporters",
        "web servers that report each second",
        "processes",
        "% of one CPU",
        {"buttermilkd": points},
    )


def _until_all_report(service: Service, count: int) -> None:
    until(lambda: len(service.client.status()["reporters"]) == count, "all reporters")


def age(report: Report) -> None:
    """Draining through one warm worker, in a ledger with so many jobs that have ended."""
    jobs = report.pick(10_000, 3_000, 100)
    points: Points = []
    with ours.daemon() as (service, _):
        old = 0
        for ended in report.pick((0, 10_000, 100_000, 1_000_000), (0, 10_000, 100_000), (0, 1_000)):
            service.client.pause()
            if ended > old:
                create(service, ended - old)
                service.client.cancel(service.client.batches()["batches"][0]["batch_id"])
                old = ended
            created = service.client.create("tick", records=map(str, range(jobs))).batch_id
            timer = Timer()
            service.client.resume()
            ours.until_ended(service, created)
            points.append((ended, jobs / timer.seconds))
            old += jobs
    report.curve(
        "age", "calls that do nothing", "ended jobs in the ledger", "jobs/s", {"buttermilkd": points}
    )


def hosts(report: Report) -> None:
    """Draining one batch through Pub/Sub by so many daemons on this machine."""
    jobs = report.pick(4_000, 1_000, 50)
    points: Points = []
    try:
        for count in report.pick((1, 2, 3, 4), (1, 2, 4), (1,)):
            with emulator() as cloud:
                points.append((count, drained_by_hosts(cloud, jobs, count)))
    except pytest.skip.Exception as error:  # what starts the emulator is the tests'
        report.lacks("hosts, which need Google's emulator", str(error))
        return
    report.curve(
        "hosts",
        "one batch through Google's emulator, all on this machine",
        "hosts",
        "jobs/s",
        {"buttermilkd": points},
    )

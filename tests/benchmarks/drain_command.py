"""Jobs that are a process each, of ``/bin/true``, beside programs that do nothing but start processes."""

from collections.abc import Callable

from tests.benchmarks.commands import RUNNERS
from tests.benchmarks.peers import driving, ours
from tests.benchmarks.peers.catalogue import FORKING_RQ
from tests.benchmarks.peers.environments import UnavailableError
from tests.benchmarks.peers.ours import OURS
from tests.benchmarks.peers.redis import Redis
from tests.benchmarks.report import Report

AT_ONCE = (2, 10)


def main(report: Report) -> None:
    """Print jobs a second of each, two and ten at once."""
    with driving.references(report, [FORKING_RQ]) as (forking, store):
        for at_once in AT_ONCE:
            measure(report, at_once, bool(forking), store)


def measure(report: Report, at_once: int, forking: bool, store: Redis | None) -> None:
    jobs, rounds = report.pick((4_000, 3), (800, 1), (50, 1))
    ways: dict[str, Callable[[], float]] = {
        name: lambda runner=runner, share=share: runner(int(jobs * share), at_once)  # type: ignore[misc]
        for name, (runner, share) in RUNNERS.items()
    }
    if forking:
        count = max(20, int(FORKING_RQ.jobs * jobs / 4_000))
        ways[FORKING_RQ.name] = lambda: driving.drain(FORKING_RQ, store, count, at_once)
    rates: dict[str, list[float]] = {OURS: []}
    for _ in range(rounds):
        with ours.daemon(concurrency=at_once) as (service, _):
            rates[OURS].append(ours.drain_command(service, jobs))
        for name, way in list(ways.items()):
            try:
                rates.setdefault(name, []).append(way())
            except UnavailableError as error:
                report.lacks(name, str(error))
                del ways[name]
    rates = {name: found for name, found in rates.items() if found}
    medians = report.compare(
        f"{jobs:,} jobs of /bin/true, {at_once} at once",
        "jobs/s",
        rates,
        "ours records each job's beginning and end on a disk, and keeps its output; slower ones run fewer jobs",
        ours=OURS,
    )
    mine = medians.pop(OURS)
    if medians:
        fastest = max(medians, key=lambda name: medians[name])
        report.goal(
            f"{at_once} at once, times the fastest ({fastest})", mine / medians[fastest], 0.9, at_least=True
        )

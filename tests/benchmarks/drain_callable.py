"""Jobs that do nothing through one warm worker, beside one worker of each of six other queues."""

from tests.benchmarks.peers import driving, ours
from tests.benchmarks.peers.catalogue import PEERS
from tests.benchmarks.peers.ours import OURS
from tests.benchmarks.report import Report


def main(report: Report) -> None:
    """Print jobs a second of each."""
    jobs, rounds = report.pick(20_000, 5_000, 200), report.pick(3, 1)
    share = report.pick(1.0, 0.4, 0.02)
    peers = report.pick(PEERS, PEERS, ())
    rates: dict[str, list[float]] = {OURS: []}
    with driving.references(report, peers) as (able, store):
        for _ in range(rounds):
            rates[OURS].append(ours.drain_callable(jobs))
            for peer in able:
                rate = driving.drain(peer, store, int(peer.jobs * share))
                rates.setdefault(peer.name, []).append(rate)
    medians = report.compare(
        f"{jobs:,} jobs that do nothing, one worker",
        "jobs/s",
        rates,
        "ours and Huey on SQLite write to a disk, ours with synchronous=FULL; Redis keeps everything in memory",
        "each peer with as many jobs at once as it is fastest with, from its first job's call to its last one's",
        ours=OURS,
    )
    mine = medians.pop(OURS)
    if medians:
        fastest = max(medians, key=lambda name: medians[name])
        report.goal(f"times the fastest ({fastest})", mine / medians[fastest], 10, at_least=True)

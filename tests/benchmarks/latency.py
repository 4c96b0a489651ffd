"""From the call that creates one job to its running, while nothing else is there to do."""

from statistics import median, quantiles

from tests.benchmarks.peers import driving, ours
from tests.benchmarks.peers.catalogue import PEERS
from tests.benchmarks.peers.ours import OURS
from tests.benchmarks.report import Report

RESULT = f"{OURS}: until the client has the result, which is on disk"
SECONDS = 8.0
"""For one peer in one round at most: a slow one gives fewer samples."""


def main(report: Report) -> None:
    """Print p50 and p99 of each."""
    rounds, count = report.pick(2, 1), report.pick(100, 40, 5)
    peers = report.pick(PEERS, PEERS, ())
    found: dict[str, list[float]] = {OURS: [], RESULT: []}
    with driving.references(report, peers) as (able, store):
        for _ in range(rounds):
            for name, values in zip((OURS, RESULT), ours.latencies(count), strict=True):
                found[name] += values
            for peer in able:
                found.setdefault(peer.name, []).extend(driving.latencies(peer, store, count, SECONDS))
    show(report, found)


def show(report: Report, found: dict[str, list[float]]) -> None:
    report.samples["seconds"] = found
    medians = {name: 1000 * median(values) for name, values in found.items()}
    rows = [
        [
            name,
            f"{medians[name]:.2f}",
            f"{1000 * quantiles(values, n=100, method='inclusive')[98]:.2f}",
            f"{1000 * min(values):.2f}",
            str(len(values)),
            f"{medians[OURS] / medians[name]:.2f}",
        ]
        for name, values in found.items()
    ]
    report.show(
        "from creating one job to its running, in milliseconds",
        ["", "p50", "p99", "least", "jobs", "ours is times"],
        rows,
        "the worker is warm and waits; 20 to 60 ms between two jobs",
        "ours is created by a request to the daemon, and committed to disk twice before it runs",
    )
    others = {name: value for name, value in medians.items() if name not in (OURS, RESULT)}
    if others:
        fastest = min(others, key=lambda name: others[name])
        report.goal(f"p50, times the fastest ({fastest})", medians[OURS] / others[fastest], 1.0)

"""Asking for a big batch in a big ledger, while jobs drain, beside asking for the daemon's version."""

from collections.abc import Callable
from statistics import median, quantiles

from tests.benchmarks.create import create
from tests.benchmarks.peers.ours import daemon
from tests.benchmarks.report import Report, Timer
from tests.benchmarks.service import until
from tests.benchmarks.table import say

BATCH = "status of one batch of the largest size"
LIST = "list of batches"
STATUS = "status of the daemon"
INFO = "/v1/info, which asks the ledger nothing"


def main(report: Report) -> None:
    """Print milliseconds of each."""
    batches, size, calls = report.pick((10, 1_000_000, 200), (10, 50_000, 100), (2, 1_000, 10))
    with daemon(concurrency=2) as (service, _):
        client = service.client
        client.pause("true")
        filled = sum(create(service, size) for _ in range(batches))
        say(f"# {batches} batches of {size:,} jobs, made in {filled:.0f} s")
        big = client.batches()["batches"][0]["batch_id"]
        small = client.create(
            "tick", records=map(str, range(report.pick(400_000, 150_000, 5_000))), priority=1
        )
        until(lambda: client.batch(small.batch_id)["completed"], "the first jobs")
        ways: dict[str, Callable[[], object]] = {
            BATCH: lambda: client.batch(big),
            LIST: client.batches,
            STATUS: client.status,
            INFO: client.info,
        }
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(calls):
            for name, call in ways.items():
                timer = Timer()
                call()
                times[name].append(1000 * timer.seconds)
        view = client.batch(small.batch_id)
        done = view["completed"]
        assert view["ended_at"] is None, "the jobs have ended before the measurement"
    rows = [
        [
            name,
            f"{median(found):.2f}",
            f"{quantiles(found, n=100, method='inclusive')[98]:.2f}",
            f"{median(found) / median(times[INFO]):.2f}",
        ]
        for name, found in times.items()
    ]
    report.samples["milliseconds"] = times
    report.show(
        f"asking a ledger of {batches * size:,} jobs, {calls} calls of each, in milliseconds",
        ["", "p50", "p99", "times /v1/info"],
        rows,
        f"meanwhile {done:,} jobs were run by a warm worker",
    )
    report.goal("p50, times /v1/info", median(times[BATCH]) / median(times[INFO]), 2)
    report.goal("p99", quantiles(times[BATCH], n=100, method="inclusive")[98], 20, unit="ms")

"""The daemon's memory while a million jobs drain, beside its own after the first tenth."""

from tests.benchmarks.peers.ours import daemon
from tests.benchmarks.report import Report, Timer
from tests.benchmarks.service import until
from tests.benchmarks.waiting import memory


def main(report: Report) -> None:
    """Print MiB at each tenth."""
    jobs = report.pick(1_000_000, 60_000, 2_000)
    points: list[tuple[float, float]] = []
    with daemon(concurrency=2) as (service, ticks):
        service.client.pause()
        created = service.client.create("tick", records=map(str, range(jobs))).batch_id
        timer = Timer()
        service.client.resume()
        for tenth in range(1, 11):
            until(lambda due=jobs * tenth // 10: ticks.count() >= due, f"tenth {tenth}", patience=300)  # type: ignore[misc]
            points.append((10.0 * tenth, memory(service.process.pid)))
        view = service.client.batch(created, wait=60)
        assert view["completed"] == jobs, view
    report.curve("memory", f"{jobs:,} jobs drained", "% done", "MiB of the daemon", {"daemon": points})
    report.show(
        f"{jobs:,} jobs drained",
        ["", "MiB at a tenth", "at the end", "jobs/s"],
        [["the daemon", f"{points[0][1]:.1f}", f"{points[-1][1]:.1f}", f"{jobs / timer.seconds:,.0f}"]],
    )
    report.goal("at the end, times at a tenth", points[-1][1] / points[0][1], 1.1)

"""Buttermilkd, whose daemon calls this in its warm worker."""

from typing import Any

from tests.benchmarks.peers.adapters.ticks import tick


def job(job: Any) -> None:
    tick(int(job.record_id))

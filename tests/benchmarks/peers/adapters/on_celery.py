"""Celery."""

import os

from celery import Celery

from tests.benchmarks.peers.adapters.ticks import tick

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)


@app.task(name="job")
def job(number: int) -> None:
    tick(number)


def enqueue(number: int) -> None:
    job.delay(number)

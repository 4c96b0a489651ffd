"""RQ."""

import os

from redis import Redis
from rq import Queue

from tests.benchmarks.peers.adapters.ticks import tick

queue = Queue("bench", connection=Redis.from_url(os.environ["BENCH_REDIS"]))


def enqueue(number: int) -> None:
    queue.enqueue(tick, number)

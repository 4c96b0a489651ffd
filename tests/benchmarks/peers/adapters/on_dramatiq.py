"""Dramatiq."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from tests.benchmarks.peers.adapters.ticks import tick

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS"]))


@dramatiq.actor
def job(number: int) -> None:
    tick(number)


def enqueue(number: int) -> None:
    job.send(number)

"""taskiq, on a stream of Redis, which acknowledges."""

import os

from taskiq_redis import RedisStreamBroker

from tests.benchmarks.peers.adapters.ticks import tick_soon

broker = RedisStreamBroker(url=os.environ["BENCH_REDIS"])


@broker.task(task_name="job")
async def job(number: int) -> None:
    await tick_soon(number)


async def connect() -> None:
    await broker.startup()


async def enqueue(number: int) -> None:
    await job.kiq(number)

"""arq: it polls, by default each half second, which would decide every figure."""

import os
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings

from tests.benchmarks.peers.adapters.ticks import tick_soon

QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}
REDIS = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
_pools: list[Any] = []


async def job(_context: Any, number: int) -> None:
    await tick_soon(number)


class WorkerSettings:
    """Read by arq's worker."""

    functions = (job,)
    redis_settings = REDIS
    max_jobs = int(os.environ["BENCH_AT_ONCE"])
    poll_delay = float(os.environ.get("BENCH_POLL", "0.5"))
    keep_result = 0


async def connect() -> None:
    _pools.append(await create_pool(REDIS))


async def enqueue(number: int) -> None:
    await _pools[0].enqueue_job("job", number)

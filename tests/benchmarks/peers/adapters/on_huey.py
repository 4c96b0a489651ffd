"""Huey, on SQLite or on Redis."""

import os

from huey import RedisHuey, SqliteHuey

from tests.benchmarks.peers.adapters.ticks import tick

if os.environ["BENCH_STORE"] == "sqlite":
    huey = SqliteHuey("bench", filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.db"))
else:
    huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"])


@huey.task()
def job(number):
    tick(number)


def enqueue(number):
    job(number)

"""Huey, on SQLite or on Redis."""

import os
from pathlib import Path

from huey import RedisHuey, SqliteHuey

from tests.benchmarks.peers.adapters.ticks import tick

if os.environ["BENCH_STORE"] == "sqlite":
    huey = SqliteHuey("bench", filename=str(Path(os.environ["BENCH_FOLDER"]) / "huey.db"))
else:
    huey = RedisHuey("bench", url=os.environ["BENCH_REDIS"])


@huey.task()
def job(number: int) -> None:
    tick(number)


def enqueue(number: int) -> None:
    job(number)

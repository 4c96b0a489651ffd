"""Jobs through Google's emulator: a daemon's whole path, beside a bare client that pulls, tells and acknowledges."""

import asyncio
import json
import uuid
from contextlib import ExitStack
from time import perf_counter

import pytest

from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.queues.pubsub.google import open_broker
from tests.benchmarks.report import Report
from tests.benchmarks.service import UNMOVED, Service, running, until
from tests.emulator import Emulator, emulator

LEASE = 600
CONFIG = """
host = "{host}"
concurrency = 64
[pubsub]
project = "{project}"
create = true
[idle]
quiet_for = "1s"
settle_for = "100ms"
{unmoved}
[flows.nothing]
entrypoint = "nothing:nothing"
directory = "{folder}"
concurrency = 64
"""
PROGRAM = "async def nothing(job):\n    return None\n"


async def bare(cloud: Emulator, jobs: int, portion: int) -> float:
    """Jobs a second of a client that pulls up to so many at a time, publishes a status for each, and acknowledges."""
    from buttermilkd.queues.pubsub.adapter import connect  # noqa: PLC0415 - once gRPC has been set up

    project = f"bare-{uuid.uuid4().hex[:8]}"
    broker = await open_broker(project, None, cloud.environ)
    connection = await connect(project, None, cloud.environ)
    for topic, subscription in (("jobs", "jobs-sub"), ("flow", "flow-sub")):
        await connection.publisher.create_topic(request={"name": connection.topic(topic)})
        await connection.subscriber.create_subscription(
            request={"name": connection.subscription(subscription), "topic": connection.topic(topic)}
        )
    body = json.dumps({"type": "job_request", "flow": "nothing", "record_id": "r" * 20}).encode()
    await broker.publish("jobs", [Outgoing(body, {"type": "job_request"})] * jobs)
    began, done = perf_counter(), 0
    while done < jobs:
        messages = await broker.pull("jobs-sub", portion, 10)
        status = [
            Outgoing(json.dumps({**json.loads(one.data), "status": "completed"}).encode(), {})
            for one in messages
        ]
        if status:
            await broker.publish("flow", status)
            await broker.acknowledge("jobs-sub", [one.ack_id for one in messages])
        done += len(messages)
    rate = jobs / (perf_counter() - began)
    await broker.close()
    await connection.close()
    return rate


def ours(cloud: Emulator, jobs: int, hosts: int = 1) -> float:
    """Jobs a second of so many daemons, from the first job's start to the last end that the first daemon knows of.

    Each job is a call that does nothing.
    """
    project = f"ours-{uuid.uuid4().hex[:8]}"
    with ExitStack() as stack:
        services = []
        for number in range(hosts):
            config = CONFIG.format(project=project, unmoved=UNMOVED, folder=".", host=f"bench{number}")
            service = stack.enter_context(running(config, queue="pubsub", environ=cloud.environ))
            (service.folder / "nothing.py").write_text(PROGRAM)
            service.client.pause()
            services.append(service)
        first = services[0]
        first.client.create("nothing", records=[f"record-{n:06}" for n in range(jobs)], batch_id="b")
        until(lambda: _published(first), "the publishing")
        for service in services:
            service.client.resume()
        view = first.client.batch("b", wait=120)
        assert view["completed"] == jobs, view
        return jobs / _seconds(view["started_at"], view["ended_at"])


def _published(service: Service) -> bool:
    import sqlite3  # noqa: PLC0415
    from contextlib import closing  # noqa: PLC0415

    with closing(sqlite3.connect(service.folder / "state" / "ledger.sqlite3")) as db:
        published, total = db.execute("SELECT published, total FROM batches").fetchone()
    return bool(published == total)


def _seconds(start: str | None, end: str | None) -> float:
    from datetime import datetime  # noqa: PLC0415

    return (datetime.fromisoformat(end or "") - datetime.fromisoformat(start or "")).total_seconds()


OURS = "the daemon: pulled, recorded, run by a warm worker, recorded, told, acknowledged"
ONE = "a bare client, one message at a time"
MANY = "a bare client, 100 at a time: the most that the emulator gives"


def main(report: Report) -> None:
    """Print jobs a second of each."""
    try:
        measure(report)
    except pytest.skip.Exception as error:  # what starts the emulator is the tests'
        report.lacks("Google's emulator", str(error))


def measure(report: Report) -> None:
    jobs, rounds = report.pick((10_000, 2), (2_000, 1), (100, 1))
    rates: dict[str, list[float]] = {OURS: [], ONE: [], MANY: []}
    for _ in range(rounds):
        with emulator() as cloud:
            rates[MANY].append(asyncio.run(bare(cloud, jobs, 100)))
            rates[ONE].append(asyncio.run(bare(cloud, jobs, 1)))
            rates[OURS].append(ours(cloud, jobs))
    medians = report.compare(f"{jobs:,} jobs through the emulator", "jobs/s", rates, ours=OURS)
    report.goal("times a bare client, one at a time", medians[OURS] / medians[ONE], 0.8, at_least=True)

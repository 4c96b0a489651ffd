"""Three daemons, each with a ledger of its own, share one queue at Google's emulator."""

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport

from buttermilkd.client import Client
from buttermilkd.reports import Hello, Snapshot, encode
from tests.acceptance.program import IDLE_AT_ONCE, Daemon, until
from tests.emulator import Emulator, emulator
from tests.wire import Wire

NAMES = ("north", "south", "west")
APPEND = """
[flows.append]
command = ["sh", "-c", "echo $BUTTERMILK_RECORD_ID $HOST_NAME >> ../ran; sleep $BUTTERMILK_NAP", "{record_id}"]
backoff = "1s"
[flows.append.env]
HOST_NAME = "%s"
BUTTERMILK_NAP = "%s"
"""


class Fleet:
    """Daemons on one machine, as if each were on one of its own; what their jobs did is in one file."""

    def __init__(self, folder: Path, cloud: Emulator, stack: ExitStack) -> None:
        self.folder = folder
        self.cloud = cloud
        self.project = f"test-{uuid4().hex[:12]}"
        self._stack = stack
        self.daemons: dict[str, Daemon] = {}

    def start(
        self,
        name: str,
        *,
        concurrency: int = 2,
        nap: str = "0",
        lease: str = "20s",
        wire: Wire | None = None,
    ) -> Daemon:
        """``wire``: by which it reaches the emulator."""
        folder = self.folder / name
        folder.mkdir()
        daemon = Emulated(folder, self.cloud.host if wire is None else wire.host)
        daemon.write(
            APPEND % (name, nap),
            concurrency=concurrency,
            daemon=f'host = "{name}"\ndrain_timeout = "5s"',
            idle=f'{IDLE_AT_ONCE}\n[pubsub]\nproject = "{self.project}"\ncreate = true\nlease = "{lease}"',
        )
        daemon.config.write_text('queue = "pubsub"\n' + daemon.config.read_text())
        self.daemons[name] = daemon
        daemon.start()
        self._stack.callback(_end, daemon)
        return daemon

    @property
    def ran(self) -> Counter[str]:
        """How often each record's job has begun."""
        file = self.folder / "ran"
        lines = file.read_text().splitlines() if file.exists() else []
        return Counter(line.split()[0] for line in lines)

    @property
    def hosts(self) -> Counter[str]:
        """How many jobs each host has begun."""
        return Counter(line.split()[1] for line in (self.folder / "ran").read_text().splitlines())

    def agree(self, batch_id: str) -> None:
        """Every host's own ledger says that each job of the batch has completed, and how."""
        for daemon in self.daemons.values():
            jobs = daemon.client.jobs(batch_id, limit=1000)["jobs"]
            assert {job["status"] for job in jobs} == {"completed"}
            assert len(jobs) == daemon.client.batch(batch_id)["completed"]


class Emulated(Daemon):
    """Whose Pub/Sub is the emulator."""

    def __init__(self, folder: Path, cloud: str) -> None:
        """``cloud``: its host and port."""
        self._cloud = cloud
        super().__init__(folder)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | {"PUBSUB_EMULATOR_HOST": self._cloud}


def _end(daemon: Daemon) -> None:
    if daemon.process is not None and daemon.process.poll() is None:
        daemon.process.send_signal(signal.SIGCONT)
        daemon.kill()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with emulator() as cloud, ExitStack() as stack:
        yield Fleet(tmp_path, cloud, stack)


def create(client: Client, count: int, batch_id: str = "b") -> None:
    client.create("append", records=[f"r{number}" for number in range(count)], batch_id=batch_id)


def until_completed(daemon: Daemon, count: int, batch_id: str = "b") -> None:
    def completed() -> bool:
        view = daemon.client.batch(batch_id)
        return view["completed"] == count and view["status"] == "completed"

    until(completed, f"{count} completed jobs on {daemon.folder.name}", 50)


def known(daemon: Daemon, batch_id: str = "b") -> bool:
    return any(one["batch_id"] == batch_id for one in daemon.client.batches(include_ended=True)["batches"])


def test_a_batch_is_shared_by_all_hosts_and_every_one_of_them_shows_all_of_it(fleet: Fleet) -> None:
    for name in NAMES:
        fleet.start(name, nap="0.2")
    create(fleet.daemons["north"].client, 60)
    for daemon in fleet.daemons.values():
        until(lambda: known(daemon), "news of the batch")  # noqa: B023
        until_completed(daemon, 60)
    fleet.agree("b")
    assert set(fleet.ran.values()) == {1}
    assert len(fleet.ran) == 60
    assert min(fleet.hosts[name] for name in NAMES) >= 10


def test_jobs_of_a_host_that_was_killed_run_elsewhere_and_each_ends_once(fleet: Fleet) -> None:
    for name in NAMES:
        fleet.start(name, nap="0.3")
    south = fleet.daemons["south"]
    create(fleet.daemons["north"].client, 30)
    until(lambda: south.client.status()["running"], "a job on the host that dies")
    south.kill()
    south.start()
    for daemon in fleet.daemons.values():
        until_completed(daemon, 30)
    fleet.agree("b")
    assert len(fleet.ran) == 30
    assert sum(fleet.ran.values()) <= 30 + 2  # at most what ran there


def test_a_cancel_on_one_host_stops_jobs_on_all(fleet: Fleet) -> None:
    north, south = fleet.start("north", nap="60"), fleet.start("south", nap="60")
    create(north.client, 10)
    for daemon in (north, south):
        daemon.running(2)
    north.client.cancel("b")
    for daemon in (north, south):
        daemon.running(0)
        until(lambda: daemon.client.batch("b")["cancelled"] == 10, "the cancel of all jobs")  # noqa: B023
        assert daemon.client.batch("b")["status"] == "cancelled"


def test_one_host_is_cut_off_for_a_while_and_one_is_busy_all_the_time(fleet: Fleet) -> None:
    with closing(Wire(fleet.cloud.host)) as wire, ExitStack() as stack:
        north = fleet.start("north", nap="0.2")
        south = fleet.start("south", nap="0.2", wire=wire)
        west = fleet.start("west")
        stack.enter_context(closing(user_of(west)))
        until(lambda: not west.client.status()["idle"], "the third host's user")
        create(north.client, 60)
        until(lambda: south.client.status()["running"], "a job on the host that is cut off")
        wire.cut()
        until(lambda: north.client.batch("b")["completed"] > 30, "the other host's work")
        wire.mend()
        for daemon in fleet.daemons.values():
            until_completed(daemon, 60)
    fleet.agree("b")
    assert set(fleet.ran.values()) == {1}
    assert fleet.hosts.keys() == {"north", "south"}


def user_of(daemon: Daemon) -> socket.socket:
    """A web server with a request in flight, for as long as the connection lasts."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(daemon.activity))
    connection.sendall(encode(Hello("web", os.getpid(), "w1", "asgi", 60_000)))
    connection.sendall(encode(Snapshot(1, 1, 0, 1, 0.0)))
    return connection


def test_an_emulator_that_is_killed_and_started_empty_costs_nothing_but_time(fleet: Fleet) -> None:
    north, south = fleet.start("north", concurrency=8), fleet.start("south", concurrency=8)
    create(north.client, 400)
    until(lambda: north.client.batch("b")["completed"] > 50, "the first jobs' ends")
    fleet.cloud.kill()
    fleet.cloud.restart()
    for daemon in (north, south):
        until_completed(daemon, 400)
    fleet.agree("b")
    assert len(fleet.ran) == 400


def test_garbage_and_messages_of_buttermilks_own_are_seen_to(fleet: Fleet) -> None:
    north = fleet.start("north")
    until(lambda: "Pub/Sub is ready" in north.log.read_text(), "topics and subscriptions")
    publish(fleet, b"\xff\x00 no message")
    batch = "batch-AbC12xYz"
    ours = {
        "type": "job_request",
        "flow": "append",
        "record_id": "theirs",
        "batch_id": batch,
        "parameters": {},
    }
    publish(fleet, json.dumps(ours).encode())
    until(lambda: known(north, batch), "the batch of the original's")
    until_completed(north, 1, batch)
    letters = until(lambda: json.loads(north.ctl("dead", "list", "--json").stdout)["dead"], "the dead letter")
    assert [letter["kind"] for letter in letters] == ["message"]


def test_a_batch_is_created_where_no_daemon_runs_and_runs_where_one_does(fleet: Fleet) -> None:
    north = fleet.start("north")
    until(lambda: "Pub/Sub is ready" in north.log.read_text(), "topics and subscriptions")
    elsewhere = Emulated(fleet.folder, fleet.cloud.host)
    elsewhere.config = north.config
    command = ("--config", str(north.config), "create", "append", "-r", "x", "-r", "y", "--direct")
    created = elsewhere.ctl_json(*command)
    assert created["jobs"] == 2
    until(lambda: known(north, created["batch_id"]), "news of the batch")
    until_completed(north, 2, created["batch_id"])
    refused = elsewhere.ctl("--config", str(north.config), "create", "appendix", "-r", "x", "--direct")
    assert refused.returncode == 5
    assert 'did you mean "append"?' in refused.stderr


def publish(fleet: Fleet, data: bytes) -> None:
    """As anybody else might."""
    channel = grpc.insecure_channel(fleet.cloud.host)
    with PublisherClient(transport=PublisherGrpcTransport(channel=channel)) as client:
        topic = f"projects/{fleet.project}/topics/jobs"
        client.publish(request={"topic": topic, "messages": [{"data": data}]})

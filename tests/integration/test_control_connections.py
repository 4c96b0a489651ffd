"""The control socket's connections: how many, whose, and for how long."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from buttermilkd.config.load import load
from buttermilkd.control import connections as limits
from buttermilkd.control.connections import Connections, Limits
from buttermilkd.daemon import assembly
from buttermilkd.daemon.foundations import Given
from buttermilkd.places import CONTROL_SOCKET
from buttermilkd.testing import HandMovedClock, RecordingNotifier
from tests.integration.runner_host import until
from tests.unmoved import UNMOVED

CONFIG = f"""
[daemon]
state_dir = "s"
runtime_dir = "r"
[idle]
{UNMOVED}
[control]
socket_mode = "0666"
[flows.hello]
command = ["true"]
"""
INFO = b"GET /v1/info HTTP/1.1\r\nHost: b\r\n\r\n"
FOLLOW = b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: b\r\n\r\n"
SMALL = Limits(connections=6, per_uid=2, reserved=2)


class Scene:
    """A daemon that runs no jobs, and whoever connects to it."""

    def __init__(self, path: Path, clock: HandMovedClock, connections: Connections) -> None:
        self.path, self.clock, self.connections = path, clock, connections
        self._clients: list[socket.socket] = []

    async def connect(self, data: bytes = b"") -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self._clients.append(client)
        client.setblocking(False)
        while True:
            try:
                client.connect(str(self.path))
            except BlockingIOError:  # as many wait already as may
                await asyncio.sleep(0)
            else:
                break
        await self.send(client, data)
        return client

    async def send(self, client: socket.socket, data: bytes) -> None:
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(client, data)

    async def read(self, client: socket.socket) -> bytes:
        """What comes next; nothing where the connection is closed."""
        async with asyncio.timeout(20):
            try:
                return await asyncio.get_running_loop().sock_recv(client, 65536)
            except ConnectionError:
                return b""

    async def answers(self, client: socket.socket) -> bool:
        await self.send(client, INFO)
        return (await self.read(client)).startswith(b"HTTP/1.1 200 ")

    async def following(self, count: int) -> list[socket.socket]:
        """Connections that are being served."""
        clients = [await self.connect(FOLLOW) for _ in range(count)]
        for client in clients:
            assert (await self.read(client)).startswith(b"HTTP/1.1 200 ")
        return clients

    def close(self) -> None:
        for client in self._clients:
            client.close()


@pytest.fixture
async def scene(clock: HandMovedClock) -> AsyncIterator[Scene]:
    # Not tmp_path: no other user may go there.
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    folder.chmod(0o755)
    (folder / "b.toml").write_text(CONFIG)
    settings = load(folder / "b.toml", {})
    given = Given(read=lambda queue: settings, notifier=RecordingNotifier(clock))  # noqa: ARG005
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(assembly.opened(settings, clock, given))
        scene = Scene(settings.daemon.runtime_dir / CONTROL_SOCKET, clock, daemon.connections)
        running = asyncio.ensure_future(daemon.connections.run())
        yield scene
        assert not running.done()
        running.cancel()
        scene.close()
        # The end waits a moment of the daemon's own time for who was let in before.
        ending = asyncio.ensure_future(stack.aclose())
        while not ending.done():
            await clock.advance(1)
            await asyncio.sleep(0.001)
        await ending
    shutil.rmtree(folder)


async def test_a_thousand_idle_connections_keep_nobody_out(scene: Scene) -> None:
    for _ in range(1000):
        await scene.connect()
    await scene.clock.advance(limits.GRACE)
    assert await scene.answers(await scene.connect())
    assert len(scene.connections) <= limits.MAX_CONNECTIONS


@pytest.mark.parametrize(
    ("start", "trickle"),
    [(b"", b"GET "), (b"\r\n", b"GET "), (b"GET /", b"abcd"), (INFO[:-2], b"X: y")],
    ids=["nothing", "an empty line", "a word", "half a head"],
)
async def test_who_asks_nothing_in_time_is_closed_whatever_trickles_in(
    scene: Scene, start: bytes, trickle: bytes
) -> None:
    client = await scene.connect(start)
    await until(lambda: len(scene.connections) == 1)
    for octet in trickle:
        await scene.clock.advance(limits.KEEP_ALIVE / 4 - 0.5)
        await scene.send(client, bytes([octet]))
    assert len(scene.connections) == 1
    await scene.clock.advance(4)
    assert await scene.read(client) == b""
    assert len(scene.connections) == 0


async def test_after_each_answer_the_time_begins_anew(scene: Scene) -> None:
    client = await scene.connect()
    for _ in range(4):
        assert await scene.answers(client)
        await scene.clock.advance(limits.KEEP_ALIVE - 2)
    assert await scene.answers(client)
    await scene.clock.advance(limits.KEEP_ALIVE + 2)
    assert await scene.read(client) == b""


async def test_who_is_being_served_is_neither_closed_nor_makes_room(scene: Scene) -> None:
    scene.connections.limits = SMALL
    followers = await scene.following(SMALL.connections - 1)
    idle = await scene.connect()
    await until(lambda: len(scene.connections) == SMALL.connections)
    await scene.clock.advance(limits.GRACE)
    assert await scene.answers(await scene.connect())
    assert await scene.read(idle) == b""
    await scene.clock.advance(limits.KEEP_ALIVE * 2)
    assert len(scene.connections) == len(followers)


async def test_where_all_are_being_served_the_next_is_told_so(scene: Scene) -> None:
    scene.connections.limits = SMALL
    await scene.following(SMALL.connections)
    answer = await scene.read(await scene.connect(INFO))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert json.loads(body)["kind"] == "unavailable"
    assert scene.connections.refused == 1


async def test_who_comes_in_a_burst_into_a_full_house_is_answered_and_makes_no_room_for_the_next(
    scene: Scene,
) -> None:
    scene.connections.limits = SMALL
    await scene.following(SMALL.connections - 1)
    burst = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for client in burst:  # the loop does not run meanwhile: all are accepted together
            client.connect(str(scene.path))
            client.sendall(INFO)
            client.setblocking(False)
        answers = [(await scene.read(client))[:12] for client in burst]
    finally:
        for client in burst:
            client.close()
    assert answers == [b"HTTP/1.1 200"] + [b"HTTP/1.1 503"] * 19
    assert scene.connections.closed == 0


async def test_who_has_just_begun_to_ask_makes_no_room_yet(scene: Scene) -> None:
    scene.connections.limits = SMALL
    await scene.following(SMALL.connections - 1)
    asking = await scene.connect()
    await until(lambda: len(scene.connections) == SMALL.connections)
    await scene.clock.advance(limits.GRACE)
    (one,) = (one for one in scene.connections._open.values() if not one._serving)
    await scene.send(asking, INFO[:-2])
    await until(lambda: one.waits_since is None)
    assert (await scene.read(await scene.connect(INFO))).startswith(b"HTTP/1.1 503 ")
    await scene.send(asking, b"\r\n")
    assert (await scene.read(asking)).startswith(b"HTTP/1.1 200 ")


async def test_who_does_not_take_what_it_asked_for_is_closed_after_a_while(scene: Scene) -> None:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(scene.path))
    records = json.dumps({"flow": "hello", "records": [f"{n}{'x' * 4000}" for n in range(500)]}).encode()
    head = f"POST /v1/batches HTTP/1.1\r\nHost: b\r\nContent-Length: {len(records)}\r\n\r\n"
    await asyncio.to_thread(client.sendall, head.encode() + records)
    batch = json.loads((await asyncio.to_thread(client.recv, 65536)).partition(b"\r\n\r\n")[2])["batch_id"]
    await asyncio.to_thread(
        client.sendall, f"GET /v1/batches/{batch}/jobs?limit=1000 HTTP/1.1\r\nHost: b\r\n\r\n".encode()
    )
    (stuck,) = scene.connections._open.values()
    await until(lambda: stuck._stuck_since is not None)
    await scene.clock.advance(limits.READ_WITHIN - 1)
    assert len(scene.connections) == 1
    await scene.clock.advance(2)
    await until(lambda: len(scene.connections) == 0)
    client.close()


OTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
held = []
for _ in range(int(sys.argv[3])):
    one = socket.socket(socket.AF_UNIX); one.connect(sys.argv[2]); held.append(one)
    if sys.argv[4]:
        one.sendall(sys.argv[4].encode()); one.settimeout(20); print(one.recv(12).decode(), flush=True)
print("held", flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def others(uid: int, scene: Scene, count: int, data: bytes = b"") -> AsyncIterator[list[str]]:
    """So many connections of this user, and what they were answered at once."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER, str(uid), str(scene.path), str(count), data.decode()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    lines = []
    try:
        async with asyncio.timeout(30):
            while (line := (await process.stdout.readline()).decode().strip()) != "held":
                assert line, "it has ended"
                lines.append(line)
        yield lines
    finally:
        await process.communicate(b"")


@pytest.mark.needs_root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
async def test_one_users_thousand_idle_connections_cost_no_one_else_a_connection(scene: Scene) -> None:
    kept = await scene.connect()
    assert await scene.answers(kept)
    async with others(65534, scene, 1000):
        await scene.clock.advance(limits.GRACE)
        assert len(scene.connections) <= limits.MAX_CONNECTIONS_PER_UID + 1
        assert await scene.answers(kept), "root's idle connection is still there"
        async with others(65533, scene, 3, INFO) as answered:
            assert answered == ["HTTP/1.1 200"] * 3


@pytest.mark.needs_root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
async def test_a_user_who_has_a_full_share_served_is_refused_and_nobody_else_is(scene: Scene) -> None:
    scene.connections.limits = SMALL
    full = ["HTTP/1.1 200", "HTTP/1.1 200", "HTTP/1.1 503"]
    async with others(65534, scene, 3, FOLLOW) as first, others(65533, scene, 3, FOLLOW) as second:
        assert (first, second) == (full, full)
        async with others(65532, scene, 1, FOLLOW) as third:
            assert third == ["HTTP/1.1 503"], "the rest is for root"
        assert await scene.answers(await scene.connect())

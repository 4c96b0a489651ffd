"""The control socket's connections: how many, whose, and for how long."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from buttermilkd.control import connections as limits
from buttermilkd.control.connections import Limits
from buttermilkd.testing import HandMovedClock
from tests.integration.control_scene import FOLLOW, INFO, Scene, serving
from tests.integration.runner_host import until

SMALL = Limits(connections=6, per_uid=2, reserved=2)


@pytest.fixture
async def scene(clock: HandMovedClock) -> AsyncIterator[Scene]:
    async with serving(clock) as scene:
        yield scene


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


async def stuck(scene: Scene, what: str) -> socket.socket:
    """Somebody who asks for ``what`` there is of a batch, which is more than fits into the socket, and reads none of it."""
    client = await scene.connect()

    async def ask(method: str, path: str, body: bytes = b"") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: b\r\nContent-Length: {len(body)}\r\n\r\n"
        await scene.send(client, head.encode() + body)

    records = json.dumps({"flow": "hello", "records": [f"{n}{'x' * 4000}" for n in range(500)]}).encode()
    await ask("POST", "/v1/batches", records)
    batch = json.loads((await scene.read(client)).partition(b"\r\n\r\n")[2])["batch_id"]
    await ask("POST", f"/v1/batches/{batch}/cancel")
    assert (await scene.read(client)).startswith(b"HTTP/1.1 200 ")
    await ask("GET", f"/v1/batches/{batch}/{what}?limit=1000")
    (one,) = scene.connections._open.values()
    await until(lambda: one._stuck_since is not None)
    return client


async def test_who_does_not_take_what_it_asked_for_is_closed_after_a_while(scene: Scene) -> None:
    await stuck(scene, "jobs")
    await scene.clock.advance(limits.READ_WITHIN - 1)
    assert len(scene.connections) == 1
    await scene.clock.advance(2)
    await until(lambda: len(scene.connections) == 0)


@pytest.mark.parametrize(
    ("what", "patience"), [("jobs", limits.STUCK_AFTER), ("results", limits.DOWNLOAD_STUCK_AFTER)]
)
async def test_who_takes_nothing_makes_room_and_later_where_it_is_a_download(
    scene: Scene, what: str, patience: float
) -> None:
    scene.connections.limits = SMALL
    await stuck(scene, what)
    await scene.following(SMALL.connections - 1)
    await scene.clock.advance(patience - 1)
    assert not await scene.answers(await scene.connect())
    await scene.clock.advance(1)
    assert await scene.answers(await scene.connect())
    assert scene.connections.closed == 1


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

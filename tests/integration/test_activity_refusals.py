"""Peers of the activity socket that break its rules, or come in masses."""

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from buttermilkd.bell import Bell
from buttermilkd.idle.activity.server import (
    MAX_CONNECTIONS,
    MAX_CONNECTIONS_PER_UID,
    RESERVED,
    ActivityServer,
)
from buttermilkd.testing import HandMovedClock
from tests.integration.activity_scene import HELLO, Scene, serving, snapshot
from tests.integration.runner_host import until


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with serving(tmp_path) as scene:
        yield scene


BAD = {
    "garbage": b"GET / HTTP/1.1\r\n\r\n",
    "binary": bytes(range(256)) + b"\n",
    "no hello": snapshot(req=1),
    "two hellos": HELLO + HELLO,
    "an empty line": HELLO + b"\n",
    "a negative count": HELLO + snapshot().replace(b'"req":0', b'"req":-1'),
    "a wrong type": HELLO + snapshot().replace(b'"ws":0', b'"ws":"0"'),
    "not a number": HELLO + snapshot().replace(b'"idle_ms":0', b'"idle_ms":NaN'),
    "infinity": HELLO + snapshot().replace(b'"idle_ms":0', b'"idle_ms":1e999'),
    "deep nesting": b"[" * 4000 + b"\n",
    "a long line": HELLO + b'{"v":1,' + b" " * 4096 + b"}\n",
    "a line without end": b"x" * 100_000,
    "too many lines": HELLO + snapshot() * 50,
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
async def test_a_peer_that_breaks_the_protocol_is_cut_off_and_only_that_one(
    scene: Scene, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = await scene.connect(HELLO + snapshot(ws=1))
    bad = await scene.connect(data)
    assert await scene.is_closed(bad)
    await scene.until(lambda: [one.websockets for one in scene.reporters] == [1])
    await scene.send(good, snapshot(ws=2))
    await scene.until(lambda: [one.websockets for one in scene.reporters] == [2])
    assert scene.server.refusals == 1
    assert f"closed a reporter's connection (pid {os.getpid()}, uid {os.getuid()})" in caplog.text


async def test_what_came_while_nobody_read_is_counted_by_the_time_that_it_took(scene: Scene) -> None:
    client = await scene.connect(HELLO)
    await scene.until(lambda: bool(scene.reporters))
    await scene.clock.advance(20)
    lines = b"".join(snapshot(total=n) for n in range(1, 1001))
    assert len(lines) > 50_000
    assert client.send(lines) == len(lines)
    await scene.until(lambda: scene.reporters[0].total == 1000)
    assert scene.server.refusals == 0


async def test_fifty_lines_a_second_are_read_for_as_long_as_it_likes(scene: Scene) -> None:
    client = await scene.connect(HELLO)
    for second in range(1, 11):
        await scene.clock.advance(1)
        await scene.send(client, b"".join(snapshot(total=second * 50 + n) for n in range(1, 51)))
        await scene.until(lambda total=second * 50 + 50: scene.reporters[0].total == total)  # type: ignore[misc]
    assert scene.server.refusals == 0


async def test_what_came_while_the_daemon_stood_still_is_read(scene: Scene) -> None:
    client = await scene.connect(HELLO)
    await scene.clock.advance(4)
    await scene.send(client, b"".join(snapshot(total=n) for n in range(1, 151)))
    await scene.until(lambda: scene.reporters[0].total == 150)
    assert scene.server.refusals == 0


async def test_what_the_users_of_a_refused_reporter_do_is_not_known_until_it_reports_properly(
    scene: Scene,
) -> None:
    bad = await scene.connect(HELLO + snapshot() * 60)
    assert await scene.is_closed(bad)
    refusal = scene.server.observe().refusal
    assert refusal is not None
    assert refusal.peer == f'web server "api" (pid {os.getpid()})'
    assert refusal.why == "over 50 lines a second"
    await scene.connect(HELLO)
    assert scene.server.observe().refusal is not None
    await scene.connect(HELLO + snapshot())
    await scene.until(lambda: scene.server.observe().refusal is None)


async def test_refusals_are_logged_sparingly_with_their_number(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        assert await scene.is_closed(await scene.connect(b"\n"))
    assert len(caplog.records) == 1
    await scene.clock.advance(10)
    assert await scene.is_closed(await scene.connect(b"\n"))
    assert caplog.messages[1].endswith("not a line of JSON; 21 closed so far")


async def test_random_bytes_harm_nobody(scene: Scene) -> None:
    chance = random.Random(7)
    for _ in range(100):
        lines = HELLO + snapshot(req=1)
        spoilt = bytearray(lines)
        for _ in range(chance.randrange(1, 8)):
            spoilt[chance.randrange(len(spoilt))] = chance.randrange(256)
        (await scene.connect(bytes(spoilt))).close()
    await scene.connect(HELLO + snapshot(ws=77))
    await scene.until(lambda: [one.websockets for one in scene.reporters] == [77])


async def test_ten_thousand_connections_stay_bounded_and_their_end_makes_room(scene: Scene) -> None:
    limit = MAX_CONNECTIONS if os.getuid() == 0 else MAX_CONNECTIONS_PER_UID
    first = [await scene.connect(HELLO) for _ in range(limit)]
    await scene.until(lambda: len(scene.reporters) == limit)
    for _ in range(10_000 - limit):
        extra = await scene.connect()
        scene.clients.remove(extra)
        extra.close()
    last = await scene.connect(HELLO)
    assert await scene.is_closed(last)
    assert len(scene.reporters) == limit
    assert scene.server.refusals == 10_001 - limit
    for client in first:
        client.close()
    await scene.until(lambda: not scene.reporters)
    await scene.connect(HELLO)
    await scene.until(lambda: len(scene.reporters) == 1)


CROWD = """
import os, socket, sys
name, hello, each, *users = sys.argv[1:]
held = []
for user in users:
    os.seteuid(int(user))
    for _ in range(int(each)):
        held.append(socket.socket(socket.AF_UNIX))
        held[-1].connect("\\0" + name)
    os.seteuid(0)
for one in held:
    try: one.sendall(hello.encode())
    except OSError: pass
sys.stdin.read()
"""


@pytest.mark.needs_root
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize(
    ("users", "each", "admitted"),
    [(1, 100, MAX_CONNECTIONS_PER_UID), (4, MAX_CONNECTIONS_PER_UID, MAX_CONNECTIONS - RESERVED)],
    ids=["one user", "four users"],
)
async def test_no_one_user_can_lock_others_out_nor_several_root(users: int, each: int, admitted: int) -> None:
    name = f"\0buttermilkd-test-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name)
    listener.listen()
    listener.setblocking(False)
    server, changed = ActivityServer(listener, HandMovedClock()), Bell()
    server.on_change = changed.ring
    running = asyncio.ensure_future(server.run())
    uids = (str(65534 - number) for number in range(users))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CROWD, name[1:], HELLO.decode(), str(each), *uids), stdin=subprocess.PIPE
    )
    async with asyncio.timeout(20):
        # A refusal is no news to the gate, so there is no event to wait for.
        await until(lambda: server.refusals == users * each - admitted)
        await until(lambda: len(server.observe().reporters) == admitted)
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(name)
            other.sendall(HELLO)
            while len(server.observe().reporters) < admitted + 1:
                await changed.heard()
        process.kill()
        await process.wait()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    assert server.refusals == users * each - admitted

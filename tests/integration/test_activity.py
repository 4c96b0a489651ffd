"""What reporters tell over the activity socket, how they go, and what the gate makes of it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from buttermilkd.config.settings import IdleSettings
from buttermilkd.idle.gate import Gate
from buttermilkd.idle.policy.observations import Departure
from buttermilkd.idle.view import reporter_views
from buttermilkd.testing import ScriptedMachine
from tests.integration.activity_scene import HELLO, Scene, serving, snapshot


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with serving(tmp_path) as scene:
        yield scene


# What reporters tell


async def test_what_a_reporter_tells_is_known(scene: Scene) -> None:
    await scene.connect(HELLO + snapshot(req=3, ws=2, total=9913, idle_ms=1500))
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].reported)
    (told,) = scene.reporters
    assert (told.app, told.worker, told.kind) == ("api", "w1", "asgi")
    assert (told.requests, told.websockets, told.total) == (3, 2, 9913)
    assert told.active_at == scene.clock.monotonic() - 1.5
    assert reporter_views(scene.server.observe(), scene.clock.monotonic()) == [
        {
            "app": "api",
            "pid": os.getpid(),
            "worker": "w1",
            "kind": "asgi",
            "requests": 3,
            "websockets": 2,
            "total": 9913,
            "idle_seconds": 1.5,
            "stale": False,
        }
    ]


async def test_the_kernel_says_which_process_reports_not_the_reporter(scene: Scene) -> None:
    await scene.connect(HELLO)
    await scene.until(lambda: bool(scene.reporters))
    assert scene.reporters[0].pid == os.getpid() != 1


async def test_a_line_may_come_in_pieces(scene: Scene) -> None:
    lines = HELLO + snapshot(req=1)
    client = await scene.connect()
    for at in range(len(lines)):
        await scene.send(client, lines[at : at + 1])
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].requests == 1)
    assert scene.server.refusals == 0


async def test_each_reporter_is_one_of_its_own(scene: Scene) -> None:
    for requests in (1, 2, 3):
        await scene.connect(HELLO + snapshot(req=requests))
    await scene.until(lambda: sorted(one.requests for one in scene.reporters) == [1, 2, 3])
    assert len(reporter_views(scene.server.observe(), scene.clock.monotonic())) == 3


async def test_requests_in_flight_are_dated_from_the_first_until_there_are_none(scene: Scene) -> None:
    client = await scene.connect(HELLO + snapshot(req=1))
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].requests == 1)
    began = scene.clock.monotonic()
    await scene.clock.advance(5)
    await scene.send(client, snapshot(req=2))
    await scene.until(lambda: scene.reporters[0].requests == 2)
    assert scene.reporters[0].requests_since == began
    await scene.send(client, snapshot())
    await scene.until(lambda: scene.reporters[0].requests == 0)
    assert scene.reporters[0].requests_since is None


async def test_a_process_that_nobody_has_used_has_had_no_activity(scene: Scene) -> None:
    client = await scene.connect(HELLO + snapshot(total=0, idle_ms=10))
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].reported)
    assert scene.reporters[0].active_at is None
    await scene.send(client, snapshot(total=0, ws=1))
    await scene.send(client, snapshot(total=0, idle_ms=0))
    await scene.until(lambda: scene.reporters[0].used and not scene.reporters[0].websockets)
    assert scene.reporters[0].active_at == scene.clock.monotonic()


async def test_a_beat_that_tells_nothing_new_disturbs_nobody_but_shows_that_it_lives(scene: Scene) -> None:
    client = await scene.connect(HELLO + snapshot(idle_ms=1000))
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].reported)
    changes = scene.changed.ring_count
    await scene.clock.advance(4)
    assert scene.reporters[0].is_stale(scene.clock.monotonic())
    await scene.send(client, snapshot(idle_ms=5000))
    other = await scene.connect(HELLO)
    await scene.until(lambda: len(scene.reporters) == 2)
    assert not any(one.is_stale(scene.clock.monotonic()) for one in scene.reporters)
    assert scene.changed.ring_count == changes + 1
    other.close()


# How they go


async def test_one_that_goes_with_something_open_leaves_a_departure(scene: Scene) -> None:
    client = await scene.connect(HELLO + snapshot(req=1, ws=3))
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].websockets == 3)
    await scene.clock.advance(10)
    client.close()
    await scene.until(lambda: not scene.reporters)
    assert scene.server.observe().departure == Departure("api", scene.clock.monotonic(), 1, 3)


async def test_ones_that_go_in_peace_leave_the_age_of_their_last_activity(scene: Scene) -> None:
    now = scene.clock.monotonic()
    for idle in (500_000, 41_000, 90_000):
        client = await scene.connect(HELLO + snapshot(idle_ms=idle))
        await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].reported)
        client.close()
        await scene.until(lambda: not scene.reporters)
    web = scene.server.observe()
    assert (web.departure, web.departed_active_at) == (None, now - 41)


async def test_a_web_server_that_is_killed_is_noticed_with_what_it_had_open(scene: Scene) -> None:
    program = (
        "import socket, sys, signal\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode()); signal.pause()"
    )
    lines = (HELLO + snapshot(ws=3)).decode()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, str(scene.path), lines)
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].websockets == 3)
    assert scene.reporters[0].pid == process.pid
    process.send_signal(signal.SIGKILL)
    await process.wait()
    await scene.until(lambda: not scene.reporters)
    departure = scene.server.observe().departure
    assert departure is not None
    assert departure.websockets == 3


async def test_a_silent_reporter_is_stale_after_three_beats_and_dropped_half_a_minute_later(
    scene: Scene,
) -> None:
    client = await scene.connect(HELLO + snapshot(req=1))
    await scene.until(lambda: bool(scene.reporters) and scene.reporters[0].requests == 1)
    await scene.clock.advance(3)
    assert not reporter_views(scene.server.observe(), scene.clock.monotonic())[0]["stale"]
    await scene.clock.advance(30)
    scene.server.sweep()
    assert reporter_views(scene.server.observe(), scene.clock.monotonic())[0]["stale"]
    await scene.clock.advance(1)
    scene.server.sweep()
    assert await scene.is_closed(client)
    assert scene.reporters == ()
    assert scene.server.observe().departure == Departure("api", scene.clock.monotonic(), 1, 0)


async def test_a_peer_that_never_says_who_it_is_is_no_reporter_and_is_dropped(scene: Scene) -> None:
    client = await scene.connect(b"{")
    await scene.clock.advance(29)
    scene.server.sweep()
    assert scene.reporters == ()
    await scene.clock.advance(2)
    scene.server.sweep()
    assert await scene.is_closed(client)


# With the gate


async def test_the_gate_follows_what_a_web_server_reports(scene: Scene) -> None:
    gate = Gate(
        scene.server,
        ScriptedMachine(scene.clock),
        IdleSettings(),
        scene.clock,
        concurrency=2,
    )
    gate.waiting = True

    def reconsider_and_tell() -> None:
        gate.reconsider()
        scene.changed.ring()

    scene.server.on_change = reconsider_and_tell
    running = asyncio.ensure_future(gate.run())
    client = await scene.connect(HELLO + snapshot(total=7, idle_ms=600_000))
    await scene.clock.advance(2)
    async with asyncio.timeout(10):
        await gate.opened()
        await scene.send(client, snapshot(req=1, total=8))
        await gate.closed()
        assert gate.verdict.sentence == "busy: 1 request in flight for 0.0 s"
        await scene.send(client, snapshot(total=8))
        await scene.until(lambda: gate.verdict.state == "cooling")
    for second in range(1, 120):
        await scene.clock.advance(1)
        await scene.send(client, snapshot(total=8, idle_ms=second * 1000))
        await asyncio.sleep(0)
    gate.reconsider()
    assert gate.verdict.sentence == "cooling: last request 119 s ago; new jobs start in 1 s"
    await scene.clock.advance(1)
    assert gate.is_open
    assert gate.allowance() == 1
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

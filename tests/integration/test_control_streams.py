"""Answers that take as long as somebody waits for them: events, results, what jobs print, a batch's end."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from buttermilkd.control import batches
from buttermilkd.control.connections import Connection
from buttermilkd.testing import HandMovedClock
from tests.integration.control_scene import Scene, serving
from tests.integration.runner_host import until


@pytest.fixture
async def scene(clock: HandMovedClock) -> AsyncIterator[Scene]:
    async with serving(clock) as scene:
        yield scene


async def over(scene: Scene, one: Connection) -> None:
    """Wait until nothing is done for this connection any more."""
    async with asyncio.timeout(10):
        while one._serving:
            await scene.clock.advance(0.1)
            await asyncio.sleep(0)


STREAMS = ("events?follow=1", "jobs/{batch}.1/log?follow=1", "batches/{batch}/log?follow=1")


@pytest.mark.parametrize("path", [*STREAMS, "batches/{batch}/results"])
async def test_who_leaves_a_stream_leaves_nothing_behind_and_is_no_error(
    scene: Scene, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    client = await scene.connect()
    records = [f"{number}{'x' * 4000}" for number in range(500)]
    batch = json.loads(await scene.ask(client, "POST", "/v1/batches", {"flow": "hello", "records": records}))[
        "batch_id"
    ]
    if "results" in path:
        await scene.ask(client, "POST", f"/v1/batches/{batch}/cancel")
    (one,) = scene.connections._open.values()
    await scene.send(client, f"GET /v1/{path.format(batch=batch)} HTTP/1.1\r\nHost: b\r\n\r\n".encode())
    assert await scene.read(client)
    client.close()
    await over(scene, one)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_who_leaves_while_waiting_for_a_batchs_end_is_waited_for_no_longer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LOOK_FOR_READER", 0.05)
    client = await scene.connect()
    created = await scene.ask(client, "POST", "/v1/batches", {"flow": "hello", "records": ["a"]})
    (one,) = scene.connections._open.values()
    path = f"/v1/batches/{json.loads(created)['batch_id']}?wait=60"
    await scene.send(client, f"GET {path} HTTP/1.1\r\nHost: b\r\n\r\n".encode())
    await until(lambda: one._serving)
    client.close()
    await over(scene, one)


async def test_a_stream_that_cannot_go_on_is_broken_off_and_does_not_seem_to_be_whole(scene: Scene) -> None:
    client = await scene.connect(b"GET /v1/events?follow=1 HTTP/1.1\r\nHost: b\r\n\r\n")
    came = await scene.read(client)
    (one,) = scene.connections._open.values()
    await scene.ledger.write(lambda db: db.execute("ALTER TABLE events RENAME TO elsewhere"))
    await over(scene, one)
    await scene.ledger.write(lambda db: db.execute("ALTER TABLE elsewhere RENAME TO events"))
    while more := await scene.read(client):
        came += more
    assert came.count(b"HTTP/1.1 ") == 1
    assert not came.endswith(b"\r\n0\r\n\r\n")

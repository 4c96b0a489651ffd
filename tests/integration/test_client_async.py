"""The client in threads and in asyncio."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from buttermilkd.client import AsyncClient, Client
from buttermilkd.errors import (
    NotFoundError,
    UnavailableError,
)
from tests.integration.stand_in import (
    CREATED,
    Answer,
    Hang,
    StandIn,
    ended_batch,
)

NDJSON = "application/x-ndjson"
BATCH = "batch-1a2b3c4d"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path / "control.sock")
    stand_in.start()
    yield stand_in
    stand_in.stop()


@pytest.fixture
def client(daemon: StandIn) -> Client:
    return Client(daemon.socket)


def test_closing_breaks_off_a_call_in_another_thread(daemon: StandIn, client: Client) -> None:
    daemon.on("GET /v1/status", Hang())
    raised: list[Exception] = []

    def call() -> None:
        try:
            client.status()
        except UnavailableError as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    daemon.hanging.wait()
    client.close()
    thread.join()

    assert len(raised) == 1
    with pytest.raises(UnavailableError, match="this client is closed"):
        client.status()


async def test_the_async_client_has_every_method_of_the_other() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) - public(AsyncClient) == {"socket", "close"}
    assert public(AsyncClient) - public(Client) == set()


async def test_the_async_client_gives_the_same_answers(daemon: StandIn) -> None:
    daemon.on("POST /v1/batches", CREATED)
    daemon.on(f"GET /v1/batches/{BATCH}", ended_batch())
    daemon.on(f"GET /v1/batches/{BATCH}/results", Answer([b'{"job_id": "a"}\n{"job_id": "b"}\n']))
    client = AsyncClient(daemon.socket)

    created = await client.create("summarise", ["a"], seed=17)
    view = await client.batch(created.batch_id, wait=1)
    results = [result["job_id"] async for result in client.results(BATCH)]

    assert (created.seed, view["status"], results) == (17, "completed", ["a", "b"])
    with pytest.raises(NotFoundError):
        await client.job("no.1")


async def test_a_cancelled_call_leaves_no_thread_behind(daemon: StandIn) -> None:
    daemon.on("GET /v1/status", Hang())
    before = threading.active_count()
    client = AsyncClient(daemon.socket, timeout=1000)
    call = asyncio.create_task(client.status())
    await asyncio.to_thread(daemon.hanging.wait)

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    # Only threads that wait for other work remain: this returns once each has ended.
    await asyncio.get_running_loop().shutdown_default_executor()
    assert threading.active_count() <= before + 1


async def test_a_stream_may_be_left_early(daemon: StandIn) -> None:
    lines = [b'{"sequence": %d}\n' % number for number in range(1000)]
    daemon.on("GET /v1/events", Answer(lines, content_type=NDJSON))

    async with aclosing(AsyncClient(daemon.socket).events(follow=True)) as events:
        async for event in events:
            assert event["sequence"] == 0
            break

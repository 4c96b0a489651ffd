"""The routes of dead letters, asked through the client and as a program of one's own would."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from buttermilkd.client import AsyncClient
from buttermilkd.control.services import Services
from buttermilkd.errors import InvalidRequestError, NotFoundError
from buttermilkd.jobs import Ending, Event, Outcome, Settlement
from buttermilkd.messages import DeadMessage
from buttermilkd.places import CONTROL_SOCKET
from tests.integration.assembled import opened
from tests.unmoved import UNMOVED

CONFIG = f"""
[daemon]
state_dir = "s"
runtime_dir = "r"
[idle]
{UNMOVED}
[flows.hello]
command = ["true"]
"""
POISON = DeadMessage("m1", "it is not JSON", b"\xff{\x00", {"type": "job_request"}, 1_700_000_000.5)


@pytest.fixture
async def services(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Services]:
    """A daemon that runs no jobs; two of its jobs have failed, and one message could not be read."""
    folder = tmp_path_factory.mktemp("d")
    (folder / "b.toml").write_text(CONFIG)
    async with AsyncExitStack() as stack:
        services = await stack.enter_async_context(opened(folder / "b.toml"))
        await AsyncClient(socket_of(services)).create("hello", ["a", "b"], batch_id="b", shuffle=False)
        taken = await services.queue.take({"hello": 2}, 2)
        fault = Outcome(Ending.REJECTED, error="exit status 65: bad", cause="exit status 65")
        await services.queue.settle([Settlement(one, Event.FAIL, fault) for one in taken])
        await services.ledger.bury(POISON)
        yield services


def socket_of(services: Services) -> Path:
    return services.settings.daemon.runtime_dir / CONTROL_SOCKET


@pytest.fixture
def client(services: Services) -> AsyncClient:
    return AsyncClient(socket_of(services))


async def ids(client: AsyncClient, **options: Any) -> list[str]:
    return [letter["id"] for letter in (await client.dead(**options))["dead"]]


async def test_dead_letters_are_listed_in_pages_and_by_flow(client: AsyncClient) -> None:
    assert await ids(client) == ["message-1", "b.2", "b.1"]
    first = await client.dead(limit=2)
    assert first["next"] is not None
    assert await ids(client, limit=2, cursor=first["next"]) == ["b.1"]
    assert await ids(client, flow="hello") == ["b.2", "b.1"]
    with pytest.raises(InvalidRequestError, match="cannot go on from cursor 'x'"):
        await client.dead(cursor="x")


async def test_one_is_shown_with_all_that_is_kept_of_it(client: AsyncClient) -> None:
    message = await client.dead_letter("1")
    assert base64.b64decode(message.get("data", "")) == POISON.data
    assert (message.get("attributes"), message["message_id"]) == ({"type": "job_request"}, "m1")
    job = await client.dead_letter("b.1")
    assert (job["record_id"], job["reason"], job["error"]) == ("a", "exit status 65", "exit status 65: bad")
    assert "data" not in job
    with pytest.raises(NotFoundError, match="cannot find dead letter message-9"):
        await client.dead_letter("message-9")


async def test_what_is_requeued_runs_again_and_what_is_dropped_does_not(client: AsyncClient) -> None:
    requeued = await client.requeue_dead(["b.1", "message-1"])
    assert [outcome["done"] for outcome in requeued["outcomes"]] == [True, False]
    dropped = await client.drop_dead(["message-1", "b.2", "b.2"])
    assert [(outcome["id"], outcome["done"]) for outcome in dropped["outcomes"]] == [
        ("message-1", True),
        ("b.2", True),
    ]
    assert await ids(client) == []
    batch = await client.batch("b")
    assert (batch["pending"], batch["failed"]) == (1, 1)
    told = {event["kind"] async for event in client.events()}
    assert {"message.buried", "message.dropped", "job.dropped"} <= told


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "'ids' must be a list of ids"),
        ({"ids": []}, "'ids' must be a list of ids"),
        ({"ids": "b.1"}, "'ids' must be a list of ids"),
        ({"ids": [1]}, "'ids' must be a list of ids"),
        ({"ids": ["b.1"], "now": True}, "there is only 'ids'"),
        ({"ids": ["b.1"] * 1001}, "1,000 is the most"),
    ],
)
async def test_a_request_that_names_no_letters_is_refused(
    services: Services, body: dict[str, Any], words: str
) -> None:
    connector = aiohttp.UnixConnector(str(socket_of(services)))
    async with aiohttp.ClientSession("http://buttermilkd", connector=connector) as http:
        for action in ("requeue", "drop"):
            async with http.post(f"/v1/dead/{action}", data=json.dumps(body)) as response:
                problem = await response.json(content_type=None)
                assert (response.status, problem["kind"]) == (400, "invalid")
                assert words in problem["detail"]

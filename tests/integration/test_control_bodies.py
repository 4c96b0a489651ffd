"""Requests as they should not be: each is answered with a problem, and nothing is created."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buttermilkd.control import batches, services
from buttermilkd.messages import NDJSON, PROBLEM
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


@pytest.fixture
async def http(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the control socket of a daemon that runs no jobs."""
    folder = tmp_path_factory.mktemp("d")
    (folder / "b.toml").write_text(CONFIG)
    async with AsyncExitStack() as stack:
        daemon = await stack.enter_async_context(opened(folder / "b.toml"))
        path = daemon.settings.daemon.runtime_dir / CONTROL_SOCKET
        connector = aiohttp.UnixConnector(str(path))
        yield await stack.enter_async_context(
            aiohttp.ClientSession("http://buttermilkd", connector=connector)
        )


async def post(
    http: aiohttp.ClientSession, body: bytes, kind: str = "application/json"
) -> tuple[int, dict[str, object]]:
    async with http.post("/v1/batches", data=body, headers={"Content-Type": kind}) as response:
        if response.status >= 400:
            assert response.content_type == PROBLEM
        document: dict[str, object] = json.loads(await response.read())
        return response.status, document


async def count(http: aiohttp.ClientSession) -> int:
    async with http.get("/v1/batches", params={"all": "1"}) as response:
        return len((await response.json())["batches"])


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        ("application/json", b"", "not JSON"),
        ("application/json", b"[]", "not a JSON object"),
        ("application/json", b'{"flow": "hello", "records": [1]}', "'records' must be a list of strings"),
        ("application/json", b'{"flow": "hello", "records": []}', "no record was given"),
        ("application/json", b'{"flow": "hello", "records": [""]}', "cannot use '' as a record id"),
        ("application/json", b'{"flow": "hello", "records": ["a\\u0000"]}', "none of them NUL"),
        ("application/json", b'{"flow": "hello", "records": ["\\ud800"]}', "half of a surrogate pair"),
        ("application/json", b"[" * 100_000, "not JSON"),
        ("application/json", b"\xff\xfe", "not JSON"),
        (NDJSON, b"", "the request is empty"),
        (NDJSON, b'{"flow": "hello"}\n"a"\n3\n', "no JSON string"),
        (NDJSON, b'{"flow": "hello"}\n"a"\nb\n', "not JSON"),
        (NDJSON, b'{"flow": "hello"}\n"a"\n["b"]\n', "no JSON string"),
        (NDJSON, b'{"flow": "hello"}\n', "no record was given"),
    ],
)
async def test_a_wrong_body_is_refused_and_creates_nothing(
    http: aiohttp.ClientSession, kind: str, body: bytes, words: str
) -> None:
    status, problem = await post(http, body, kind)
    assert (status, problem["kind"]) == (400, "invalid")
    assert words in str(problem["detail"])
    assert await count(http) == 0


async def test_a_last_line_without_its_newline_counts(http: aiohttp.ClientSession) -> None:
    status, created = await post(http, b'{"flow": "hello"}\n"a"\n\n"b\\nc"', NDJSON)
    assert (status, created["jobs"]) == (201, 2)


async def test_a_body_that_breaks_off_creates_nothing(http: aiohttp.ClientSession) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'{"flow": "hello"}\n"a"\n"b'
        raise ConnectionResetError("the client died")

    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        await http.post("/v1/batches", data=half(), headers={"Content-Type": NDJSON})
    assert await count(http) == 0


@pytest.mark.parametrize(
    ("path", "kind", "size", "words"),
    [
        ("/v1/pause", "application/json", services.OBJECT_LIMIT, "its body is over 4,194,304 bytes"),
        ("/v1/batches", NDJSON, batches.LONGEST_LINE, "a line is over 4,194,304 bytes"),
    ],
    ids=["what is to be done", "a line"],
)
async def test_a_body_that_is_too_large_is_refused_before_its_end(
    http: aiohttp.ClientSession, path: str, kind: str, size: int, words: str
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * (size // 8)

    async with http.post(path, data=endless(), headers={"Content-Type": kind}) as response:
        assert (response.status, words in (await response.json(content_type=PROBLEM))["detail"]) == (
            400,
            True,
        )
    assert await count(http) == 0


@pytest.mark.parametrize(
    ("limit", "words"), [("BODY_PATIENCE", "no more of it came"), ("BODY_WITHIN", "all of it did not come")]
)
@pytest.mark.parametrize("kind", ["application/json", NDJSON])
async def test_a_body_that_stalls_or_trickles_is_given_up(
    http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, limit: str, words: str, kind: str
) -> None:
    monkeypatch.setattr(services, limit, 0.1)
    answered = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"flow": "hello"'
        while limit == "BODY_WITHIN":
            yield b" "
            await asyncio.sleep(0.01)
        await answered.wait()

    async with http.post("/v1/batches", data=slow(), headers={"Content-Type": kind}) as response:
        answered.set()
        assert (response.status, words in (await response.json(content_type=PROBLEM))["detail"]) == (
            504,
            True,
        )
    assert await count(http) == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("DELETE", "/v1/batches", 405),
        ("GET", "/v1/batches?limit=x", 400),
        ("GET", "/v1/batches?status=asleep", 400),
        ("GET", "/v1/batches?cursor=-1", 400),
        ("GET", "/v1/jobs/..%2F..%2Fetc", 404),
        ("POST", "/v1/batches/none/cancel", 404),
        ("POST", "/v1/pause", 400),
    ],
)
async def test_a_wrong_request_is_a_problem_of_its_own_kind(
    http: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    body = b'{"flow": 3}' if path == "/v1/pause" else None
    async with http.request(method, path, data=body) as response:
        problem = json.loads(await response.read())
        assert (response.status, response.content_type) == (status, PROBLEM)
        assert {"type", "title", "status", "detail", "kind", "hint"} <= problem.keys()


async def test_a_key_answers_again_what_it_answered_before(http: aiohttp.ClientSession) -> None:
    headers = {"Idempotency-Key": "k"}
    answers = []
    for _ in range(2):
        async with http.post("/v1/pause", json={}, headers=headers) as response:
            answers.append(
                (response.status, await response.json(), response.headers.get("Idempotency-Replayed"))
            )
    assert answers[0][:2] == answers[1][:2]
    assert (answers[0][2], answers[1][2]) == (None, "true")
    async with http.post("/v1/resume", json={}, headers=headers) as response:
        assert response.status == 409


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", NDJSON, "text/plain"]))
async def test_any_bytes_are_answered(http: aiohttp.ClientSession, body: bytes, kind: str) -> None:
    status, _ = await post(http, body, kind)
    assert status in (400, 404)


async def test_status_answers_before_the_first_look_at_the_machine(
    http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with http.get("/v1/status") as response:
        status = await response.json()
    assert (status["idle"], status["state"]) == (False, "unknown")
    assert not list(tmp_path.iterdir())

"""The ASGI middleware, driven as a server drives it; what it counts is what the daemon's end is told."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from buttermilkd.web.activity import Activity
from buttermilkd.web.asgi import ActivityMiddleware
from buttermilkd.web.reporter import REPORTERS
from tests.integration.daemon_end import DaemonEnd, daemon_end


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[DaemonEnd]:
    async with daemon_end(tmp_path / "activity.sock") as daemon:
        yield daemon
        await asyncio.to_thread(REPORTERS.close)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activity.sock"


def counted(path: Path) -> Activity:
    return REPORTERS.reporter("api", "asgi", path).activity


def scope(kind: str, path: str = "/", method: str = "GET", **headers: str) -> dict[str, Any]:
    raw = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    asgi = {"version": "3.0", "spec_version": "2.4"}
    return {"type": kind, "asgi": asgi, "path": path, "method": method, "headers": raw}


async def no_messages() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}


async def to_nobody(_message: Any) -> None:
    """The client has gone."""


class Held:
    """An application that stays in each request until it is let go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, _receive: Any, _send: Any) -> None:
        await self.go.wait()
        if scope["path"] == "/error":
            raise RuntimeError("the application's own")


async def test_a_request_counts_until_the_application_returns(daemon: DaemonEnd, path: Path) -> None:
    inner = Held()
    app = ActivityMiddleware(inner, socket=path, app="api")
    serving = [asyncio.ensure_future(app(scope("http"), no_messages, to_nobody)) for _ in range(3)]
    await daemon.until(lambda: daemon.requests > 0)
    inner.go.set()
    await asyncio.gather(*serving)
    await daemon.until(lambda: daemon.requests == 0 and daemon.total == 3)


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_an_error_of_the_application_ends_what_it_was_in_and_is_passed_on(
    path: Path, kind: str
) -> None:
    inner = Held()
    inner.go.set()
    with pytest.raises(RuntimeError, match="the application's own"):
        await ActivityMiddleware(inner, socket=path, app="api")(scope(kind, "/error"), no_messages, to_nobody)
    counts = counted(path).counts()
    assert (counts.requests, counts.websockets, counts.total) == (0, 0, 1)
    await asyncio.to_thread(REPORTERS.close)


async def test_a_request_that_is_cancelled_has_ended(path: Path) -> None:
    serving = asyncio.ensure_future(
        ActivityMiddleware(Held(), socket=path, app="api")(scope("http"), no_messages, to_nobody)
    )
    await asyncio.sleep(0)
    assert counted(path).requests == 1
    serving.cancel()
    await asyncio.wait([serving])
    assert counted(path).requests == 0
    await asyncio.to_thread(REPORTERS.close)


async def test_a_stream_and_a_background_task_count_until_they_end(path: Path) -> None:
    seen: list[int] = []

    async def parts() -> AsyncIterator[str]:
        for _ in range(2):
            seen.append(counted(path).requests)
            yield "part"

    def afterwards() -> None:
        seen.append(counted(path).requests)

    def stream(_request: Request) -> Response:
        return StreamingResponse(parts(), background=BackgroundTask(afterwards))

    app = Starlette(
        routes=[Route("/", stream)],
        middleware=[Middleware(ActivityMiddleware, socket=path, app="api")],
    )
    await app(scope("http") | {"query_string": b"", "extensions": {}}, no_messages, to_nobody)
    assert seen == [1, 1, 1]
    assert counted(path).requests == 0
    await asyncio.to_thread(REPORTERS.close)


async def test_a_websocket_counts_until_its_application_returns_and_its_messages_are_activity(
    daemon: DaemonEnd, path: Path
) -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.receive_text()
        await websocket.close()

    app = Starlette(routes=[WebSocketRoute("/chat", chat)])
    app.add_middleware(ActivityMiddleware, socket=path, app="api")
    chatting = asyncio.ensure_future(app(scope("websocket", "/chat"), messages.get, to_nobody))
    await messages.put({"type": "websocket.connect"})
    await daemon.until(lambda: daemon.websockets == 1)
    opened_at = counted(path).active_at
    await messages.put({"type": "websocket.receive", "text": "hello"})
    await chatting
    assert counted(path).active_at > opened_at
    await daemon.until(lambda: daemon.websockets == 0 and daemon.total == 1)


async def test_starting_and_ending_an_application_is_told_and_passed_on(
    daemon: DaemonEnd, path: Path
) -> None:
    said: list[str] = []
    events = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        event = next(events)
        if event.endswith("shutdown"):
            await daemon.one()
        return {"type": event}

    async def send(message: Any) -> None:
        said.append(message["type"])

    app = FastAPI()
    app.add_middleware(ActivityMiddleware, socket=path, app="api")
    await app(scope("lifespan"), receive, send)
    assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert not daemon.reporters[0].used


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int]] = {
    "its path": ({"exclude": ["/healthz"]}, scope("http", "/healthz"), 0),
    "another path": ({"exclude": ["/healthz"]}, scope("http", "/"), 1),
    "a prefix": ({"exclude": ["/static/*"]}, scope("http", "/static/a.css"), 0),
    "a predicate": ({"exclude": lambda scope: scope["path"] == "/x"}, scope("http", "/x"), 0),
    "a predicate that raises": ({"exclude": lambda scope: scope["missing"]}, scope("http"), 1),
    "its method": ({"exclude_methods": ["OPTIONS"]}, scope("http", method="OPTIONS"), 0),
    "its user agent": ({"exclude_user_agents": ["kube-probe"]}, scope("http", user_agent="kube-probe/1"), 0),
    "a header": ({"exclude_headers": ["X-Probe"]}, scope("http", x_probe="1"), 0),
    "a websocket's path": ({"exclude": ["/dash"]}, scope("websocket", "/dash"), 0),
    "all websockets": ({"websockets_count": False}, scope("websocket"), 0),
    "some websockets": ({"websockets_count": {"/dash/*": False}}, scope("websocket", "/dash/1"), 0),
    "other websockets": ({"websockets_count": {"/dash/*": False}}, scope("websocket", "/chat"), 1),
    "what is not known": ({}, scope("webtransport"), 0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_what_is_excluded_does_not_count(
    case: tuple[dict[str, Any], dict[str, Any], int], path: Path
) -> None:
    options, request, total = case
    served: list[Any] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        served.append(scope)

    await ActivityMiddleware(inner, socket=path, app="api", **options)(request, no_messages, to_nobody)
    assert served == [request]
    assert counted(path).total == total
    await asyncio.to_thread(REPORTERS.close)


@pytest.mark.parametrize("framework", [Starlette, FastAPI])
async def test_frameworks_pass_its_options_on(framework: Callable[[], Any], path: Path) -> None:
    app = framework()
    app.add_middleware(ActivityMiddleware, exclude=["/healthz"], socket=path, app="api")
    app.add_route("/", lambda _: PlainTextResponse("hello"))
    await app(scope("http") | {"query_string": b""}, no_messages, to_nobody)
    assert counted(path).total == 1
    await asyncio.to_thread(REPORTERS.close)


async def _application(_scope: object, _receive: object, _send: object) -> None:
    """Does nothing."""


def test_frameworks_that_hand_the_application_over_by_name_are_served_as_well() -> None:
    assert ActivityMiddleware(app=_application, name="api")._asgi is _application
    assert ActivityMiddleware(_application, app="api")._asgi is _application
    for wrong in ({}, {"app": "api"}):
        with pytest.raises(TypeError, match="wraps one application"):
            ActivityMiddleware(**wrong)  # type: ignore[arg-type]

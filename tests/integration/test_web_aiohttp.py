"""The middleware for aiohttp, in a real server of aiohttp's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from buttermilkd.web.activity import Activity
from buttermilkd.web.aiohttp import REPORTER, activity_middleware, setup
from buttermilkd.web.reporter import REPORTERS
from tests.integration.daemon_end import DaemonEnd, daemon_end


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activity.sock"


@pytest.fixture
async def daemon(path: Path) -> AsyncIterator[DaemonEnd]:
    async with daemon_end(path) as daemon:
        yield daemon
        await asyncio.to_thread(REPORTERS.close)


def counted(path: Path) -> Activity:
    return REPORTERS.reporter("api", "aiohttp", path).activity


@pytest.fixture(params=["setup", "middleware", "frozen"])
def application(request: pytest.FixtureRequest, path: Path) -> Callable[..., web.Application]:
    """Makes one whose requests are counted as they arrive, by a middleware, or by one that ``setup`` cannot spare."""

    def make(*routes: web.RouteDef, **options: Any) -> web.Application:
        if request.param == "middleware":
            app = web.Application(middlewares=[activity_middleware(socket=path, app="api", **options)])
        else:
            app = web.Application()
            setup(app, socket=path, app="api", **options)
        app.add_routes(routes)
        if request.param == "frozen":
            app.pre_freeze()
        return app

    return make


Make = Callable[..., web.Application]


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """The address of a server of this application."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_request_counts_until_its_response_is_written(
    daemon: DaemonEnd, path: Path, application: Make
) -> None:
    seen: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        """Is sent after the handler has returned."""
        for _ in range(2):
            seen.append(counted(path).requests)
            yield b"part"

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body())

    app = application(web.get("/", answer))
    async with served(app) as address, aiohttp.ClientSession() as session:
        async with session.get(address) as response:
            assert await response.read() == b"partpart"
        await daemon.until(lambda: daemon.requests == 0 and daemon.total == 1)
    assert seen == [1, 1]


async def test_a_file_counts_until_it_is_sent(
    daemon: DaemonEnd, path: Path, tmp_path: Path, application: Make
) -> None:
    file = tmp_path / "large"
    with file.open("wb") as made:
        made.truncate(64 << 20)  # more than any buffer on the way takes

    async def answer(_request: web.Request) -> web.FileResponse:
        return web.FileResponse(file)

    app = application(web.get("/", answer))
    async with served(app) as address, aiohttp.ClientSession() as session:
        async with session.get(address) as response:
            await daemon.until(lambda: daemon.requests == 1)
            await asyncio.sleep(0.1)
            assert counted(path).requests == 1
            assert len(await response.read()) == 64 << 20
        await daemon.until(lambda: daemon.requests == 0)


async def test_errors_and_clients_that_go_end_a_request(
    daemon: DaemonEnd, path: Path, application: Make
) -> None:
    async def fail(_request: web.Request) -> web.Response:
        raise web.HTTPGone

    async def stay(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = application(web.get("/fail", fail), web.get("/stay", stay))
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        for where, status in (("/fail", 410), ("/missing", 404)):
            async with session.get(address + where) as response:
                assert response.status == status
        leaving = asyncio.ensure_future(session.get(f"{address}/stay"))
        await daemon.until(lambda: daemon.requests == 1 and counted(path).total == 3)
        leaving.cancel()
        await daemon.until(lambda: daemon.requests == 0 and daemon.total == 3)
    await runner.cleanup()


async def test_a_request_whose_task_is_kept_ends_with_it_all_the_same(
    daemon: DaemonEnd, application: Make
) -> None:
    kept: list[asyncio.Task[Any] | None] = []

    async def keep(_request: web.Request) -> web.Response:
        kept.append(asyncio.current_task())
        return web.Response(text="kept")

    async with served(application(web.get("/", keep))) as address, aiohttp.ClientSession() as session:
        async with session.get(address) as response:
            assert await response.read() == b"kept"
        await daemon.until(lambda: daemon.requests == 0 and daemon.total == 1)
    assert kept


async def test_a_part_of_an_application_counts_what_is_its_own(daemon: DaemonEnd, path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response()

    part, whole = web.Application(), web.Application()
    setup(part, socket=path, app="api")
    for app in (part, whole):
        app.router.add_get("/page", answer)
    whole.add_subapp("/part", part)
    async with served(whole) as address, aiohttp.ClientSession() as session:
        for where in ("/page", "/part/page", "/page"):
            async with session.get(address + where) as response:
                assert response.status == 200
        await daemon.until(lambda: daemon.requests == 0 and daemon.total == 1)


async def test_an_application_that_is_served_itself_is_spared_the_middleware(path: Path) -> None:
    app = web.Application()
    setup(app, socket=path, app="api")
    assert len(app.middlewares) == 1
    async with served(app) as address, aiohttp.ClientSession() as session:
        assert not app.middlewares
        async with session.get(address) as response:
            assert response.status == 404
    assert counted(path).total == 1
    await asyncio.to_thread(REPORTERS.close)


async def echo(request: web.Request) -> web.WebSocketResponse:
    websocket = web.WebSocketResponse()
    await websocket.prepare(request)
    async for message in websocket:
        await websocket.send_str(message.data)
    return websocket


async def test_a_websocket_counts_while_it_is_open_and_its_messages_are_activity(
    daemon: DaemonEnd, path: Path
) -> None:
    app = web.Application()
    reporter = setup(app, socket=path, app="api")
    app.router.add_get("/chat", echo)
    async with served(app) as address, aiohttp.ClientSession() as session:
        assert app[REPORTER] is reporter
        assert not (await daemon.one()).used
        async with session.ws_connect(f"{address}/chat") as websocket:
            await daemon.until(lambda: daemon.websockets == 1 and daemon.requests == 0)
            for _ in range(3):
                before = counted(path).active_at
                await websocket.send_str("hello")
                assert await websocket.receive_str() == "hello"
                assert counted(path).active_at > before
            before = counted(path).active_at
            await websocket.ping()
            await websocket.send_str("last")
            await websocket.receive_str()
        await daemon.until(lambda: daemon.websockets == 0 and daemon.total == 1)


@pytest.mark.parametrize(
    ("options", "headers", "where", "total"),
    [
        ({"exclude": ["/healthz"]}, {}, "/healthz", 0),
        ({"exclude": ["/healthz"]}, {}, "/", 1),
        ({"exclude": lambda request: request.query["missing"]}, {}, "/", 1),
        ({"exclude": lambda request: request.query["probe"] == "1"}, {}, "/?probe=1", 0),
        ({"exclude": lambda request: request.match_info.http_exception is not None}, {}, "/", 0),
        ({"exclude_methods": ["GET"]}, {}, "/", 0),
        ({"exclude_user_agents": ["PROBE"]}, {"User-Agent": "probe"}, "/", 0),
        ({"exclude_headers": ["x-probe"]}, {"X-Probe": ""}, "/", 0),
        ({"websockets_count": False}, {"Upgrade": "WebSocket"}, "/", 0),
        ({"websockets_count": {"/dash": False}}, {"Upgrade": "websocket"}, "/dash", 0),
    ],
)
async def test_what_is_excluded_does_not_count(
    options: dict[str, Any], headers: dict[str, str], where: str, total: int, path: Path, application: Make
) -> None:
    async with served(application(**options)) as address, aiohttp.ClientSession() as session:
        async with session.get(address + where, headers=headers) as response:
            assert response.status == 404
    assert counted(path).total == total
    await asyncio.to_thread(REPORTERS.close)

"""For aiohttp's server.

    web.Application(middlewares=[activity_middleware(exclude=["/healthz"], app="api")])

or, which also reports a process that nobody has used yet: ``setup(application, exclude=["/healthz"], app="api")``.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from buttermilkd.web.activity import Activity
from buttermilkd.web.exclusion import Counted, Exclude, Exclusion, Patterns
from buttermilkd.web.reporter import REPORTERS, Reporter, Socket

REPORTER = web.AppKey("buttermilkd_reporter", Reporter)
"""Where ``setup`` leaves the reporter in the application."""


def activity_middleware(
    *,
    exclude: Exclude[web.Request] = (),
    exclude_methods: Patterns = (),
    exclude_user_agents: Patterns = (),
    exclude_headers: Patterns = (),
    websockets_count: bool | dict[str, bool] = True,
    socket: Socket = None,
    app: str | None = None,
) -> Middleware:
    """Report requests and websockets. To be the first of an application's middlewares.

    A request counts until its response is written, a websocket until its handler has returned; each message from
    its user is activity.

    Args:
        exclude: paths that do not count, a trailing ``*`` for whatever follows; or a predicate over the request.
        exclude_methods: likewise methods, such as ``OPTIONS``.
        exclude_user_agents: likewise parts of the header ``User-Agent``, in any case.
        exclude_headers: likewise requests with this header: ``name``, or ``name: text``.
        websockets_count: False where no websocket counts; or for each pattern of paths whether they do.
        socket: the daemon's activity socket, where it is not in its usual place.
        app: a name for people, shown in reasons; the program's by default.

    Raises:
        ValueError: ``app`` is empty, not printable or over 100 characters long.
    """
    activity = REPORTERS.reporter(app, "aiohttp", socket).activity
    exclusion = Exclusion[web.Request](
        exclude, exclude_methods, exclude_user_agents, exclude_headers, header=_header
    )
    excludes = exclusion.covers if exclusion else None
    counted = Counted(websockets_count)

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_websocket = "Upgrade" in request.headers and _is_websocket(request)
        if not (
            (excludes is not None and excludes(request, request.path, request.method))
            or (is_websocket and not counted.includes(request.path))
        ):
            _begin(request, activity, is_websocket=is_websocket)
        return await handler(request)

    return count


def setup(application: web.Application, **options: Any) -> Reporter:
    """Add the middleware, before those that are there, and report while the application runs.

    ``options`` are those of ``activity_middleware``, and so is what is raised.
    """
    application.middlewares.insert(0, activity_middleware(**options))
    reporter = REPORTERS.reporter(options.get("app"), "aiohttp", options.get("socket"))
    application[REPORTER] = reporter

    async def run(_application: web.Application) -> AsyncIterator[None]:
        reporter.start()
        yield
        reporter.settle()

    application.cleanup_ctx.append(run)
    return reporter


def _begin(request: web.Request, activity: Activity, *, is_websocket: bool) -> None:
    # The response is written after the handler has returned, by the task that each request has.
    task = asyncio.current_task()
    if task is None:
        return
    if is_websocket:
        activity.opened()
        task.add_done_callback(lambda _: activity.closed())
        _hear(request, activity)
    else:
        activity.begin()
        task.add_done_callback(lambda _: activity.end())


def _hear(request: web.Request, activity: Activity) -> None:
    """Have messages of the websocket count, once it is prepared: that is the only moment at which it is seen.

    Where aiohttp does not let itself be listened to, a websocket's opening alone is activity.
    """
    prepare: Callable[[web.StreamResponse], Awaitable[None]] | None = getattr(request, "_prepare_hook", None)
    if prepare is None:
        return

    async def prepared(response: web.StreamResponse) -> None:
        if isinstance(response, web.WebSocketResponse):
            _listen(response, activity)
        await prepare(response)

    with suppress(AttributeError):
        object.__setattr__(request, "_prepare_hook", prepared)


def _listen(websocket: web.WebSocketResponse, activity: Activity) -> None:
    receive: Callable[[float | None], Awaitable[Any]] = websocket.receive

    async def receive_of_user(timeout: float | None = None) -> Any:  # noqa: ASYNC109 - aiohttp's own signature
        message = await receive(timeout)
        if message.type in _MESSAGES:
            activity.touch()
        return message

    with suppress(AttributeError):
        object.__setattr__(websocket, "receive", receive_of_user)


_MESSAGES = frozenset({web.WSMsgType.TEXT, web.WSMsgType.BINARY})


def _is_websocket(request: web.Request) -> bool:
    return request.headers["Upgrade"].lower() == "websocket"


def _header(request: web.Request, name: str) -> str | None:
    return request.headers.get(name)

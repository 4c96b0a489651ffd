"""For aiohttp's server.

    web.Application(middlewares=[activity_middleware(exclude=["/healthz"], app="api")])

or, which also reports a process that nobody has used yet: ``setup(application, exclude=["/healthz"], app="api")``.
"""

import asyncio
from asyncio import current_task
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web
from aiohttp.hdrs import UPGRADE
from aiohttp.typedefs import Handler

from buttermilkd.web.activity import Activity, TaskActivity
from buttermilkd.web.exclusion import Counted, Exclude, Exclusion, Patterns
from buttermilkd.web.reporter import REPORTERS, Reporter, Socket

REPORTER = web.AppKey("buttermilkd_reporter", Reporter)
"""Where ``setup`` leaves the reporter in the application."""


class CountingMiddleware:
    """What ``activity_middleware`` gives."""

    __middleware_version__ = 1  # as ``web.middleware`` marks it

    def __init__(self, activity: TaskActivity, exclusion: Exclusion[web.Request], counted: Counted) -> None:
        self._activity = activity
        self._excludes = exclusion.covers if exclusion else None
        self._counted = counted
        self.needs_route = exclusion.has_predicate
        """Whether it can count only when the application has found the request's handler: a predicate may ask."""

    async def __call__(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.begin(request)
        return await handler(request)

    def begin(self, request: web.Request) -> None:
        """Count it, unless it is excluded, until its response is written. Never raises."""
        # The response is written after the handler has returned, by the task that each request has.
        task = current_task()
        if task is None or (
            self._excludes is not None and self._excludes(request, request.path, request.method)
        ):
            return
        if UPGRADE in request.headers and request.headers[UPGRADE].lower() == "websocket":
            self._open(request, task)
        else:
            self._activity.begin_by(task)

    def _open(self, request: web.Request, task: "asyncio.Task[Any]") -> None:
        if self._counted.includes(request.path):
            activity = self._activity
            activity.opened()
            task.add_done_callback(lambda _: activity.closed())
            _hear(request, activity)


def activity_middleware(
    *,
    exclude: Exclude[web.Request] = (),
    exclude_methods: Patterns = (),
    exclude_user_agents: Patterns = (),
    exclude_headers: Patterns = (),
    websockets_count: bool | dict[str, bool] = True,
    socket: Socket = None,
    app: str | None = None,
) -> CountingMiddleware:
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
    assert isinstance(activity, TaskActivity)  # noqa: S101 - as for all of this kind
    exclusion = Exclusion[web.Request](
        exclude, exclude_methods, exclude_user_agents, exclude_headers, header=_header
    )
    return CountingMiddleware(activity, exclusion, Counted(websockets_count))


def setup(application: web.Application, **options: Any) -> Reporter:
    """Count in front of all middlewares that are there, and report while the application runs.

    ``options`` are those of ``activity_middleware``, and so is what is raised. An application that is served itself
    has its requests counted before its first middleware, which costs least; one that is a part of another, or whose
    ``exclude`` is a predicate, by a middleware.
    """
    middleware = activity_middleware(**options)
    application.middlewares.insert(0, middleware)
    reporter = REPORTERS.reporter(options.get("app"), "aiohttp", options.get("socket"))
    application[REPORTER] = reporter

    async def run(_application: web.Application) -> AsyncIterator[None]:
        if not middleware.needs_route:
            _count_at_arrival(application, middleware)
        reporter.start()
        yield
        reporter.settle()

    application.cleanup_ctx.append(run)
    return reporter


def _count_at_arrival(application: web.Application, middleware: CountingMiddleware) -> None:
    """Do without the middleware where requests can be seen arriving: aiohttp does more for it than it does itself.

    They can where aiohttp serves them by ``_handle``, which is not public, and has not asked for it yet. It has not
    put together its middlewares then either; a part of another application has, and is not served itself.
    """
    make = getattr(getattr(type(application), "_make_handler", None), "__code__", None)
    handle: Handler | None = getattr(application, "_handle", None)
    if handle is None or "_handle" not in getattr(make, "co_names", ()):
        return
    if application.pre_frozen or middleware not in application.middlewares:
        return
    begin, serve = middleware.begin, handle

    def arrived(request: web.Request) -> Awaitable[web.StreamResponse]:
        begin(request)
        return serve(request)

    with suppress(AttributeError):
        object.__setattr__(application, "_handle", arrived)
        application.middlewares.remove(middleware)


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


def _header(request: web.Request, name: str) -> str | None:
    return request.headers.get(name)

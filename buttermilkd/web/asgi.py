"""For ASGI applications: FastAPI, Starlette, Django, Quart, and any other.

app.add_middleware(ActivityMiddleware, exclude=["/healthz"], app="api")
"""

from collections.abc import Awaitable, Callable
from typing import Any

from buttermilkd.web.exclusion import Counted, Exclude, Exclusion, Patterns
from buttermilkd.web.reporter import REPORTERS, Socket

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


class ActivityMiddleware:
    """Reports the requests and websockets of the application that it wraps.

    A request counts until the application returns: until its response has been streamed and its background tasks
    have ended. A websocket counts until then too, and each message from its user is activity.
    """

    def __init__(
        self,
        asgi: Application | None = None,
        /,
        *,
        exclude: Exclude[Any] = (),
        exclude_methods: Patterns = (),
        exclude_user_agents: Patterns = (),
        exclude_headers: Patterns = (),
        websockets_count: bool | dict[str, bool] = True,
        socket: Socket = None,
        app: Application | str | None = None,
        name: str | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            asgi: the application; older frameworks hand it over as ``app``.
            exclude: paths that do not count, a trailing ``*`` for whatever follows; or a predicate over the scope.
            exclude_methods: likewise methods, such as ``OPTIONS``.
            exclude_user_agents: likewise parts of the header ``User-Agent``, in any case.
            exclude_headers: likewise requests with this header: ``name``, or ``name: text``.
            websockets_count: False where no websocket counts; or for each pattern of paths whether they do.
            socket: the daemon's activity socket, where it is not in its usual place.
            app: a name for people, shown in reasons; the program's by default.
            name: the same, where the framework itself has a use for ``app``: FastAPI before 0.118.

        Raises:
            TypeError: there is no application.
            ValueError: the name is empty, not printable or over 100 characters long.
        """
        self._asgi, label = _told_apart(asgi, app)
        self._reporter = REPORTERS.reporter(label if name is None else name, "asgi", socket)
        self._activity = self._reporter.activity
        exclusion = Exclusion[Any](
            exclude, exclude_methods, exclude_user_agents, exclude_headers, header=_header
        )
        self._exclusion = exclusion or None
        self._counted = Counted(websockets_count)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._other(scope, receive, send)
        elif self._exclusion is not None and self._exclusion.covers(scope, scope["path"], scope["method"]):
            await self._asgi(scope, receive, send)
        else:
            self._activity.begin()
            try:
                await self._asgi(scope, receive, send)
            finally:
                self._activity.end()

    async def _other(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and self._counts(scope):
            await self._websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            self._reporter.start()
            try:
                await self._asgi(scope, receive, send)
            finally:
                self._reporter.settle()
        else:
            await self._asgi(scope, receive, send)

    def _counts(self, scope: Any) -> bool:
        path = scope["path"]
        if self._exclusion is not None and self._exclusion.covers(scope, path, ""):
            return False
        return self._counted.includes(path)

    async def _websocket(self, scope: Any, receive: Receive, send: Send) -> None:
        activity = self._activity

        async def receive_of_user() -> Any:
            message = await receive()
            if message["type"] == "websocket.receive":
                activity.touch()
            return message

        activity.opened()
        try:
            await self._asgi(scope, receive_of_user, send)
        finally:
            activity.closed()


def _told_apart(asgi: Application | None, app: Application | str | None) -> tuple[Application, str | None]:
    """The application, and its name for people."""
    if asgi is not None and (app is None or isinstance(app, str)):
        return asgi, app
    if asgi is None and app is not None and not isinstance(app, str):
        return app, None
    raise TypeError("ActivityMiddleware wraps one application, and takes its name as app or name")


def _header(scope: Any, name: str) -> str | None:
    wanted = name.encode("latin-1", "replace")
    return next((text.decode("latin-1") for key, text in scope["headers"] if key == wanted), None)

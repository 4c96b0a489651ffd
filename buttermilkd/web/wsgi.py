"""For WSGI applications: Flask, Django, and any other.

app.wsgi_app = ActivityMiddleware(app.wsgi_app, exclude=["/healthz"], app="site")
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from buttermilkd.web.exclusion import Exclude, Exclusion, Patterns
from buttermilkd.web.reporter import REPORTERS, Socket

Environ = dict[str, Any]
Application = Callable[[Environ, Any], Iterable[bytes]]


class ActivityMiddleware:
    """Reports the requests of the application that it wraps, from as many threads as there are.

    A request counts until the server closes the response, which it does when all of it is sent, or cannot be.
    """

    def __init__(
        self,
        wsgi: Application,
        /,
        *,
        exclude: Exclude[Environ] = (),
        exclude_methods: Patterns = (),
        exclude_user_agents: Patterns = (),
        exclude_headers: Patterns = (),
        socket: Socket = None,
        app: str | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            wsgi: the application.
            exclude: paths that do not count, a trailing ``*`` for whatever follows; or a predicate over the environment.
            exclude_methods: likewise methods, such as ``OPTIONS``.
            exclude_user_agents: likewise parts of the header ``User-Agent``, in any case.
            exclude_headers: likewise requests with this header: ``name``, or ``name: text``.
            socket: the daemon's activity socket, where it is not in its usual place.
            app: a name for people, shown in reasons; the program's by default.

        Raises:
            ValueError: ``app`` is empty, not printable or over 100 characters long.
        """
        self._wsgi = wsgi
        self._activity = REPORTERS.reporter(app, "wsgi", socket).activity
        exclusion = Exclusion[Environ](
            exclude, exclude_methods, exclude_user_agents, exclude_headers, header=_header
        )
        self._exclusion = exclusion or None

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if self._exclusion is not None and self._exclusion.covers(
            environ, _path(environ), environ["REQUEST_METHOD"]
        ):
            return self._wsgi(environ, start_response)
        self._activity.begin()
        try:
            response = self._wsgi(environ, start_response)
        except BaseException:
            self._activity.end()
            raise
        return _counted(response, environ.get("wsgi.file_wrapper"), self._activity.end)


def _counted(response: Iterable[bytes], file_wrapper: Any, end: Callable[[], None]) -> Iterable[bytes]:
    """A response like this one, which ends the request when it is closed."""
    if isinstance(file_wrapper, type) and isinstance(response, file_wrapper):
        # Servers send such a file their own way, and know it by its type.
        ending = _Ending(end, getattr(response, "close", None))
        try:
            response.close = ending.close  # type: ignore[attr-defined]
        except (AttributeError, TypeError):
            ending.forget()
        else:
            return response
    if hasattr(response, "__len__"):
        return SizedResponse(response, end)
    return Response(response, end)


class _Ending:
    """Ends a request once: when its response is closed, or is forgotten without that."""

    def __init__(self, end: Callable[[], None], close: Callable[[], object] | None) -> None:
        self._end: Callable[[], None] | None = end
        self._close = close

    def close(self) -> None:
        try:
            if self._close is not None:
                self._close()
        finally:
            self._finish()

    def forget(self) -> None:
        """Somebody else ends the request."""
        self._end = None

    def _finish(self) -> None:
        end, self._end = self._end, None
        if end is not None:
            end()

    def __del__(self) -> None:
        self._finish()


class Response(_Ending):
    """What an application has answered."""

    def __init__(self, response: Iterable[bytes], end: Callable[[], None]) -> None:
        super().__init__(end, getattr(response, "close", None))
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._response)


class SizedResponse(Response):
    """Servers ask how many parts there are, to send a length where there is one."""

    def __len__(self) -> int:
        return len(self._response)  # type: ignore[arg-type]


def _path(environ: Environ) -> str:
    """The whole path as people write it: WSGI hands over the bytes of UTF-8 as if they were Latin-1."""
    path = f"{environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


def _header(environ: Environ, name: str) -> str | None:
    key = name.upper().replace("-", "_")
    found = environ.get(key if key in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{key}")
    return None if found is None else str(found)

"""What is no use of the web server by people: health checks, scrapes, monitors, pages that refresh themselves."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")
"""What the framework knows of a request: an ASGI scope, a WSGI environment, aiohttp's request."""

_CO_COROUTINE = 0x80
"""As in ``inspect``, which takes long to import."""

Patterns = str | Iterable[str]
"""Paths; a trailing ``*`` stands for whatever follows."""
Exclude = Patterns | Callable[[T], object]
"""Paths, or a predicate; one that raises excludes nothing."""


class Paths:
    """Paths that are named in full, or by how they begin."""

    def __init__(self, patterns: Patterns) -> None:
        named = [patterns] if isinstance(patterns, str) else list(patterns)
        self.exact = frozenset(name for name in named if not name.endswith("*"))
        self.prefixes = tuple(name.removesuffix("*") for name in named if name.endswith("*"))

    def match(self, path: str) -> bool:
        return path in self.exact or path.startswith(self.prefixes)


class Exclusion(Generic[T]):
    """Whatever matches one of these is not counted. False where nothing ever does."""

    def __init__(
        self,
        exclude: Exclude[T],
        methods: Patterns,
        user_agents: Patterns,
        headers: Patterns,
        *,
        header: Callable[[T, str], str | None],
    ) -> None:
        """``header`` gives what a request says in the one of this name, in lower case; None where it is not there.

        ``user_agents`` are parts of that header's text in any case. A header is given as ``name``, whatever it
        says, or as ``name: text``.
        """
        self._header = header
        self._predicate = _at_once(exclude) if callable(exclude) else None
        self.has_predicate = self._predicate is not None
        paths = Paths(() if callable(exclude) else exclude)
        self._exact, self._prefixes = paths.exact, paths.prefixes
        self._methods = frozenset(method.upper() for method in _several(methods))
        self._user_agents = tuple(agent.lower() for agent in _several(user_agents))
        self._headers = tuple(_named(one) for one in _several(headers))
        self._looks_inside = bool(self._predicate or self._user_agents or self._headers)

    def __bool__(self) -> bool:
        return bool(self._exact or self._prefixes or self._methods or self._looks_inside)

    def covers(self, request: T, path: str, method: str) -> bool:
        """Whether it is not to be counted. Never raises."""
        # Mostly there are paths only: these cost next to nothing.
        if path in self._exact or path.startswith(self._prefixes) or method in self._methods:
            return True
        return self._looks_inside and self._covers_inside(request)

    def _covers_inside(self, request: T) -> bool:
        return (
            (self._predicate is not None and self._is_predicted(request))
            or (bool(self._user_agents) and self._has_user_agent(request))
            or any(self._says(request, name, text) for name, text in self._headers)
        )

    def _is_predicted(self, request: T) -> bool:
        with suppress(Exception):
            answer = self._predicate and self._predicate(request)
            return bool(answer) and not hasattr(answer, "__await__")
        return False

    def _has_user_agent(self, request: T) -> bool:
        told = (self._header(request, "user-agent") or "").lower()
        return any(agent in told for agent in self._user_agents)

    def _says(self, request: T, name: str, text: str | None) -> bool:
        said = self._header(request, name)
        return said is not None and (text is None or said.strip() == text)


def _at_once(predicate: Callable[[T], object]) -> Callable[[T], object]:
    """Raises TypeError: it is an ``async def``, whose answer would come too late."""
    for call in (predicate, getattr(type(predicate), "__call__", None)):  # noqa: B004 - the function itself is wanted
        code = getattr(call, "__code__", None)
        if code is not None and code.co_flags & _CO_COROUTINE:
            raise TypeError(
                "exclude cannot be an async function: whether a request counts is decided at once"
            )
    return predicate


class Counted:
    """Which websockets count, by their paths: all, none, or as the first pattern says that matches."""

    def __init__(self, counts: "bool | dict[str, bool]") -> None:
        """A path that no pattern matches counts."""
        patterns = {"*": counts} if isinstance(counts, bool) else counts
        self._rules = [(Paths(pattern), is_counted) for pattern, is_counted in patterns.items()]

    def includes(self, path: str) -> bool:
        return next((is_counted for paths, is_counted in self._rules if paths.match(path)), True)


def _several(names: Patterns) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _named(header: str) -> tuple[str, str | None]:
    name, colon, text = header.partition(":")
    return name.strip().lower(), text.strip() if colon else None

"""The WSGI middleware, driven as servers drive it."""

import gc
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.handlers import SimpleHandler
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

from buttermilkd.web.activity import Activity
from buttermilkd.web.reporter import REPORTERS
from buttermilkd.web.wsgi import ActivityMiddleware


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "activity.sock"
    REPORTERS.close()


def counted(path: Path) -> Activity:
    return REPORTERS.reporter("site", "wsgi", path).activity


def environ(path: str = "/", **more: str) -> dict[str, Any]:
    made: dict[str, Any] = {"PATH_INFO": path, "SCRIPT_NAME": ""}
    setup_testing_defaults(made)
    return made | more


def wrapped(path: Path, answer: Callable[[dict[str, Any]], Iterable[bytes]], **options: Any) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return answer(environ)

    return ActivityMiddleware(application, socket=path, app="site", **options)


def ignore(*_: Any) -> Callable[[bytes], object]:
    return lambda _: None


def test_a_request_counts_until_the_response_is_closed(path: Path) -> None:
    response = wrapped(path, lambda _: (part for part in (b"a", b"b")))(environ(), ignore)
    assert counted(path).requests == 1
    assert list(response) == [b"a", b"b"]
    assert counted(path).requests == 1
    response.close()
    response.close()
    assert (counted(path).requests, counted(path).total) == (0, 1)


def test_the_responses_own_close_is_called_once_even_if_it_fails(path: Path) -> None:
    class Failing(list[bytes]):
        def close(self) -> None:
            raise RuntimeError("the application's own")

    response = wrapped(path, lambda _: Failing([b"a"]))(environ(), ignore)
    with pytest.raises(RuntimeError, match="the application's own"):
        response.close()
    assert counted(path).requests == 0


def test_an_error_of_the_application_ends_the_request_and_is_passed_on(path: Path) -> None:
    def fail(_environ: dict[str, Any]) -> list[bytes]:
        raise RuntimeError("the application's own")

    with pytest.raises(RuntimeError, match="the application's own"):
        wrapped(path, fail)(environ(), ignore)
    assert (counted(path).requests, counted(path).total) == (0, 1)


def test_a_response_that_nobody_closes_ends_when_it_is_forgotten(path: Path) -> None:
    app = wrapped(path, lambda _: [b"a"])
    app(environ(), ignore)
    gc.collect()
    assert (counted(path).requests, counted(path).total) == (0, 1)


def test_a_response_has_as_many_parts_as_before(path: Path) -> None:
    assert len(wrapped(path, lambda _: [b"a"])(environ(), ignore)) == 1
    assert not hasattr(wrapped(path, lambda _: iter([b"a"]))(environ(), ignore), "__len__")


def test_a_server_still_knows_the_length_of_one_part(path: Path) -> None:
    output = io.BytesIO()
    SimpleHandler(io.BytesIO(), output, io.StringIO(), environ()).run(wrapped(path, lambda _: [b"hello"]))
    assert b"Content-Length: 5" in output.getvalue()
    assert counted(path).requests == 0


def test_it_keeps_to_the_standard_as_its_validator_checks_it(path: Path) -> None:
    output, errors = io.BytesIO(), io.StringIO()

    def application(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return iter([b"hello"])

    app = validator(ActivityMiddleware(validator(application), socket=path, app="site"))
    SimpleHandler(io.BytesIO(), output, errors, environ(QUERY_STRING="")).run(app)
    assert b"hello" in output.getvalue(), errors.getvalue()
    assert errors.getvalue() == ""


def test_a_file_reaches_the_server_as_the_servers_own_wrapper_and_ends_with_its_close(path: Path) -> None:
    file = io.BytesIO(b"content")
    response = wrapped(path, lambda environ: environ["wsgi.file_wrapper"](file))(
        environ() | {"wsgi.file_wrapper": FileWrapper}, ignore
    )
    assert isinstance(response, FileWrapper)
    assert b"".join(response) == b"content"
    assert counted(path).requests == 1
    response.close()
    assert file.closed
    assert counted(path).requests == 0


def test_a_wrapper_that_cannot_be_listened_to_is_wrapped_itself(path: Path) -> None:
    class Sealed(FileWrapper):
        __slots__ = ()

        def __setattr__(self, name: str, value: object) -> None:
            if name == "close" and hasattr(self, "close"):
                raise AttributeError(name)
            super().__setattr__(name, value)

    response = wrapped(path, lambda environ: environ["wsgi.file_wrapper"](io.BytesIO(b"content")))(
        environ() | {"wsgi.file_wrapper": Sealed}, ignore
    )
    assert not isinstance(response, Sealed)
    assert counted(path).requests == 1
    assert b"".join(response) == b"content"
    response.close()
    assert (counted(path).requests, counted(path).total) == (0, 1)


@pytest.mark.parametrize(
    ("options", "request_", "total"),
    [
        ({"exclude": ["/healthz"]}, environ("/healthz"), 0),
        ({"exclude": ["/app/healthz"]}, environ("/healthz", SCRIPT_NAME="/app"), 0),
        ({"exclude": ["/grüße"]}, environ("/grüße".encode().decode("latin-1")), 0),
        ({"exclude": lambda environ: environ["missing"]}, environ(), 1),
        ({"exclude_methods": "OPTIONS"}, environ(REQUEST_METHOD="OPTIONS"), 0),
        ({"exclude_user_agents": ["probe"]}, environ(HTTP_USER_AGENT="A probe"), 0),
        ({"exclude_headers": ["Content-Type: text/probe"]}, environ(CONTENT_TYPE="text/probe"), 0),
    ],
)
def test_what_is_excluded_does_not_count(
    options: dict[str, Any], request_: dict[str, Any], total: int, path: Path
) -> None:
    response = wrapped(path, lambda _: [b"a"], **options)(request_, ignore)
    assert list(response) == [b"a"]
    assert counted(path).total == total


def test_threads_lose_no_count(path: Path) -> None:
    app = wrapped(path, lambda _: [b"a"])

    def visit() -> None:
        for _ in range(2000):
            app(environ(), ignore).close()

    visitors = [threading.Thread(target=visit) for _ in range(8)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert (counted(path).requests, counted(path).total) == (0, 16_000)

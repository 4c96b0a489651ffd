"""HTTP over the control socket: one connection for each request, and errors as those of ``buttermilkd.errors``."""

import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from buttermilkd.errors import (
    BY_KIND,
    ButtermilkError,
    InvalidRequestError,
    MisconfiguredError,
    NotPermittedError,
    NotRunningError,
    TimedOutError,
    UnavailableError,
)

Body = bytes | Iterable[bytes]

_CHUNK = 64 * 1024


class NoAnswerError(UnavailableError):
    """The connection broke before an answer came: the request was carried out, or it was not."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("buttermilkd", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.close()
            raise


class Transport:
    """Sends requests to the daemon that listens on one Unix socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: set[socket.socket] = set()
        self._closed = False

    @contextmanager
    def exchange(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Send one request and give its answer, which is not an error; the connection ends with the block.

        ``timeout`` is in seconds of silence: None waits for as long as it takes.

        Raises:
            NotRunningError, NotPermittedError: nobody listens, or this user may not connect.
            NoAnswerError: the connection broke.
            TimedOutError: no answer within ``timeout``.
            ButtermilkError: what the daemon answered, as the class of its ``kind``.
        """
        connection = _Connection(self.path, timeout)
        self._connect(connection)
        sock = connection.sock
        self._open.add(sock)
        try:
            if self._closed:
                raise NoAnswerError("cannot call buttermilkd: this client is closed")
            with _broken_connections(timeout):
                # A daemon may refuse before it has read the whole body: then its answer is there to be read.
                with suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(
                        method,
                        f"{path}{_encoded(query)}",
                        body=body,
                        headers={"Accept": "application/json", **(headers or {})},
                        encode_chunked=body is not None and not isinstance(body, bytes),
                    )
                with connection.getresponse() as response:
                    if response.status >= HTTPStatus.BAD_REQUEST:
                        raise _problem(response.status, response.read())
                    yield response
        finally:
            self._open.discard(sock)
            connection.close()
            sock.close()

    def close(self) -> None:
        """Break off what is under way in other threads, and refuse what comes later: ``NoAnswerError``."""
        self._closed = True
        for sock in list(self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _connect(self, connection: _Connection) -> None:
        try:
            connection.connect()
        except PermissionError as error:
            raise NotPermittedError(
                f"cannot reach buttermilkd: this user may not connect to {self.path}",
                hint=_how_to_be_allowed(self.path),
            ) from error
        except OSError as error:
            why = {
                FileNotFoundError: "there is no such socket",
                ConnectionRefusedError: "nobody listens on it any more",
            }.get(type(error), str(error))
            raise NotRunningError(
                f"cannot reach buttermilkd: {self.path}: {why}",
                hint="systemctl start buttermilkd · journalctl -u buttermilkd -e"
                " (or run buttermilkd in another terminal; --socket names another socket)",
            ) from error


def _how_to_be_allowed(path: Path) -> str:
    """What lets this user connect to a socket: membership of its group counts from the next login on."""
    import grp  # noqa: PLC0415 - only who is refused needs these
    import pwd  # noqa: PLC0415

    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(path.stat().st_gid)
    except (KeyError, OSError):
        return "ask an administrator for `sudo usermod -aG buttermilk NAME`, then log in again"
    if user in group.gr_mem:
        return f"log in again: {user} has been in the group {group.gr_name} only since this session began"
    return f"sudo usermod -aG {group.gr_name} {user}, then log in again"


def chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The body as it arrives."""
    while chunk := response.read1(_CHUNK):
        yield chunk


def lines(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The lines of the body as they arrive, without blank ones, which only keep the connection alive."""
    rest = b""
    for chunk in chunks(response):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def document(text: bytes) -> Any:
    """The JSON value in an answer.

    Raises:
        UnavailableError: it is none, so what listens there is not buttermilkd.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise UnavailableError(
            "cannot understand the answer: it is not JSON",
            hint="check that buttermilkd, in a version like this one, listens on this socket",
        ) from error


def _encoded(query: Mapping[str, Any] | None) -> str:
    """The query string; what is None or False is left out, and True is ``1``."""
    items = {name: 1 if value is True else value for name, value in (query or {}).items()}
    wanted = {name: value for name, value in items.items() if value is not None and value is not False}
    return f"?{urlencode(wanted)}" if wanted else ""


@contextmanager
def _broken_connections(timeout: float | None) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise TimedOutError(
            f"cannot get an answer from buttermilkd: it said nothing for {timeout:g} s",
            hint="look at its log: journalctl -u buttermilkd -e",
        ) from error
    except (http.client.HTTPException, ConnectionError) as error:
        raise NoAnswerError(
            "cannot get an answer from buttermilkd: the connection broke"
            + (f" ({error})" if str(error) else ""),
            hint="it may have stopped or restarted: journalctl -u buttermilkd -e",
        ) from error


def _problem(status: int, body: bytes) -> ButtermilkError:
    """The error that a problem document stands for."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {"detail": body.decode(errors="replace").strip()[:200]}
    message = str(
        problem.get("detail") or problem.get("title") or f"the daemon answered with status {status}"
    )
    hint = problem.get("hint")
    kind = problem.get("kind")
    if kind == MisconfiguredError.kind:
        return MisconfiguredError(message, problems=tuple(problem.get("problems") or ()), hint=hint)
    error = BY_KIND.get(str(kind)) or (
        InvalidRequestError if status == HTTPStatus.BAD_REQUEST else ButtermilkError
    )
    standard = {"type", "title", "status", "detail", "kind", "hint", "message"}
    return error(
        message, hint=hint, **{name: value for name, value in problem.items() if name not in standard}
    )

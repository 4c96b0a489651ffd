"""Real web servers that run the examples, each in processes of its own, and people who use them."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples" / "web"

UVICORN = ("-m", "uvicorn", "--log-level", "warning", "--fd", "{fd}")
GUNICORN = ("-m", "gunicorn", "--log-level", "warning", "--bind", "fd://{fd}")
AIOHTTP = (
    "-c",
    """
import socket, sys
from aiohttp import web
from with_aiohttp import app
web.run_app(app, sock=socket.socket(fileno=int(sys.argv[1])), print=None)
""",
    "{fd}",
)


@dataclass(frozen=True)
class Kind:
    """One way to serve one example."""

    name: str
    command: tuple[str, ...]
    workers: int = 1
    websockets: bool = True

    def __str__(self) -> str:
        return self.name


UVICORN_FASTAPI = Kind("FastAPI by uvicorn", (*UVICORN, "with_fastapi:app"))
UVICORN_WORKERS = Kind(
    "FastAPI by four workers of uvicorn", (*UVICORN, "--workers", "4", "with_fastapi:app"), 4
)
UVICORN_PLAIN = Kind("plain ASGI by uvicorn", (*UVICORN, "plain_asgi:app"))
UVICORN_DJANGO = Kind("Django by uvicorn", (*UVICORN, "with_django:asgi"), websockets=False)
GUNICORN_UVICORN = Kind(
    "Starlette by gunicorn with workers of uvicorn",
    (*GUNICORN, "--workers", "2", "-k", "uvicorn_worker.UvicornWorker", "with_starlette:app"),
    2,
)
GUNICORN_THREADS = Kind(
    "Flask by gunicorn with threads",
    (*GUNICORN, "--workers", "2", "--threads", "4", "with_flask:app"),
    2,
    websockets=False,
)
GUNICORN_PRELOAD = Kind(
    "Flask by gunicorn, loaded before it forks",
    (*GUNICORN, "--preload", "--workers", "2", "with_flask:app"),
    2,
    websockets=False,
)
GUNICORN_DJANGO = Kind("Django by gunicorn", (*GUNICORN, "with_django:wsgi"), websockets=False)
GUNICORN_PLAIN = Kind("plain WSGI by gunicorn", (*GUNICORN, "plain_wsgi:app"), websockets=False)
GUNICORN_AIOHTTP = Kind(
    "aiohttp by gunicorn", (*GUNICORN, "-k", "aiohttp.GunicornWebWorker", "with_aiohttp:app")
)
RUN_APP = Kind("aiohttp by itself", AIOHTTP)
KINDS = (
    UVICORN_FASTAPI,
    UVICORN_WORKERS,
    UVICORN_PLAIN,
    UVICORN_DJANGO,
    GUNICORN_UVICORN,
    GUNICORN_THREADS,
    GUNICORN_PRELOAD,
    GUNICORN_DJANGO,
    GUNICORN_PLAIN,
    GUNICORN_AIOHTTP,
    RUN_APP,
)


class Served:
    """A web server that runs."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def get(self, path: str = "/") -> int:
        """The status of one request."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status

    def answers(self) -> bool:
        """Whether one request is answered well: workers that end may drop a connection that they have not read from."""
        with suppress(ConnectionError):
            return self.get() == HTTPStatus.OK
        return False

    @contextmanager
    def request(self) -> Iterator[http.client.HTTPConnection]:
        """A request that is in flight for as long as this lasts: the server waits for its body."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest("POST", "/upload")
            connection.putheader("Content-Length", "4")
            connection.endheaders()
            yield connection

    @contextmanager
    def finished_request(self) -> Iterator[None]:
        """Likewise, answered in the end."""
        with self.request() as connection:
            yield
            finish(connection)


def finish(connection: http.client.HTTPConnection) -> None:
    """Send the body that the server waits for, and take its answer."""
    connection.send(b"data")
    answer = connection.getresponse()
    assert (answer.status, b"4" in answer.read()) == (200, True)


@contextmanager
def serving(kind: Kind, activity: Path, folder: Path) -> Iterator[Served]:
    """This server, on a port of its own; its processes report to this activity socket."""
    # gunicorn makes files in its user's home.
    environment = {"BUTTERMILKD_ACTIVITY_SOCKET": str(activity), "HOME": str(folder)}
    with launched(kind.command, EXAMPLES, folder / "web.log", environment) as server:
        yield server


@contextmanager
def launched(
    command: tuple[str, ...], directory: Path, log: Path, environment: dict[str, str]
) -> Iterator[Served]:
    """A server that Python runs in this directory, on a port of its own; it is killed in the end, if need be."""
    with socket.socket() as listener, log.open("ab") as out:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        fd = listener.fileno()
        process = subprocess.Popen(
            [sys.executable, *(part.format(fd=fd) for part in command)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd=directory,
            env=os.environ | environment,
            pass_fds=(fd,),
            start_new_session=True,
        )
        port = listener.getsockname()[1]
    try:
        yield Served(process, port, log)
    finally:
        # All of its processes, which are a group of their own.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

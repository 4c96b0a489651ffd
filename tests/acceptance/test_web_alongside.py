"""A daemon beside a web server: started by one of its workers, and gone with the last of them."""

import json
import os
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from buttermilkd.client import Client
from tests.acceptance.program import Daemon, processes_with, until
from tests.acceptance.web_servers import AIOHTTP, EXAMPLES, UVICORN, Served, launched
from tests.unmoved import UNMOVED

IDLE = f'[idle]\nquiet_for = "1s"\nsettle_for = "100ms"\n{UNMOVED}'
COUNT = '[flows.count]\ncommand = ["sh", "-c", "printf %s \\"$0\\" | wc -w", "{record_id}"]'


class Study:
    """The example with a daemon of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "buttermilkd.toml"
        self.config.write_text(
            f'[daemon]\nstate_dir = "state"\nruntime_dir = "run"\ndrain_timeout = "1s"\n{IDLE}\n{COUNT}\n'
        )
        shutil.copy(EXAMPLES / "with_daemon.py", folder)
        self.log = folder / "web.log"
        self.client = Client(config=self.config)

    @contextmanager
    def serve(self, command: tuple[str, ...], **variables: str) -> Iterator["Server"]:
        environment = {"TEST_FOLDER": str(self.folder), **variables}
        with launched(command, self.folder, self.log, environment) as served:
            yield Server(served)

    def daemons(self) -> list[int]:
        return [pid for pid in processes_with(str(self.folder)) if b"--lifeline" in _command(pid)]

    def until_daemon(self, but: int | None = None) -> int:
        """The pid of the one daemon, once it answers and is another one."""
        until(lambda: self.answers() and self.daemons() not in ([], [but]), "the daemon's answer")
        (pid,) = self.daemons()
        return pid

    def answers(self) -> bool:
        with suppress(Exception):
            return bool(self.client.info())
        return False

    def until_gone(self) -> None:
        until(lambda: not self.daemons(), "the daemon's end")


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


class Server:
    """The web server, as its users and its administrator see it."""

    def __init__(self, served: Served) -> None:
        self.process = served.process
        self._port = served.port

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self._port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def workers(self) -> list[int]:
        """The processes that report, which are not its master."""
        return [
            one.pid
            for one in psutil.Process(self.process.pid).children()
            if "spawn_main" in str(one.cmdline())
        ]

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


ONE = (*UVICORN, "with_daemon:app")
FOUR = (*UVICORN, "--workers", "4", "with_daemon:app")


@pytest.fixture
def study() -> Iterator[Study]:
    # Not tmp_path: a Unix socket's path may have no more than 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    yield Study(folder)
    until(lambda: not processes_with(str(folder)), "the end of every process")
    shutil.rmtree(folder)


def test_a_batch_that_a_handler_creates_completes_with_no_daemon_running_before(study: Study) -> None:
    with study.serve(ONE) as server:
        batch = server.ask("/batches", ["one", "two words"])
        assert batch["jobs"] == 2
        path = f"/batches/{batch['batch_id']}"
        until(lambda: server.ask(path)["status"] == "completed", "the end of the batch")
        assert server.ask(f"{path}/results") == [1, 2]
        assert [one["app"] for one in study.client.status()["reporters"]] == ["study"]
        server.stop()
        assert study.daemons() == []
    log = study.log.read_text()
    assert "is ready: 1 flow" in log
    assert log.rstrip().endswith("stopped")


def test_four_workers_have_one_daemon_which_outlives_all_but_the_last_of_them(study: Study) -> None:
    with study.serve(FOUR) as server:
        first = study.until_daemon()
        until(lambda: len(study.client.status()["reporters"]) == 4, "a report of each worker")
        for worker in server.workers():
            os.kill(worker, signal.SIGKILL)  # uvicorn starts another one
            until(lambda worker=worker: not Path(f"/proc/{worker}").exists(), "the worker's end")  # type: ignore[misc]
            until(lambda: len(study.client.status()["reporters"]) == 4, "a report of each worker")
        assert study.until_daemon() == first
        server.stop()
        study.until_gone()


def test_a_web_server_that_is_killed_leaves_no_daemon(study: Study) -> None:
    with study.serve(FOUR) as server:
        study.until_daemon()
        os.killpg(server.process.pid, signal.SIGKILL)
        study.until_gone()


def test_a_daemon_that_dies_is_followed_by_another_one(study: Study) -> None:
    with study.serve(ONE) as server:
        first = study.until_daemon()
        os.kill(first, signal.SIGKILL)
        assert study.until_daemon(but=first) != first
        server.stop()
        study.until_gone()


def test_a_daemon_that_runs_already_is_left_alone(study: Study) -> None:
    daemon = Daemon(study.folder)
    daemon.config.write_text(study.config.read_text())
    daemon.start()
    try:
        with study.serve(ONE) as server:
            until(lambda: study.client.status()["reporters"], "the web server's report")
            assert study.daemons() == []
            server.stop()
        assert study.answers()
    finally:
        daemon.stop()


def test_a_daemon_that_cannot_start_says_why_once_and_the_server_serves(study: Study) -> None:
    study.config.write_text(study.config.read_text() + "[daemn]\n")
    with study.serve(ONE) as server:
        until(lambda: "cannot start: see what it says above" in study.log.read_text(), "the daemon's refusal")
        with pytest.raises(urllib.error.HTTPError, match="503"):
            server.ask("/batches", ["one"])
        server.stop()
    assert study.log.read_text().count('daemn: unknown key; did you mean "daemon"?') == 1


def test_an_aiohttp_application_has_one_as_well(study: Study) -> None:
    (study.folder / "with_aiohttp.py").write_text(
        "from aiohttp import web\nfrom buttermilkd.web.lifespan import cleanup_context\n"
        "app = web.Application()\napp.cleanup_ctx.append(cleanup_context('buttermilkd.toml'))\n"
    )
    with study.serve(AIOHTTP) as server:
        study.until_daemon()
        server.stop()
        study.until_gone()


def test_a_variable_that_names_a_socket_for_clients_leads_nobody_astray(study: Study) -> None:
    with study.serve(ONE, BUTTERMILKD_CONTROL_SOCKET="/nowhere.sock") as server:
        study.until_daemon()
        until(lambda: study.client.status()["reporters"], "the web server's report")
        server.stop()
        study.until_gone()


def test_a_runtime_directory_that_was_removed_is_made_again(study: Study) -> None:
    with study.serve(ONE) as server:
        first = study.until_daemon()
        shutil.rmtree(study.folder / "run")
        os.kill(first, signal.SIGKILL)
        second = study.until_daemon(but=first)
        until(lambda: study.client.status()["reporters"], "the web server's report")
        assert study.daemons() == [second]
        server.stop()
        study.until_gone()

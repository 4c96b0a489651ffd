"""Jobs that run when people arrive: a real web server, real requests, real processes that burn a CPU."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance.program import Daemon, until
from tests.acceptance.web_server import WebServer, serving
from tests.unmoved import UNMOVED

SOON = f'[idle]\nquiet_for = "1s"\nsettle_for = "100ms"\nsuspend_min = "0s"\n{UNMOVED}'
BURN = "while ! [ -e finish ]; do :; done"
"""A job that uses a whole CPU until it may finish."""


def flow(on_busy: str, script: str = BURN, **settings: str) -> str:
    lines = [f'[flows.{on_busy}]\ncommand = ["sh", "-c", "{script}"]', f'on_busy = "{on_busy}"']
    return "\n".join([*lines, *(f"{name} = {value}" for name, value in settings.items())])


def used(pid: int) -> int:
    """CPU time of a process, in clock ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def job(daemon: Daemon) -> dict[str, Any]:
    """The one job that runs."""
    running = daemon.client.status()["running"]
    assert len(running) == 1
    return dict(running[0])


def suspended(daemon: Daemon) -> int:
    """The pid of the one job, once it is suspended and the kernel says so too."""
    found = until(lambda: one if (one := job(daemon))["suspended_at"] else None, "the suspension")
    pid = int(found["pid"])
    until(lambda: _stopped(pid), "the stop")
    return pid


def _stopped(pid: int) -> bool:
    """A shell may wait in vfork for a child of its that has been stopped before it could exec."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in ("T", "D")


def goes_on(daemon: Daemon, pid: int) -> None:
    before = used(pid)
    until(lambda: job(daemon)["suspended_at"] is None, "the resumption")
    until(lambda: used(pid) > before, "work after the resumption")


@contextmanager
def scene(daemon: Daemon, flows: str, name: str) -> Iterator[WebServer]:
    """A web server that nobody uses, and one job of this flow that runs."""
    daemon.write(flows, idle=SOON)
    daemon.start()
    with serving(daemon.activity) as server:
        until(lambda: daemon.client.status()["reporters"], "the web server's report")
        daemon.client.create(name, records=["r"], batch_id="b")
        daemon.running(1)
        yield server


@contextmanager
def request(daemon: Daemon, server: WebServer) -> Iterator[None]:
    """A request that is in flight for as long as this lasts."""
    answer = daemon.folder / "answer"
    client = server.request(f"/hold?until={answer}")
    try:
        yield
    finally:
        answer.touch()
        client.wait(30)
        answer.unlink()


def finish(daemon: Daemon) -> None:
    (daemon.folder / "finish").touch()
    assert daemon.ended("b")["completed"] == 1


def test_a_request_stops_a_running_job_and_it_goes_on_when_everybody_has_gone(daemon: Daemon) -> None:
    with scene(daemon, flow("suspend"), "suspend") as server:
        with request(daemon, server):
            pid = suspended(daemon)
            before = used(pid)
            waiting = daemon.client.batch("b")["waiting_for"]
            assert waiting is not None
            assert waiting.startswith("1 job is suspended: 1 request in flight")
            assert "suspended for" in daemon.ctl("status").stdout
            assert daemon.client.job("b.1")["suspended_at"] is not None
            assert daemon.jobs("b")[0]["suspended_at"] is not None
            assert "running (suspended)" in daemon.ctl("jobs", "b").stdout
            assert used(pid) == before
        cooling = until(
            lambda: s if (s := daemon.client.status())["state"] == "cooling" else None, "the cool-down"
        )
        assert "suspended jobs resume in" in cooling["sentence"]
        goes_on(daemon, pid)
        assert daemon.client.job("b.1")["suspended_at"] is None
        finish(daemon)


def test_a_websocket_message_stops_it_and_an_open_websocket_alone_does_not(daemon: Daemon) -> None:
    async def chat(port: int) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/chat") as websocket,
        ):
            await asyncio.to_thread(goes_on, daemon, await asyncio.to_thread(suspended, daemon))
            await websocket.send_str("hello")
            assert (await websocket.receive_str()) == "hello"
            pid = await asyncio.to_thread(suspended, daemon)
            assert "1 websocket open" in (await asyncio.to_thread(daemon.client.status))["sentence"]
            await asyncio.to_thread(goes_on, daemon, pid)

    with scene(daemon, flow("suspend"), "suspend") as server:
        asyncio.run(chat(server.port))


def test_what_shall_finish_goes_on_while_people_are_there(daemon: Daemon) -> None:
    with scene(daemon, flow("finish"), "finish") as server, request(daemon, server):
        until(lambda: daemon.client.status()["state"] == "busy", "the gate's closing")
        pid = int(job(daemon)["pid"])
        before = used(pid)
        until(lambda: used(pid) > before, "work beside a request")
        finish(daemon)
        assert daemon.client.status()["state"] == "busy"


def test_what_shall_be_requeued_is_ended_given_back_and_begun_again(daemon: Daemon) -> None:
    with scene(daemon, flow("requeue"), "requeue") as server:
        first = int(job(daemon)["pid"])
        with request(daemon, server):
            until(lambda: daemon.client.batch("b")["pending"] == 1, "the job's return")
            until(lambda: not Path(f"/proc/{first}").exists(), "the end of its process")
        daemon.running(1)
        finish(daemon)
        assert daemon.client.job("b.1")["attempt"] == 1


def test_a_web_server_that_crashes_in_the_middle_of_a_request_is_waited_for(daemon: Daemon) -> None:
    with scene(daemon, flow("suspend"), "suspend") as server, request(daemon, server):
        pid = suspended(daemon)
        server.signal(signal.SIGKILL)
        gone = until(
            lambda: s if "gone" in (s := daemon.client.status())["sentence"] else None, "news of the crash"
        )
        assert 'web server "api" gone' in gone["sentence"]
        assert "with 1 request in flight" in gone["sentence"]
        goes_on(daemon, pid)
        finish(daemon)


def test_a_web_server_that_hangs_is_taken_for_busy_until_it_speaks_again(daemon: Daemon) -> None:
    with scene(daemon, flow("suspend"), "suspend") as server:
        server.signal(signal.SIGSTOP)
        pid = suspended(daemon)
        assert "silent for" in daemon.client.status()["sentence"]
        server.signal(signal.SIGCONT)
        goes_on(daemon, pid)


def test_a_suspended_job_can_be_cancelled(daemon: Daemon) -> None:
    with scene(daemon, flow("suspend"), "suspend") as server, request(daemon, server):
        pid = suspended(daemon)
        receipt = daemon.client.cancel("b.1")
        assert (receipt["stopped"], receipt["killed"]) == (1, 0)
        until(lambda: not Path(f"/proc/{pid}").exists(), "the end of its process")


def test_a_daemon_that_is_stopped_gives_suspended_jobs_back_at_once(daemon: Daemon) -> None:
    with scene(daemon, flow("suspend"), "suspend") as server:
        with request(daemon, server):
            pid = suspended(daemon)
            assert daemon.stop() == 0
            assert not Path(f"/proc/{pid}").exists()
        daemon.start()
        assert daemon.client.job("b.1")["attempt"] in (0, 1)
        finish(daemon)
        assert daemon.client.job("b.1")["attempt"] == 1


def test_a_restartable_job_that_is_suspended_for_long_makes_room(daemon: Daemon) -> None:
    again = flow("suspend", restartable="true", suspend_max='"300ms"')
    with scene(daemon, again, "suspend") as server:
        pid = int(job(daemon)["pid"])
        with request(daemon, server):
            until(lambda: daemon.client.batch("b")["pending"] == 1, "the job's return")
        until(lambda: not Path(f"/proc/{pid}").exists(), "the end of its process")


def test_an_attempt_that_fails_just_after_a_suspension_costs_nothing(daemon: Daemon) -> None:
    script = "while ! [ -e fail ]; do sleep 0.01; done; [ -e finish ]"
    with scene(daemon, flow("suspend", script, max_retries="0", backoff='"1ms"'), "suspend") as server:
        with request(daemon, server):
            pid = suspended(daemon)
        until(lambda: job(daemon)["suspended_at"] is None, "the resumption")
        assert Path(f"/proc/{pid}").exists()
        (daemon.folder / "fail").touch()
        until(lambda: daemon.client.job("b.1")["disturbances"] == 1, "the pardon")
        finish(daemon)
        assert daemon.client.job("b.1")["attempt"] == 1


@pytest.mark.timeout(180)  # also other tests are other work
def test_other_work_on_the_machine_stops_jobs_until_it_is_over(daemon: Daemon) -> None:
    limits = 'foreign_cpu_busy = 0.9\nforeign_cpu_busy_for = "0s"\nforeign_cpu_clear = 0.89\nforeign_cpu_clear_for = "0s"'
    others = UNMOVED.replace("foreign_cpu_busy = 1.0\nforeign_cpu_clear = 0.99", limits)
    daemon.write(flow("suspend"), idle=f'[idle]\nquiet_for = "1s"\nsuspend_min = "0s"\n{others}')
    daemon.start()
    daemon.client.create("suspend", records=["r"], batch_id="b")
    daemon.running(1, patience=120.0)
    burner = ["sh", "-c", "while :; do :; done"]
    burners = [subprocess.Popen(burner) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        pid = suspended(daemon)
        assert "other processes use" in daemon.client.status()["sentence"]
    finally:
        for each in burners:
            each.kill()
            each.wait()
    goes_on(daemon, pid)
    finish(daemon)

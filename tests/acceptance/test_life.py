"""The life of a real daemon under a service manager: what it is told, and what it is given."""

import ctypes
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buttermilkd.client import Client
from tests.acceptance.fake_manager import Manager
from tests.acceptance.program import Daemon, until

WAIT = """
[flows.wait]
command = ["sh", "-c", 'while [ ! -e "$BUTTERMILK_RECORD_ID" ]; do sleep 0.02; done; env']
max_retries = 0
"""


@pytest.fixture
def manager(daemon: Daemon) -> Iterator[Manager]:
    manager = Manager(daemon)
    yield manager
    manager.close()


# Starting and stopping


def test_it_is_ready_once_it_answers_and_shows_the_sentence_that_status_shows(
    daemon: Daemon, manager: Manager
) -> None:
    manager.start()
    assert daemon.client.info()["api"] == 1
    (ready,) = manager.heard("READY")
    assert ready["STATUS"]

    def shown() -> bool:
        sentence = manager.heard("STATUS")[-1]["STATUS"].split(" for ")[0]
        return daemon.client.status()["sentence"].split(" for ")[0] == sentence == "idle"

    until(shown, "the verdict's sentence in the status line")


def test_it_is_ready_without_pubsub(daemon: Daemon, manager: Manager) -> None:
    daemon.config.write_text(
        'queue = "pubsub"\n[pubsub]\nproject = "p"\n[daemon]\nstate_dir = "state"\nruntime_dir = "run"\n'
    )
    os.environ["PUBSUB_EMULATOR_HOST"] = "127.0.0.1:1"  # nobody is there
    try:
        manager.start()
    finally:
        del os.environ["PUBSUB_EMULATOR_HOST"]
    until(lambda: daemon.client.status()["queue"]["trouble"], "word of the trouble with Pub/Sub")


def test_it_is_not_ready_with_a_bad_configuration_and_ends_with_78(daemon: Daemon, manager: Manager) -> None:
    daemon.write("[flows.x]\ncomand = ['true']")
    assert manager.launch().wait(30) == 78
    assert manager.heard("READY") == []


def test_a_second_daemon_is_refused_with_1_and_is_never_ready(daemon: Daemon, manager: Manager) -> None:
    daemon.start()
    first = daemon.process
    second = manager.launch()
    assert second.wait(30) == 1
    assert manager.heard("READY") == []
    daemon.process = first
    assert "another buttermilkd" in daemon.log.read_text()


def test_a_stop_is_told_before_the_drain_and_time_is_asked_for_while_jobs_end(
    daemon: Daemon, manager: Manager
) -> None:
    daemon.write(WAIT, daemon='drain_timeout = "5m"')
    manager.start()
    batch = daemon.client.create("wait", records=["end"]).batch_id
    daemon.running(1)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    until(lambda: manager.heard("STOPPING"), "word of the stop")
    assert manager.heard("STOPPING")[0]["STATUS"] == "stopping: 1 job runs, waiting up to 300 s"
    until(lambda: len(manager.heard("EXTEND_TIMEOUT_USEC")) >= 2, "a second request for more time")
    assert daemon.client.job(f"{batch}.1")["status"] == "running"
    (daemon.folder / "end").touch()
    assert daemon.process.wait(30) == 0
    assert [told for told in manager.read() if "STATUS" in told][-1] == manager.heard("STOPPING")[0]


def test_jobs_learn_nothing_of_the_manager(daemon: Daemon, manager: Manager) -> None:
    manager.listen("control", daemon.control)
    daemon.write(WAIT)
    manager.start(watchdog=60)
    (daemon.folder / "there").touch()
    batch = daemon.client.create("wait", records=["there"]).batch_id
    assert daemon.ended(batch)["completed"] == 1
    printed = daemon.ctl("logs", f"{batch}.1").stdout
    names = {line.partition("=")[0] for line in printed.splitlines()}
    assert "BUTTERMILK_JOB_ID" in names
    assert not [name for name in names if name.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_"))]
    assert daemon.process is not None
    environments = [Path(f"/proc/{pid}/environ").read_text() for pid in _children(daemon.process.pid)]
    assert environments
    assert not [one for one in environments if "NOTIFY_SOCKET" in one or "LISTEN_" in one]


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# Sockets that are passed


def test_calls_that_come_while_no_daemon_runs_are_answered_by_the_next_one(
    daemon: Daemon, manager: Manager
) -> None:
    manager.listen("control", daemon.control)
    daemon.write(WAIT)
    manager.start()
    before = daemon.client.status()["pid"]
    assert daemon.stop() == 0
    answers: list[int] = []
    calls = [
        threading.Thread(target=lambda: answers.append(Client(socket=daemon.control).status()["pid"]))
        for _ in range(10)
    ]
    for call in calls:
        call.start()
    queued = _call(daemon, "create", "wait", "-r", "x", "--json")
    until(lambda: _waiting_at(daemon.control) >= 11, "eleven calls that wait")
    manager.start()
    assert daemon.process is not None
    for call in calls:
        call.join(30)
    assert answers == [daemon.process.pid] * 10
    assert before not in answers
    assert json.loads(queued.communicate(timeout=30)[0])["jobs"] == 1


def _call(daemon: Daemon, *arguments: str) -> subprocess.Popen[str]:
    """``buttermilkctl``, which goes on beside the test."""
    return subprocess.Popen(
        [sys.executable, "-m", "buttermilkd.cli", "--socket", str(daemon.control), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=daemon.environment,
    )


def _waiting_at(path: Path) -> int:
    """Connections to this socket that nobody has accepted yet: their own end names no inode."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    # A connection that waits in the queue has state 02 (connecting) at the listener's end.
    return sum(line.endswith(str(path)) and line.split()[5] == "02" for line in lines)


def test_a_passed_socket_keeps_its_path_and_mode_when_the_daemon_ends(
    daemon: Daemon, manager: Manager
) -> None:
    manager.listen("control", daemon.control)
    manager.listen("activity", daemon.activity)
    daemon.control.chmod(0o600)
    inodes = [daemon.control.stat().st_ino, daemon.activity.stat().st_ino]
    manager.start()
    with socket.socket(socket.AF_UNIX) as reporter:
        reporter.connect(str(daemon.activity))
        reporter.sendall(
            b'{"v":1,"t":"hello","app":"api","pid":1,"worker":"w","kind":"asgi","beat_ms":1000}\n'
            b'{"v":1,"t":"s","seq":1,"req":0,"ws":0,"total":0,"idle_ms":0}\n'
        )
        until(lambda: daemon.client.status()["reporters"], "the report")
    assert daemon.stop() == 0
    assert [daemon.control.stat().st_ino, daemon.activity.stat().st_ino] == inodes
    assert daemon.control.stat().st_mode & 0o777 == 0o600


def test_a_passed_socket_of_another_kind_ends_it_with_78_and_says_why(
    daemon: Daemon, manager: Manager
) -> None:
    manager.listen("control", daemon.control, socket.SOCK_DGRAM)
    assert manager.launch().wait(30) == 78
    assert 'the socket "control" that systemd has passed: it is no stream socket' in daemon.log.read_text()


def test_calls_that_wait_for_a_daemon_that_cannot_start_are_told_why(
    daemon: Daemon, manager: Manager
) -> None:
    manager.listen("control", daemon.control)
    daemon.write(f"{WAIT}timeuot = '1m'\n")
    calls = [_call(daemon, "status"), _call(daemon, "create", "x", "-r", "1")]
    until(lambda: _waiting_at(daemon.control) >= 2, "two calls that wait")
    silent = socket.socket(socket.AF_UNIX)
    silent.connect(str(daemon.control))  # and one who says nothing
    assert manager.launch().wait(30) == 78
    for call in calls:
        _, error = call.communicate(timeout=30)
        assert call.returncode == 78
        assert f"error: cannot use the configuration: {daemon.config}:" in error
        assert "flows.wait.timeuot: unknown key" in error
    silent.close()
    assert _waiting_at(daemon.control) == 0
    daemon.write(WAIT)
    manager.start()
    assert daemon.client.flows()["flows"][0]["name"] == "wait"


# The watchdog


def test_it_says_that_it_lives_at_twice_the_rate_that_is_wanted(manager: Manager) -> None:
    manager.start(watchdog=0.5)
    until(lambda: len(manager.heard("WATCHDOG")) >= 5, "five signs of life")


def test_it_is_silent_while_its_writer_hangs_and_speaks_again_afterwards(
    daemon: Daemon, manager: Manager
) -> None:
    """A foreign transaction holds the ledger's writer up, as a hanging disk would."""
    manager.start(watchdog=0.5)
    until(lambda: len(manager.heard("WATCHDOG")) >= 2, "signs of life")
    foreign = sqlite3.connect(daemon.folder / "state/ledger.sqlite3", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")
    try:
        until(lambda: manager.silent_for("WATCHDOG", 1.0), "silence")
        assert daemon.client.info()["api"] == 1  # the loop is well, and answers
    finally:
        foreign.execute("ROLLBACK")
        foreign.close()
    heard = len(manager.heard("WATCHDOG"))
    until(lambda: len(manager.heard("WATCHDOG")) > heard, "another sign of life")
    assert "the ledger's writer does not answer" in daemon.log.read_text()


_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17


@contextmanager
def loop_held(pid: int) -> Iterator[None]:
    """The thread of the event loop stands still; all other threads go on. This is what a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(_SEIZE, pid, None, None) != 0:
        pytest.skip(f"this machine lets nobody hold a thread: {os.strerror(ctypes.get_errno())}")
    libc.ptrace(_INTERRUPT, pid, None, None)
    os.waitpid(pid, 0)
    try:
        yield
    finally:
        libc.ptrace(_DETACH, pid, None, None)


def test_it_is_silent_while_its_event_loop_hangs_though_its_threads_go_on(
    daemon: Daemon, manager: Manager
) -> None:
    manager.start(watchdog=0.5)
    until(lambda: len(manager.heard("WATCHDOG")) >= 2, "signs of life")
    assert daemon.process is not None
    with loop_held(daemon.process.pid):
        manager.read()
        assert manager.silent_for("WATCHDOG", 1.5)
    heard = len(manager.heard("WATCHDOG"))
    until(lambda: len(manager.heard("WATCHDOG")) > heard, "another sign of life")
    assert daemon.stop() == 0


# With a lifeline it is no service of its own


def test_beside_a_web_server_it_does_not_speak_for_the_web_servers_service(
    daemon: Daemon, manager: Manager
) -> None:
    lifeline = daemon.folder / "lifeline"
    lifeline.touch()
    with subprocess.Popen(
        ["flock", "--shared", str(lifeline), "sh", "-c", "echo held; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        holder.stdout.readline()
        process = manager.launch("--lifeline", str(lifeline), watchdog=0.2)
        until(daemon.answers, "an answer of the daemon")
        until(lambda: daemon.client.status()["idle"], "an idle daemon")
        holder.stdin.close()
        assert process.wait(30) == 0
    assert manager.read() == []


def test_ended_batches_beyond_the_number_to_keep_are_removed(daemon: Daemon) -> None:
    daemon.write('[retention]\nkeep_batches = 1\n[flows.fine]\ncommand = ["true"]\n')
    daemon.start()
    first, second = (daemon.client.create("fine", records=["r"]).batch_id for _ in range(2))
    ends = [daemon.ended(batch)["ended_at"] or "" for batch in (first, second)]
    daemon.stop()
    gone = first if ends == sorted(ends) else second
    daemon.start()
    until(lambda: f"{gone} is removed: 1 job" in daemon.log.read_text(), "the removal of one")
    assert len(daemon.client.batches(include_ended=True)["batches"]) == 1

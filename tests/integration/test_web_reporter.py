"""The thread that reports, over a real socket: through absence, silence, restarts and forks."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic  # noqa: TID251 - that of the web server

import pytest

from buttermilkd.reports import Snapshot, decode
from buttermilkd.web.reporter import Reporters
from tests.integration.daemon_end import DaemonEnd, daemon_end


@pytest.fixture
def reporters() -> Iterator[Reporters]:
    reporters = Reporters()
    yield reporters
    reporters.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "activity.sock"


@pytest.fixture
async def daemon(path: Path) -> AsyncIterator[DaemonEnd]:
    async with daemon_end(path) as daemon:
        yield daemon


# What it tells


async def test_nobody_is_told_anything_before_somebody_uses_the_process(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    idle = reporters.reporter("idle", "asgi", path)
    used = reporters.reporter("used", "asgi", path)
    used.activity.begin()
    await daemon.until(lambda: daemon.requests == 1)
    assert [one.app for one in daemon.reporters] == ["used"]
    idle.start()
    await daemon.until(lambda: len(daemon.reporters) == 2 and all(one.reported for one in daemon.reporters))
    assert not next(one for one in daemon.reporters if one.app == "idle").used


async def test_it_says_who_reports(reporters: Reporters, daemon: DaemonEnd, path: Path) -> None:
    reporters.reporter("api", "asgi", path).start()
    told = await daemon.one()
    assert (told.app, told.kind, told.worker, told.pid) == ("api", "asgi", "", os.getpid())
    assert told.stale_after == 3


async def test_a_begin_and_an_end_are_told_each_in_its_time(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    activity = reporters.reporter("api", "asgi", path).activity
    for number in range(1, 11):
        activity.begin()
        await daemon.until(lambda: daemon.requests == 1)
        activity.end()
        await daemon.until(lambda: daemon.requests == 0)
        assert daemon.total == number


async def test_a_request_that_is_over_before_anybody_looks_is_told_all_the_same(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    activity = reporters.reporter("api", "asgi", path).activity
    for number in range(1, 11):
        activity.begin()
        activity.end()
        await daemon.until(lambda number=number: daemon.total == number and not daemon.requests)  # type: ignore[misc]


async def test_a_websocket_is_told_with_its_messages(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    activity = reporters.reporter("api", "asgi", path).activity
    activity.opened()
    await daemon.until(lambda: daemon.websockets == 1)
    for _ in range(3):
        message_at = monotonic() - 0.001
        activity.touch()
        await daemon.until(lambda at=message_at: daemon.reporters[0].idle_since >= at)  # type: ignore[misc]
    activity.closed()
    await daemon.until(lambda: daemon.websockets == 0)


async def test_it_goes_on_telling_while_nothing_happens(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    reporters.reporter("api", "asgi", path).start()
    first = (await daemon.one()).heard_at
    await daemon.until(lambda: daemon.reporters[0].heard_at > first + 1.5)


async def test_several_middlewares_of_one_application_are_one_reporter(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    one, same = (reporters.reporter("api", "asgi", path) for _ in range(2))
    other = reporters.reporter("admin", "asgi", path)
    assert one is same
    for reporter in (one, same, other):
        reporter.activity.begin()
    await daemon.until(lambda: sorted(each.requests for each in daemon.reporters) == [1, 2])


async def test_what_happened_last_is_told_before_a_process_ends(
    reporters: Reporters, daemon: DaemonEnd, path: Path
) -> None:
    reporter = reporters.reporter("api", "asgi", path)
    reporter.activity.begin()
    await daemon.until(lambda: daemon.requests == 1)
    reporter.activity.end()
    await asyncio.to_thread(reporter.settle)
    reporters.close()
    await daemon.until(lambda: not daemon.reporters)
    assert daemon.departure is None


def test_a_name_that_the_daemon_would_refuse_is_refused_where_it_is_given(reporters: Reporters) -> None:
    for name in ("", "a" * 101, "line\nbreak"):
        with pytest.raises(ValueError, match="app must be 1 to 100 printable"):
            reporters.reporter(name, "asgi")


# The daemon's fate


async def test_a_daemon_that_comes_later_is_told(reporters: Reporters, path: Path) -> None:
    activity = reporters.reporter("api", "asgi", path).activity
    activity.begin()
    activity.begin()
    activity.end()
    async with daemon_end(path) as daemon:
        await daemon.until(lambda: daemon.requests == 1 and daemon.total == 2)


async def test_a_daemon_that_comes_again_is_told_again(reporters: Reporters, path: Path) -> None:
    activity = reporters.reporter("api", "asgi", path).activity
    for number in range(1, 4):
        async with daemon_end(path) as daemon:
            activity.begin()
            await daemon.until(lambda number=number: daemon.requests == number)  # type: ignore[misc]


async def test_the_socket_is_looked_for_at_each_connection(
    reporters: Reporters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUTTERMILKD_RUNTIME_DIR", str(tmp_path / "nowhere"))
    activity = reporters.reporter("api", "asgi").activity
    activity.begin()
    async with daemon_end(tmp_path / "a.sock") as first, daemon_end(tmp_path / "b.sock") as second:
        monkeypatch.setenv("BUTTERMILKD_ACTIVITY_SOCKET", str(tmp_path / "a.sock"))
        await first.until(lambda: first.requests == 1)
        reporters.use_socket(tmp_path / "b.sock")
        await second.until(lambda: second.requests == 1)
        await first.until(lambda: not first.reporters)


async def test_a_path_that_no_socket_can_have_harms_nobody(reporters: Reporters) -> None:
    for number, name in enumerate(("\0", "x" * 200)):
        reporter = reporters.reporter(str(number), "asgi", name)
        reporter.activity.begin()
        await asyncio.to_thread(reporter.settle)
        reporter.activity.end()
        assert reporter.activity.requests == 0


async def test_a_daemon_that_does_not_read_finds_few_lines_and_the_latest_state_when_it_goes_on(
    reporters: Reporters, path: Path
) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    activity = reporters.reporter("api", "asgi", path).activity
    activity.begin()
    peer = await asyncio.to_thread(lambda: listener.accept()[0])
    for _ in range(60):
        activity.end()
        await asyncio.sleep(0.06)  # longer than it takes to settle: each is a line of its own
        activity.begin()
    peer.settimeout(10)
    data = b""
    unread = peer.recv(1 << 20)
    assert unread.count(b"\n") < 15
    while b'"total":61' not in data:
        data += await asyncio.to_thread(peer.recv, 1 << 16)
    last = decode(data.rstrip().split(b"\n")[-1])
    assert isinstance(last, Snapshot)
    assert last.req == 1
    peer.close()
    listener.close()


# Forks


CHILD = """
import os, signal, sys, time
from buttermilkd.web.reporter import REPORTERS
kind, path = sys.argv[1:]
activity = REPORTERS.reporter("api", kind, path).activity
activity.begin()
activity.begin()
sys.stdin.readline()
child = os.fork()
if child == 0:
    activity.end()
    activity.begin()
sys.stdout.write(f"{os.getpid()}\\n")
sys.stdout.flush()
signal.pause()
"""


def started(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, bufsize=0
    )


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
async def test_a_forked_child_counts_its_own_and_its_parents_death_is_seen(
    daemon: DaemonEnd, path: Path, kind: str
) -> None:
    with started(CHILD, kind, str(path)) as process:
        await daemon.until(lambda: [one.requests for one in daemon.reporters] == [2])
        assert process.stdin is not None
        process.stdin.write(b"\n")
        await daemon.until(lambda: sorted(one.requests for one in daemon.reporters) == [1, 2])
        assert len({one.pid for one in daemon.reporters}) == 2
        process.kill()
        await daemon.until(lambda: [one.requests for one in daemon.reporters] == [1])
        child = daemon.reporters[0].pid
        assert child is not None
        os.kill(child, signal.SIGKILL)
        await daemon.until(lambda: not daemon.reporters)


FORKS = """
import os, sys
from buttermilkd.web.reporter import REPORTERS
activity = REPORTERS.reporter("api", "wsgi", sys.argv[1]).activity
activity.begin()
for _ in range(100):
    child = os.fork()
    if child == 0:
        sys.stdin.read()
        os._exit(0)
sys.stdout.write("forked\\n")
sys.stdout.flush()
sys.stdin.readline()
"""


async def test_no_child_keeps_the_connection_open_however_often_its_parent_forks(path: Path) -> None:
    with started(FORKS, str(path)) as process:
        assert process.stdout is not None
        async with daemon_end(path) as daemon:  # it connects while the process forks
            await asyncio.to_thread(process.stdout.readline)
            await daemon.until(lambda: [one.requests for one in daemon.reporters] == [1])
            process.kill()
            await daemon.until(lambda: not daemon.reporters)

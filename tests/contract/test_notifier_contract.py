"""What any notifier does with what it is told: the one that speaks to systemd's socket, and the double."""

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from buttermilkd.clock import SystemClock
from buttermilkd.host.notifier import Notifier, SystemdNotifier, notifier
from buttermilkd.testing import HandMovedClock, RecordingNotifier


def parsed(datagram: bytes) -> dict[str, str]:
    """The assignments in one message; each is a line of UTF-8."""
    return dict(line.split("=", 1) for line in datagram.decode().split("\n"))


class Manager:
    """A datagram socket, as systemd listens on."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address.replace("@", "\0"))
        self.address = address

    def read(self) -> list[dict[str, str]]:
        """The messages that lie there."""
        found = []
        while True:
            try:
                found.append(parsed(self.socket.recv(65536)))
            except BlockingIOError:
                return found


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="notify-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def manager(folder: Path) -> Iterator[Manager]:
    manager = Manager(str(folder / "notify"))
    yield manager
    manager.socket.close()


@dataclass
class Told:
    notifier: Notifier
    clock: HandMovedClock
    heard: Callable[[], list[dict[str, str]]]


@pytest.fixture(params=["systemd", "recording"])
def told(request: pytest.FixtureRequest, manager: Manager) -> Iterator[Told]:
    clock = HandMovedClock()
    if request.param == "systemd":
        real = SystemdNotifier(manager.address, 30.0, clock)
        yield Told(real, clock, manager.read)
        real.close()
        return
    double = RecordingNotifier(clock, 30.0)

    def heard() -> list[dict[str, str]]:
        messages, double.messages = double.messages, []
        return messages

    yield Told(double, clock, heard)


def test_each_thing_that_is_told_is_one_message_in_the_words_of_sd_notify(told: Told) -> None:
    told.notifier.ready("idle for 3 s")
    told.notifier.reloading()
    told.notifier.status("busy")
    told.notifier.extend(15.0)
    told.notifier.alive()
    told.notifier.stopping("stopping")
    assert told.heard() == [
        {"READY": "1", "STATUS": "idle for 3 s"},
        {"RELOADING": "1", "MONOTONIC_USEC": f"{told.clock.monotonic() * 1e6:.0f}"},
        {"STATUS": "busy"},
        {"EXTEND_TIMEOUT_USEC": "15000000"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1", "STATUS": "stopping"},
    ]


def test_a_sentence_arrives_as_it_is_in_any_language(told: Told) -> None:
    told.notifier.status("pausiert … „Größe“ 测试 🐄")
    assert told.heard() == [{"STATUS": "pausiert … „Größe“ 测试 🐄"}]


def test_a_sentence_cannot_make_assignments_of_its_own(told: Told) -> None:
    told.notifier.status("web server\nSTOPPING=1\r\nis busy")
    assert told.heard() == [{"STATUS": "web server STOPPING=1 is busy"}]


def test_nothing_is_told_after_the_end(told: Told) -> None:
    told.notifier.close()
    told.notifier.close()
    told.notifier.alive()
    assert told.heard() == []


def test_it_knows_how_often_it_has_to_say_that_it_lives(told: Told) -> None:
    assert told.notifier.watchdog == 30.0


# The real one alone


async def test_while_the_managers_queue_is_full_nothing_waits_and_the_newest_comes_later(
    manager: Manager,
) -> None:
    with SystemdNotifier(manager.address, None, SystemClock()) as real:
        for number in range(1000):
            real.status(f"sentence {number}")
        real.stopping("stopping")
        before = manager.read()
        assert len(before) < 1000
        assert before[-1] != {"STATUS": "sentence 999"}
        after: list[dict[str, str]] = []
        while len(after) < 2:
            await asyncio.sleep(0)
            after += manager.read()
        assert after == [{"STATUS": "sentence 999"}, {"STOPPING": "1", "STATUS": "stopping"}]
        real.alive()
        assert manager.read() == [{"WATCHDOG": "1"}]


def test_half_a_surrogate_pair_does_not_keep_a_sentence_back(manager: Manager) -> None:
    with SystemdNotifier(manager.address, None, SystemClock()) as real:
        real.status("record \ud83d is read")
        assert manager.read() == [{"STATUS": "record ? is read"}]


def test_a_manager_that_has_gone_is_no_error_and_one_that_comes_back_is_told_again(
    manager: Manager, caplog: pytest.LogCaptureFixture
) -> None:
    with SystemdNotifier(manager.address, None, SystemClock()) as real:
        manager.socket.close()
        real.alive()
        Path(manager.address).unlink()
        real.alive()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        again = Manager(manager.address)
        real.status("here")
        assert again.read() == [{"STATUS": "here"}]
        again.socket.close()


def test_a_manager_that_was_never_there_is_said_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    address = str(folder / "nobody")
    with SystemdNotifier(address, None, SystemClock()) as real:
        real.ready("idle")
        real.alive()
    (message,) = [record.message for record in caplog.records]
    assert message.startswith(f"cannot tell systemd anything: cannot connect to NOTIFY_SOCKET={address}: ")


def test_an_abstract_socket_is_reached_by_its_name(folder: Path) -> None:
    manager = Manager(f"@{folder.name}")
    with SystemdNotifier(manager.address, None, SystemClock()) as real:
        real.alive()
        assert manager.read() == [{"WATCHDOG": "1"}]
    manager.socket.close()


# What the environment asks for


def test_without_systemd_nobody_is_told() -> None:
    environ: dict[str, str] = {}
    silent = notifier(environ, SystemClock())
    silent.ready("idle")
    silent.close()
    assert silent.watchdog is None


@pytest.mark.parametrize(
    ("period", "pid", "watchdog"),
    [
        ("2000000", "", 2.0),
        ("2000000", "its own", 2.0),
        ("2000000", "1", None),
        ("", "its own", None),
        ("0", "", None),
        ("soon", "", None),
    ],
)
def test_only_the_process_that_is_meant_is_watched(
    manager: Manager, period: str, pid: str, watchdog: float | None
) -> None:
    pid = str(os.getpid()) if pid == "its own" else pid
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": period, "WATCHDOG_PID": pid}
    with notifier(environ, SystemClock()) as real:
        assert real.watchdog == watchdog


@pytest.mark.parametrize("wanted", [True, False])
def test_the_environment_is_cleared_so_that_jobs_do_not_speak_for_the_daemon(
    manager: Manager, *, wanted: bool
) -> None:
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    with notifier(environ, SystemClock(), wanted=wanted) as one:
        one.alive()
    assert environ == {"PATH": "/bin"}
    assert manager.read() == ([{"WATCHDOG": "1"}] if wanted else [])

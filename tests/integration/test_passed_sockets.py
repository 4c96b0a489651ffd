"""Sockets that systemd has opened: which are taken, which are refused, and what is left of them."""

import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from buttermilkd.errors import MisconfiguredError
from buttermilkd.host.sockets import open_at, passed

NAMES = ("control", "activity")


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="passed-"))
    yield folder
    shutil.rmtree(folder)


def listener(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    one.listen()
    return one


class Given:
    """Descriptors of a row of their own, as systemd gives them from 3 on."""

    def __init__(self, *sockets: socket.socket) -> None:
        # A block that nobody else gets meanwhile: the highest numbers.
        self.first = 900
        for number, one in enumerate(sockets):
            os.dup2(one.fileno(), self.first + number, inheritable=True)
            one.close()
        self.environ = {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": ":".join(NAMES[: len(sockets)]),
        }


def test_sockets_are_taken_by_their_names_and_the_environment_is_cleared(folder: Path) -> None:
    given = Given(listener(folder / "c"), listener(folder / "a"))
    with passed(given.environ, NAMES, given.first) as found:
        assert {name: one.getsockname() for name, one in found.items()} == {
            "control": str(folder / "c"),
            "activity": str(folder / "a"),
        }
        assert not any(os.get_inheritable(one.fileno()) or one.getblocking() for one in found.values())
    assert given.environ == {}


def test_what_is_passed_is_neither_changed_nor_removed(folder: Path) -> None:
    path = folder / "control"
    given = Given(listener(path))
    path.chmod(0o600)
    with passed(given.environ, NAMES, given.first) as found:
        with open_at(path, found["control"], 0o666, ["root"]) as one:
            assert one is found["control"]
    assert path.is_socket()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_passed_socket_elsewhere_is_used_and_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    given = Given(listener(folder / "there"))
    with ExitStack() as stack:
        found = stack.enter_context(passed(given.environ, NAMES, given.first))
        stack.enter_context(open_at(folder / "here", found["control"], 0o660))
    assert f"listening at {folder / 'there'}, which systemd has passed" in caplog.text


@pytest.mark.parametrize(
    ("variable", "value"), [("LISTEN_PID", "1"), ("LISTEN_PID", ""), ("LISTEN_FDS", "x")]
)
def test_what_was_passed_to_another_process_is_not_taken(variable: str, value: str) -> None:
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", variable: value}
    with passed(environ, NAMES) as found:
        assert found == {}
    assert environ == {}


def datagrams(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.bind(str(path))
    return one


def unlistening(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX)
    one.bind(str(path))
    return one


def over_tcp(_path: Path) -> socket.socket:
    one = socket.socket()
    one.listen()
    return one


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (datagrams, "it is no stream socket; it needs ListenStream="),
        (unlistening, "it does not listen; it needs ListenStream= and Accept=no"),
        (over_tcp, "it is no Unix socket; give ListenStream= an absolute path"),
    ],
)
def test_a_socket_of_another_kind_is_refused_with_what_mends_it(
    folder: Path, make: Callable[[Path], socket.socket], why: str
) -> None:
    given = Given(make(folder / "s"))
    with pytest.raises(
        MisconfiguredError, match='cannot use the socket "control" that systemd has passed'
    ) as told:
        with passed(given.environ, NAMES, given.first):
            pass
    assert why in str(told.value)


@pytest.mark.parametrize("names", ["buttermilkd.socket", ""])
def test_a_socket_without_a_name_that_says_its_use_is_refused(folder: Path, names: str) -> None:
    given = Given(listener(folder / "s"))
    with pytest.raises(MisconfiguredError, match="FileDescriptorName=control or FileDescriptorName=activity"):
        with passed(given.environ | {"LISTEN_FDNAMES": names}, NAMES, given.first):
            pass


def test_two_sockets_of_one_name_are_refused(folder: Path) -> None:
    given = Given(listener(folder / "1"), listener(folder / "2"))
    with pytest.raises(MisconfiguredError, match="there are two of this name"):
        with passed(given.environ | {"LISTEN_FDNAMES": "control:control"}, NAMES, given.first):
            pass


def test_a_descriptor_that_is_no_socket_is_refused(folder: Path) -> None:
    os.dup2(os.open(folder, os.O_RDONLY), 900)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "control"}
    with pytest.raises(MisconfiguredError, match="its descriptor 900 is no socket"):
        with passed(environ, NAMES, 900):
            pass

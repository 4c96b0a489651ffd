"""One daemon a state directory, and the sockets it listens on."""

import fcntl
import grp
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from buttermilkd.errors import ConflictError, StorageError
from buttermilkd.host.instance import boot_id, sole_instance, start_ticks
from buttermilkd.host.sockets import give_to, ids_of, listening
from tests.parts import need


def test_the_lock_file_names_its_owner(tmp_path: Path) -> None:
    with sole_instance(tmp_path / "state"):
        owner = json.loads((tmp_path / "state" / "lock").read_text())
        assert owner == {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot_id": boot_id()}
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o750


def test_a_second_instance_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    with (
        sole_instance(tmp_path),
        pytest.raises(ConflictError, match=f"another buttermilkd \\(pid {os.getpid()}\\)"),
    ):
        with sole_instance(tmp_path):
            pytest.fail("two instances at a time")


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with sole_instance(tmp_path) as descriptor:
            assert os.get_inheritable(descriptor) is False


def test_what_a_dead_daemons_children_still_hold_is_waited_for(tmp_path: Path) -> None:
    """The lock is held, but by nobody who is the process that the file names: wait until it is let go."""
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": os.getpid(), "start_ticks": 1, "boot_id": boot_id()}))
    held = os.open(path, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            os.close(held)

    with sole_instance(tmp_path, pause=let_go):
        assert len(waits) == 3


def test_patience_with_them_is_bounded(tmp_path: Path) -> None:
    held = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(ConflictError, match="children of a daemon that died") as caught:
        with sole_instance(tmp_path, pause=lambda _: None):
            pytest.fail("two instances at a time")
    assert "systemctl stop buttermilkd-jobs.socket buttermilkd-jobs" in (caught.value.hint or "")
    os.close(held)


def test_a_state_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot use the state directory") as caught:
        with sole_instance(tmp_path / "file" / "state"):
            pytest.fail("there is no such directory")
    assert caught.value.hint is not None


def test_the_lock_is_not_a_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError), sole_instance(tmp_path):
        pytest.fail("the link was followed")
    assert not (tmp_path / "elsewhere").exists()


def test_a_socket_has_the_wanted_mode_and_is_removed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path, 0o660) as listener:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert path.stat().st_mode & 0o777 == 0o660
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        assert listener.getblocking() is False
    assert not path.exists()


def test_a_socket_is_for_the_first_group_that_there_is_and_for_the_owners_own_without_one(
    tmp_path: Path,
) -> None:
    need(os.geteuid() == 0, "root, which alone may give a socket to any group")
    path = tmp_path / "s"
    daemon = grp.getgrnam("daemon").gr_gid
    with listening(path, 0o660, ["no-such-group", "daemon"]):
        assert path.stat().st_gid == daemon
        give_to(path, ids_of([]))
        assert path.stat().st_gid == os.getegid()
        give_to(path, ids_of(["daemon"]))
        assert path.stat().st_gid == daemon
        give_to(path, ids_of(["no-such-group"]))
        assert path.stat().st_gid == os.getegid()


def test_what_a_dead_daemon_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen()"
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    assert path.exists()
    with listening(path, 0o600), socket.socket(socket.AF_UNIX) as client:
        assert client.connect_ex(str(path)) == 0


def test_a_living_daemons_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path, 0o600):
        with pytest.raises(ConflictError, match="another process does"), listening(path, 0o600):
            pytest.fail("the socket was taken over")
        assert path.exists()


def test_a_file_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(StorageError, match="no socket"), listening(path, 0o600):
        pytest.fail("the file was replaced")
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot listen at"), listening(tmp_path / ("s" * 200), 0o600):
        pytest.fail("no such path can be bound")


def test_a_socket_that_another_put_in_its_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path, 0o600):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


def test_a_daemon_that_hangs_with_a_full_backlog_counts_as_living(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as hanging, socket.socket(socket.AF_UNIX) as waiting:
        hanging.bind(str(path))
        hanging.listen(0)
        waiting.connect(str(path))
        with pytest.raises(ConflictError, match="another process does"), listening(path, 0o600):
            pytest.fail("the socket was taken over")

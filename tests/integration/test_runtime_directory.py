"""What a daemon finds in its runtime directory: the service that starts jobs, and where it is to listen itself."""

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from buttermilkd.client import Client
from buttermilkd.clock import SystemClock
from buttermilkd.config.settings import DaemonSettings
from buttermilkd.daemon.foundations import activity_socket, chosen_launcher
from buttermilkd.host.sockets import listening
from buttermilkd.peers import Peer, is_trusted
from buttermilkd.runner.launcher import leftovers
from buttermilkd.runner.launcher.child import ChildLauncher
from buttermilkd.runner.launcher.launched import Launcher
from buttermilkd.runner.launcher.unit import LauncherUnit
from tests.integration.assembled import opened
from tests.integration.runner_host import until
from tests.parts import need
from tests.privileges import NOBODY, unprivileged


@pytest.fixture
def folder() -> Iterator[Path]:
    """A runtime directory that every user may look into."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        yield Path(place)


async def chosen(folder: Path) -> Launcher:
    async with AsyncExitStack() as stack:
        daemon = DaemonSettings(state_dir=folder / "state", runtime_dir=folder)
        return await chosen_launcher(daemon, 0, None, SystemClock(), stack)


def listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    return listener


async def test_without_a_socket_it_is_a_child(folder: Path) -> None:
    assert isinstance(await chosen(folder), ChildLauncher)
    (folder / "jobs.sock").touch()
    assert isinstance(await chosen(folder), ChildLauncher)


async def test_the_service_of_its_own_user_is_taken(folder: Path) -> None:
    with listen(folder / "jobs.sock"):
        assert isinstance(await chosen(folder), LauncherUnit)


async def test_the_loop_goes_on_while_it_is_looked_for_what_a_crash_has_left(folder: Path) -> None:
    (folder / "state").mkdir()
    note = folder / "state" / leftovers.FILE
    os.mkfifo(note)  # whoever reads it waits for a writer
    choosing = asyncio.create_task(chosen(folder))
    await until(lambda: opened_for_writing(note))
    assert isinstance(await choosing, ChildLauncher)


def opened_for_writing(pipe: Path) -> bool:
    """Whether somebody reads from it, who has come to its end by this."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # nobody reads
        return False
    return True


async def test_the_status_says_why_no_job_can_be_started(tmp_path: Path) -> None:
    config, folder = tmp_path / "b.toml", tmp_path / "r"
    config.write_text('[daemon]\nstate_dir = "s"\nruntime_dir = "r"\n')
    folder.mkdir()
    with listen(folder / "jobs.sock"):
        async with opened(config):
            ctl = (
                sys.executable,
                "-m",
                "buttermilkd.cli",
                "--socket",
                str(folder / "control.sock"),
                "status",
            )
            shown = await asyncio.create_subprocess_exec(*ctl, stdout=asyncio.subprocess.PIPE)
            text, _ = await shown.communicate()
            status = await asyncio.to_thread(Client(socket=folder / "control.sock").status)
    why = "the launcher of jobs has not answered yet"
    assert status["launcher_problem"] == why
    assert f"\n  jobs: cannot be started: {why}\n" in text.decode()


async def test_a_service_of_roots_is_taken(folder: Path) -> None:
    need(os.geteuid() == 0, "root, whose the service is to be")
    with listen(folder / "jobs.sock"), unprivileged():
        assert isinstance(await chosen(folder), LauncherUnit)


async def test_the_socket_of_a_stranger_is_not_used_and_that_is_told(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    need(os.geteuid() == 0, "root, which alone can make something of another user's")
    with listen(folder / "jobs.sock"):
        os.chown(folder / "jobs.sock", NOBODY, NOBODY)
        assert isinstance(await chosen(folder), ChildLauncher)
    (record,) = caplog.records
    assert record.message == (
        f"jobs are started here and not by way of {folder}/jobs.sock: it belongs to user {NOBODY}, who is neither "
        "root nor the daemon's"
    )


def test_a_link_leads_to_the_folder_in_which_the_daemon_may_make_its_socket(folder: Path) -> None:
    assert activity_socket(folder) == folder / "activity.sock"
    (folder / "activity.sock").symlink_to("activity/activity.sock")
    with listening(activity_socket(folder), 0o666), socket.socket(socket.AF_UNIX) as reporter:
        assert reporter.connect_ex(str(folder / "activity.sock")) == 0
    assert not (folder / "activity/activity.sock").exists()
    assert (folder / "activity.sock").is_symlink()


def test_who_is_at_the_other_end_is_told_by_the_kernel() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert Peer.of(ours) == Peer(os.getpid(), os.geteuid(), os.getegid())


def test_root_and_ones_own_user_are_trusted_and_nobody_else() -> None:
    with unprivileged():
        own = os.geteuid()
        assert (is_trusted(0), is_trusted(own), is_trusted(own + 1)) == (True, True, False)

"""The launcher as a service of its own, spoken to in bare packets: whom it serves, and when it ends."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from buttermilkd.runner.launcher.handshake import PROTOCOL
from tests.integration.launcher_service import Peer, Service, service
from tests.integration.runner_host import alive, until
from tests.parts import need


@pytest.fixture
async def unit(tmp_path: Path) -> AsyncIterator[Service]:
    async with service(tmp_path, follows=False) as one:
        yield one


HELLO = {"mark": "m", "protocol": PROTOCOL}


async def until_ready(peer: Peer) -> None:
    assert (await peer.heard())[0] == "ready"


async def test_it_answers_with_its_pid_and_its_group_or_why_there_is_none(unit: Service) -> None:
    peer = unit.connect()
    peer.send(HELLO)
    process = await unit.start()
    ready, protocol, pid, group, problem = await peer.heard()
    assert (ready, protocol, pid) == ("ready", PROTOCOL, process.pid)
    assert (group is None) == (problem is not None)
    peer.close()
    assert await process.wait() == 0


async def test_what_it_was_given_to_keep_is_free_only_when_the_last_process_is_gone(
    unit: Service, tmp_path: Path
) -> None:
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    peer, pid_file = unit.connect(), tmp_path / "pid"
    peer.send(HELLO)
    process = await unit.start()
    await until_ready(peer)
    peer.send({"reap": [], "keep": True}, lock)
    os.close(lock)
    peer.spawn(f"echo $$ >{pid_file}.new; mv {pid_file}.new {pid_file}; setsid sleep 1000 & sleep 1000")
    await until(pid_file.exists)
    again = os.open(tmp_path / "lock", os.O_RDWR)
    with pytest.raises(BlockingIOError):
        fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    peer.close()
    await asyncio.to_thread(fcntl.flock, again, fcntl.LOCK_EX)
    assert not alive(int(pid_file.read_text()))
    os.close(again)
    assert await process.wait() == 0


@pytest.mark.parametrize("hello", [{"mark": "m"}, {"mark": "m", "protocol": PROTOCOL + 1}])
async def test_a_daemon_of_another_version_is_told_so_and_the_next_start_may_be_of_its_own(
    unit: Service, hello: dict[str, object]
) -> None:
    peer = unit.connect()
    peer.send(hello)
    process = await unit.start()
    assert await peer.heard() == ["other", PROTOCOL]
    _, errors = await process.communicate()
    assert process.returncode == 0
    assert b"a daemon of another version" in errors


async def test_what_a_daemon_asked_for_that_has_died_since_is_not_begun(
    unit: Service, tmp_path: Path
) -> None:
    peer = unit.connect()
    peer.send(HELLO)
    peer.spawn(f"touch {tmp_path}/begun")
    peer.close()
    process = await unit.start()
    assert await process.wait() == 0
    assert not (tmp_path / "begun").exists()


async def test_jobs_see_nothing_of_what_systemd_told_it(unit: Service, tmp_path: Path) -> None:
    peer = unit.connect()
    peer.send(HELLO)
    await unit.start()
    await until_ready(peer)
    peer.spawn(f"env >{tmp_path}/seen; ls -l /proc/$$/fd >>{tmp_path}/seen")
    while (await peer.heard())[0] != "ended":
        pass
    seen = (tmp_path / "seen").read_text()
    assert "PATH=" in seen
    assert "LISTEN_" not in seen
    assert "NOTIFY_SOCKET" not in seen
    assert "socket:" not in seen
    peer.close()


async def test_it_ends_by_itself_where_nobody_connects(unit: Service) -> None:
    assert await (await unit.start("0.05")).wait() == 0


async def test_it_ends_by_itself_where_who_connects_says_nothing(unit: Service) -> None:
    peer = unit.connect()
    assert await (await unit.start("0.05")).wait() == 0
    assert await peer.heard() is None


async def test_one_that_nobody_has_connected_to_can_be_stopped(unit: Service) -> None:
    process = await unit.start()
    await until(lambda: _hears_of_stops(process.pid))
    process.terminate()
    assert await process.wait() == 0


def _hears_of_stops(pid: int) -> bool:
    """Whether SIGTERM is blocked: from then on it is read from a descriptor."""
    mask = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigBlk" in line)
    return bool(int(mask.split()[1], 16) & 1 << signal.SIGTERM - 1)


_FORGE = """
import ctypes, struct, sys
target, parent = int(sys.argv[1]), int(sys.argv[2])
for code in (-1, -6, -60):  # SI_QUEUE, SI_TKILL, and what asyncio in the kernel says
    info = ctypes.create_string_buffer(struct.pack("=iiiiiI104x", 15, 0, code, 0, parent, 0), 128)
    status = ctypes.CDLL(None, use_errno=True).syscall({call}, target, 15, info)
    print(status if status == 0 else ctypes.get_errno())
"""
_RT_SIGQUEUEINFO = {"x86_64": 129, "aarch64": 138}


async def test_a_sender_that_pretends_to_be_the_parent_stops_nothing(unit: Service) -> None:
    number = _RT_SIGQUEUEINFO.get(os.uname().machine)
    need(number is not None, "a machine whose number of rt_sigqueueinfo(2) is known")
    peer = unit.connect()
    peer.send(HELLO)
    process = await unit.start()
    await until_ready(peer)
    forger = [sys.executable, "-c", _FORGE.replace("{call}", str(number)), str(process.pid), str(os.getpid())]
    done = await asyncio.to_thread(subprocess.run, forger, capture_output=True, text=True, check=True)
    assert "0" in done.stdout.split(), "the kernel has let none of them pass"
    peer.spawn("exit 3")  # what it answers comes after what the signal has caused
    assert [(await peer.heard())[0] for _ in range(2)] == ["started", "ended"]
    process.terminate()
    assert await peer.heard() == ["stopping", 0, 0]
    peer.close()


@pytest.mark.parametrize("first", [b"\0", b"[]", b"{}", b"not JSON", b'{"mark": 1}', b"[" * 60_000])
async def test_who_does_not_introduce_itself_is_refused_and_the_next_is_served(
    unit: Service, first: bytes
) -> None:
    stranger = unit.connect()
    stranger.send(first)
    peer = unit.connect()
    peer.send(HELLO)
    await unit.start()
    assert await stranger.heard() is None
    await until_ready(peer)
    peer.close()


_CONNECT = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
stranger = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
stranger.connect(sys.argv[1])
stranger.send(b'{"mark": "m"}')
print("connected", flush=True)
try:
    print(stranger.recv(100))
except ConnectionResetError:
    print(b"")
"""


async def test_another_user_is_refused_and_the_next_is_served() -> None:
    need(os.geteuid() == 0, "root, which alone can be another user")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        async with service(Path(folder), follows=False) as unit:
            await refused_to_a_stranger(unit)


async def refused_to_a_stranger(unit: Service) -> None:
    unit.path.chmod(0o666)
    with subprocess.Popen(  # noqa: ASYNC220 - its first line comes at once
        ["/usr/bin/python3", "-c", _CONNECT, str(unit.path)], stdout=subprocess.PIPE, text=True
    ) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == "connected\n"
        peer = unit.connect()
        peer.send(HELLO)
        process = await unit.start()
        await until_ready(peer)
        assert stranger.stdout.readline() == "b''\n"
    peer.close()
    _, errors = await process.communicate()
    assert b"refused a connection of another user" in errors


@pytest.mark.parametrize(
    ("variables", "why"),
    [
        ({}, "exactly one socket has to be passed"),
        (
            {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_FDNAMES": "jobs"},
            "exactly one socket has to be passed",
        ),
    ],
)
def test_without_a_socket_it_says_what_is_missing(variables: dict[str, str], why: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "buttermilkd.runner.launcher.service"],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: cannot start the launcher of jobs: ")
    assert why in error
    assert hint == "hint: systemctl start buttermilkd-jobs.socket"


async def test_a_socket_of_another_name_is_refused(unit: Service) -> None:
    process = await unit.start(name="control")
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"its socket is named 'control' and not 'jobs'" in errors

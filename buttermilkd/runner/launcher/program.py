"""A child program that starts the jobs' processes and never outlives them, nor lets them outlive the daemon.

It is one small single-threaded process between the daemon and the jobs, and exists for what only a parent
can do: jobs inherit its idle CPU and I/O priority and its session from their first instruction; processes that
escape from their job's group become its children; and when the daemon dies, even by SIGKILL, its end of the channel is
closed, whereupon the launcher kills everything that still runs, and only then exits. File descriptors that
it was given to keep, such as the lock on the daemon's state, stay open until then.

The channel is a SOCK_SEQPACKET socket; each packet is one JSON document, or empty with the document in a
file, passed as the first descriptor, where it is too long for a packet:

    daemon → launcher   {"reap": [pid, …], "spawn": {…}}   with the descriptors for 1, 2, …
    launcher → daemon   ["started", number, pid] | ["failed", number, reason] | ["ended", number, status]

An ended process is reaped only after the daemon has said so: until then its pid cannot be another's, and the
daemon may signal it without asking.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import stat
import struct
import sys
import time
from typing import Any, NamedTuple

from buttermilkd.runner.launcher.processes import (
    MARK,
    Stat,
    all_pids,
    descendants,
    lower_session,
    mark_of,
    newest_pid,
    read_stats,
    send_signal,
    signal_group,
)

PACKET_LIMIT = 64 * 1024
"""Longer documents travel in a file."""

_MAX_DESCRIPTORS = 4
_INT = struct.Struct("i")
_PR_SET_CHILD_SUBREAPER = 36
_JOB_OOM_SCORE = 500
_PATIENCE = 1.0
"""Seconds to try to lower the session's weight, which the kernel grants only so often."""
_SHORT = 1.0
"""Seconds; for a process that ended sooner, only pids given out since its start are looked at."""


class Leader(NamedTuple):
    """A process that was started for the daemon, the leader of its process group."""

    number: int
    pid: int
    mark: str
    began: float


class OomScore:
    """Makes what is started in its context the first choice of the kernel when memory runs out."""

    def __init__(self) -> None:
        self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
        self._usual = os.read(self._fd, 16)
        self._raised = str(max(_JOB_OOM_SCORE, int(self._usual))).encode()

    def __enter__(self) -> None:
        os.pwrite(self._fd, self._raised, 0)

    def __exit__(self, *error: object) -> None:
        os.pwrite(self._fd, self._usual, 0)


class Launcher:
    """Starts, watches and reaps. ``wake`` is readable when a child may have ended."""

    def __init__(self, channel: socket.socket, wake: int, mark: str) -> None:
        self._channel = channel
        self._wake = wake
        self._mark = mark
        self._environment = dict(os.environ)
        self._oom_score = OomScore()
        self._running: dict[int, Leader] = {}
        self._ended: set[int] = set()

    def serve(self) -> None:
        """Work until the daemon's end of the channel is closed, then end everything."""
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connected = True
            while connected:
                for fd, _ in poller.poll():
                    if fd == self._wake:
                        os.read(self._wake, 4096)
                    else:
                        connected = self._receive()
                self._collect()
        self._end_everything()

    def _receive(self) -> bool:
        # socket.recv_fds drops its flags, and without this one jobs would inherit each other's descriptors.
        space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * _INT.size)
        data, ancillary, _, _ = self._channel.recvmsg(PACKET_LIMIT, space, socket.MSG_CMSG_CLOEXEC)
        fds = [fd for _, _, block in ancillary for (fd,) in _INT.iter_unpack(block)]
        if not data and not fds:
            return False
        try:
            if data == b"\0":
                with open(fds.pop(0), "rb") as file:  # noqa: PTH123 - a descriptor
                    data = file.read()
            message = json.loads(data)
            for pid in message["reap"]:
                os.waitpid(pid, 0)
                self._ended.discard(pid)
            if "spawn" in message:
                self._spawn(message["spawn"], fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _send(self, *event: object) -> None:
        self._channel.send(json.dumps(event).encode())

    def _spawn(self, request: dict[str, Any], fds: list[int]) -> None:
        number = request["number"]
        mark = f"{self._mark}.{number}"
        try:
            environment = {**self._environment, **request["environment"], MARK: mark}
            for name, path in request["files"].items():
                environment[name] = _read_secret(name, path)
            pid = self._start(request, environment, fds)
        except (OSError, ValueError) as error:
            self._send("failed", number, _words(error))
            return
        self._running[pid] = Leader(number, pid, mark, time.monotonic())  # noqa: TID251 - no Clock here
        self._send("started", number, pid)

    def _start(self, request: dict[str, Any], environment: dict[str, str], fds: list[int]) -> int:
        arguments = request["arguments"]
        os.chdir(request["directory"])
        program = _find(arguments[0], environment.get("PATH", os.defpath))
        stdin = os.memfd_create("stdin")
        try:
            os.write(stdin, request["stdin"].encode("utf-8", "surrogatepass"))
            os.lseek(stdin, 0, os.SEEK_SET)
            # Descriptors 0 to 2 are taken here, so no source of a copy is the target of an earlier one.
            copies = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate([stdin, *fds])]
            with self._oom_score:
                return os.posix_spawn(
                    program,
                    arguments,
                    environment,
                    file_actions=copies,
                    setpgroup=0,
                    setsigmask=(),
                    setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP),
                )
        finally:
            os.close(stdin)
            os.chdir("/")

    def _collect(self) -> None:
        """Report leaders that ended, and reap orphans that did."""
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        for pid in list(self._running):
            if info := os.waitid(os.P_PID, pid, flags):
                self._leader_ended(info)
        with contextlib.suppress(ChildProcessError):
            # A leader that waits to be reaped would be found again and again.
            while not self._ended and (info := os.waitid(os.P_ALL, 0, flags)):
                if info.si_pid in self._running:
                    self._leader_ended(info)
                else:
                    os.waitpid(info.si_pid, 0)

    def _leader_ended(self, info: Any) -> None:
        leader = self._running.pop(info.si_pid)
        self._ended.add(leader.pid)
        signal_group(leader.pid, signal.SIGKILL)
        self._kill_strays(leader)
        status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        self._send("ended", leader.number, status)

    def _kill_strays(self, leader: Leader) -> None:
        """Kill what an ended leader left outside its group.

        One that has been killed cannot fork any more, so when a look finds nothing new, nothing is left.
        """
        killed: set[int] = set()
        while new := [
            process
            for process in self._candidates(leader)
            if process.pid not in killed and self._is_stray(process, leader)
        ]:
            for process in new:
                send_signal(process.pid, signal.SIGKILL)
                killed.add(process.pid)

    def _candidates(self, leader: Leader) -> list[Stat]:
        """Living descendants that may be this leader's."""
        newest = newest_pid()
        short = time.monotonic() - leader.began < _SHORT  # noqa: TID251
        # Pids are given out in turn: those of its descendants lie between its own and the newest. This
        # spares a short job the reading of all of /proc.
        pids = range(leader.pid + 1, newest + 1) if short and newest >= leader.pid else all_pids()
        leaders = self._running.keys() | self._ended
        stats = read_stats(pid for pid in pids if pid not in leaders)
        return [process for process in descendants(stats, [os.getpid(), *leaders]) if process.state != "Z"]

    def _is_stray(self, process: Stat, leader: Leader) -> bool:
        mark = mark_of(process.pid)
        if mark == leader.mark:
            return True
        orphan = process.parent == os.getpid()
        if mark is None:
            return orphan and not self._running
        return orphan and all(mark != other.mark for other in self._running.values())

    def _end_everything(self) -> None:
        """Kill all descendants until none is left that this user may kill."""
        with contextlib.suppress(OSError):  # leaving idle priority again takes privileges
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        with contextlib.suppress(ChildProcessError):
            while self._kill_descendants():
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
                time.sleep(0.002)

    @staticmethod
    def _kill_descendants() -> bool:
        """Whether there is any that could be signalled."""
        found = False
        for process in descendants(read_stats(all_pids()), [os.getpid()]):
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
                found = True
        return found


def _read_secret(name: str, path: str) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return os.fsdecode(file.read().rstrip(b"\r\n"))
    except OSError as error:
        raise ValueError(f"cannot read {path} for {name}: {error.strerror}") from error


def _find(name: str, path: str) -> str:
    """Where the program of this name is; the flow's own PATH counts, not the launcher's."""
    if "/" in name:
        return name
    for folder in path.split(os.pathsep):
        candidate = os.path.join(folder or ".", name)  # noqa: PTH118
        if os.access(candidate, os.X_OK) and stat.S_ISREG(os.stat(candidate).st_mode):  # noqa: PTH116
            return candidate
    raise FileNotFoundError(2, "command not found", name)


def _words(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "cannot start: an argument or variable is not valid text"
    if isinstance(error, OSError):
        subject = f"{error.filename}: " if error.filename else ""
        return f"cannot start: {subject}{error.strerror}"
    return f"cannot start: {error}" if not str(error).startswith("cannot") else str(error)


def _take_idle_priority() -> None:
    """Idle among the processes of a session, and the session as good as idle among all sessions.

    Where the kernel schedules by session (autogroup, see sched(7)), idle priority counts within a session
    only. So jobs share the launcher's session and its weight.
    """
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    lower_session(os.getpid(), patience=_PATIENCE)


def _adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot become a subreaper")


def main(arguments: list[str] | None = None) -> None:
    """``launcher CHANNEL MARK [KEEP…]``: descriptors by number, and the prefix of its processes' marks."""
    channel, mark, *keep = sys.argv[1:] if arguments is None else arguments
    for fd in (channel, *keep):
        os.set_inheritable(int(fd), False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _adopt_orphans()
    _take_idle_priority()
    os.umask(0o022)
    wake, wakened = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakened, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    Launcher(socket.socket(fileno=int(channel)), wake, mark).serve()

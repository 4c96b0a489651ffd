"""The launcher: it starts the jobs' processes, and never outlives them, nor lets them outlive the daemon.

The daemon starts this module as its child; as a service of its own it is started by ``service``, and works in the same
way from then on. It is one small single-threaded process between the daemon and the jobs, and exists for what only a parent
can do: jobs inherit its idle CPU and I/O priority and its session from their first instruction; processes that
escape from their job's group become its children; and when the daemon dies, even by SIGKILL, its end of the channel is
closed, whereupon the launcher kills everything that still runs, and only then exits. File descriptors that
it was given to keep, such as the lock on the daemon's state, stay open until then.

The channel is a SOCK_SEQPACKET socket; each packet is one JSON document, or empty with the document in a
file, passed as the first descriptor, where it is too long for a packet:

    daemon → launcher   {"reap": [pid, …], "spawn": {…}}   with the descriptors for 1, 2, …
                        {"reap": […], "stop": [number, …], "continue": [number, …]}
                        {"reap": […], "keep": true}   with descriptors to be kept as those of the command line
    launcher → daemon   ["started", number, pid, has a group] | ["failed", number, reason] | ["ended", number, status]
                        ["stopping", 0, 0]: its service is stopped: end the processes, and then the connection

What was asked for and not begun when the daemon dies is not begun any more.

``stop`` and ``continue`` are for what has left the process groups, which the daemon signals by itself; where
there are control groups, it needs neither.

An ended process is reaped only after the daemon has said so: until then its pid cannot be another's, and the
daemon may signal it without asking.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buttermilkd.cgroups import Group
from buttermilkd.runner.launcher.groups import JobGroups
from buttermilkd.runner.launcher.processes import (
    MARK,
    all_pids,
    descendants,
    read_stats,
    signal_group,
)
from buttermilkd.runner.launcher.settling import settle
from buttermilkd.runner.launcher.starting import OomScore, reason, start
from buttermilkd.runner.launcher.stopping import StopRequests
from buttermilkd.runner.launcher.strays import Leader, kill_strays, signal_strays

PACKET_LIMIT = 64 * 1024
"""Longer documents travel in a file."""

_MAX_DESCRIPTORS = 4
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR
_INT = struct.Struct("i")


class Launcher:
    """Starts, watches and reaps. ``wake`` is readable when a child may have ended.

    ``stop``: readable when it has been asked to end while the daemon lives; None where nobody may ask.
    """

    def __init__(
        self,
        channel: socket.socket,
        wake: int,
        mark: str,
        groups: JobGroups | None,
        environment: Mapping[str, str],
        stop: StopRequests | None = None,
    ) -> None:
        self._channel = channel
        self._wake = wake
        self._mark = mark
        self._groups = groups
        self._environment = environment
        self._stop = stop
        self._oom_score = OomScore()
        self._running: dict[int, Leader] = {}
        self._ended: set[int] = set()

    def serve(self) -> None:
        """Work until the daemon's end of the channel is closed, then end everything."""
        poller = select.poll()
        poller.register(self._channel, select.POLLIN | select.POLLRDHUP)
        poller.register(self._wake, select.POLLIN)
        if self._stop is not None:
            poller.register(self._stop, select.POLLIN)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connected = True
            while connected:
                may_have_ended = False
                for fd, events in poller.poll():
                    if fd == self._wake:
                        os.read(self._wake, 4096)
                        may_have_ended = True
                    elif fd == self._channel.fileno():
                        waited = bool(self._ended)
                        connected = not events & _GONE and self._receive()
                        may_have_ended |= waited and not self._ended
                    elif self._stop is not None and self._stop.take():
                        self._send("stopping", 0, 0)
                if may_have_ended:
                    self._collect()
        self._end_everything()

    def _receive(self) -> bool:
        data, fds = receive(self._channel)
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
            if "keep" in message:
                fds = []  # open until this process has ended
            if "spawn" in message:
                self._spawn(message["spawn"], fds)
            self._signal_strays(message.get("stop"), signal.SIGSTOP)
            self._signal_strays(message.get("continue"), signal.SIGCONT)
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
            with self._oom_score:
                request["environment"][MARK] = mark
                pid = start(request, {**self._environment}, fds)
        except (OSError, ValueError) as error:
            self._send("failed", number, reason(error))
            return
        leader = self._running[pid] = Leader(number, pid, mark, time.monotonic())  # noqa: TID251 - no Clock here
        self._send("started", number, pid, self._adopt(leader))

    def _adopt(self, leader: Leader) -> bool:
        """Whether the process is in a control group of its own."""
        if self._groups is None:
            return False
        try:
            self._groups.adopt(leader)
        except OSError:
            return False
        return True

    def _signal_strays(self, numbers: list[int] | None, number: int) -> None:
        if numbers:
            leaders = self._running.values()
            signal_strays([leader for leader in leaders if leader.number in numbers], leaders, number)

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
        if self._groups is not None:
            self._groups.sweep()

    def _leader_ended(self, info: Any) -> None:
        leader = self._running.pop(info.si_pid)
        self._ended.add(leader.pid)
        signal_group(leader.pid, signal.SIGKILL)
        if not self._end_group(leader):
            kill_strays(leader, self._running.values(), self._ended)
        status = info.si_status if info.si_code == os.CLD_EXITED else -info.si_status
        self._send("ended", leader.number, status)

    def _end_group(self, leader: Leader) -> bool:
        """Kill what is left in its control group; whether that is all that it has left."""
        if self._groups is not None:
            with contextlib.suppress(OSError):  # then the rest is found as where there are no groups
                return self._groups.end(leader)
        return False

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


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """One packet, and the descriptors that came with it, which are the receiver's to close."""
    # socket.recv_fds drops its flags, and without this one jobs would inherit each other's descriptors.
    space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * _INT.size)
    data, ancillary, _, _ = channel.recvmsg(PACKET_LIMIT, space, socket.MSG_CMSG_CLOEXEC)
    return data, [fd for _, _, block in ancillary for (fd,) in _INT.iter_unpack(block)]


def main(arguments: list[str] | None = None) -> None:
    """``launcher CHANNEL MARK GROUP [KEEP…]``.

    Descriptors by number, the prefix of its processes' marks, and the folder of the control group for all
    jobs, or nothing.
    """
    channel, mark, group, *keep = sys.argv[1:] if arguments is None else arguments
    for fd in (channel, *keep):
        os.set_inheritable(int(fd), False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o022)
    wake = settle()
    Launcher(socket.socket(fileno=int(channel)), wake, mark, _groups(group), dict(os.environ)).serve()


def _groups(folder: str) -> JobGroups | None:
    try:
        return JobGroups(Group(Path(folder))) if folder else None
    except OSError:  # the daemon sees that nothing has a group, and signals process groups
        return None

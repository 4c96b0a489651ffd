"""The launcher as a service of its own, which systemd starts when the daemon connects: ``python -m`` and this module.

It serves one daemon and ends with it; the next connection starts it anew. What both say first is in ``handshake``,
what follows in ``program``.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping

from buttermilkd.cgroups import Group, Hierarchy, given_group, share_controllers
from buttermilkd.peers import Peer, is_trusted
from buttermilkd.runner.launcher.environment import inherited
from buttermilkd.runner.launcher.groups import JobGroups
from buttermilkd.runner.launcher.handshake import PROTOCOL, introduced, refusal, welcome
from buttermilkd.runner.launcher.program import PACKET_LIMIT, Launcher
from buttermilkd.runner.launcher.settling import settle
from buttermilkd.runner.launcher.stopping import StopRequests

SOCKET_NAME = "jobs"
"""``FileDescriptorName=`` of its socket."""
PATIENCE = 30.0
"""Seconds to wait for a daemon, and for its first packet: a service that nobody wants does not stay. The first
argument may say otherwise."""

_FIRST_PASSED = 3


class NotPassedError(Exception):
    """No socket was passed as it should be; the message says what was."""


def passed_listener(environment: Mapping[str, str], pid: int) -> socket.socket:
    """The listening socket that systemd has passed to this process. Raises NotPassedError."""
    if environment.get("LISTEN_PID") != str(pid) or environment.get("LISTEN_FDS") != "1":
        raise NotPassedError("exactly one socket has to be passed to it (LISTEN_PID, LISTEN_FDS)")
    if (name := environment.get("LISTEN_FDNAMES")) != SOCKET_NAME:
        raise NotPassedError(f"its socket is named {name!r} and not {SOCKET_NAME!r} (FileDescriptorName=)")
    try:
        listener = socket.socket(fileno=_FIRST_PASSED)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise NotPassedError(f"descriptor {_FIRST_PASSED} is no socket: {error.strerror}") from error
    if (listener.family, listener.type, bool(listens)) != (socket.AF_UNIX, socket.SOCK_SEQPACKET, True):
        raise NotPassedError("its socket has to listen for packets (ListenSequentialPacket=, Accept=no)")
    listener.set_inheritable(False)
    return listener


def _readable(what: socket.socket, stop: StopRequests, patience: float) -> bool:
    """Whether it became so in time, and before this service was asked to end."""
    poller = select.poll()
    poller.register(what, select.POLLIN)
    poller.register(stop, select.POLLIN)
    while ready := [fd for fd, _ in poller.poll(patience * 1000)]:
        if stop.fileno() in ready and stop.take():
            return False
        if what.fileno() in ready:
            return True
    return False


def _accepted(
    listener: socket.socket, stop: StopRequests, patience: float
) -> tuple[socket.socket, str] | None:
    """The daemon, and the mark that its processes get; None where there is none to serve."""
    while _readable(listener, stop, patience):
        channel, _ = listener.accept()
        if not is_trusted(Peer.of(channel).uid):  # who may give it jobs may run anything as this user
            sys.stderr.write("<4>refused a connection of another user\n")
        elif _readable(channel, stop, patience):
            said = introduced(_packet(channel))
            if said is None:
                sys.stderr.write("<4>refused a connection that did not say who it is\n")
            elif said.protocol == PROTOCOL:
                return channel, said.mark
            else:
                # The next connection starts what is installed then.
                _refuse_version(channel, said.protocol)
                return None
        channel.close()
    return None


def _packet(channel: socket.socket) -> bytes:
    """Descriptors that come with it are not wanted yet."""
    try:
        return channel.recv(PACKET_LIMIT)
    except OSError:
        return b""


def _refuse_version(channel: socket.socket, protocol: object) -> None:
    sys.stderr.write(
        f"<4>refused a daemon of another version, which speaks protocol {str(protocol)[:20]} and not {PROTOCOL}: "
        "systemctl restart buttermilkd\n"
    )
    with channel, contextlib.suppress(OSError):
        channel.send(refusal())


def _groups() -> tuple[JobGroups | None, str | None, str | None]:
    """For jobs, below this service's own; its path, or why there are none."""
    hierarchy = Hierarchy.find()
    given = given_group(hierarchy, "the launcher of jobs")
    if hierarchy is None or not isinstance(given, Group):
        return None, None, str(given)
    path = hierarchy.path(given)
    try:
        groups = JobGroups(given)
    except OSError as error:
        return None, None, f"the control group {path} cannot be divided: {error.strerror}"
    share_controllers(given)
    return groups, path, None


def main() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    stop = StopRequests()
    try:
        listener = passed_listener(os.environ, os.getpid())
    except NotPassedError as error:
        sys.exit(
            f"error: cannot start the launcher of jobs: {error}\nhint: systemctl start buttermilkd-jobs.socket"
        )
    with listener:
        accepted = _accepted(listener, stop, float(sys.argv[1]) if sys.argv[1:] else PATIENCE)
    if accepted is None:
        return
    channel, mark = accepted
    wake = settle()
    groups, path, problem = _groups()
    try:
        channel.send(welcome(os.getpid(), path, problem))
    except OSError:  # the daemon has gone meanwhile
        return
    Launcher(channel, wake, mark, groups, inherited(os.environ), stop).serve()


if __name__ == "__main__":
    main()

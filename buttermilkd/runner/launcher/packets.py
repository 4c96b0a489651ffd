"""The daemon's end of the launcher's socket: sends without waiting, and hears what comes."""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from buttermilkd.runner.documents import packed, unpacked
from buttermilkd.runner.launcher.program import PACKET_LIMIT

_PACKETS_AT_ONCE = 64


class PacketChannel:
    """One JSON document a packet, with file descriptors on the way there.

    ``heard`` gets each document that came, or None for what is none; ``lost`` is called once, when the other end is gone; ``broken`` when it
    can be reached no more and must be ended, after which it is found to be lost. ``fail`` is told of an
    exception of any of them.
    """

    def __init__(
        self,
        connected: socket.socket,
        *,
        heard: Callable[[Any], None],
        lost: Callable[[], None],
        broken: Callable[[], None],
        fail: Callable[[Exception], None],
    ) -> None:
        """``connected`` is a SOCK_SEQPACKET socket, which the channel closes. Needs a running loop."""
        self._socket = connected
        self._heard = heard
        self._lost = lost
        self._broken = broken
        self._fail = fail
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._is_full = False
        """The other end takes no more for now."""
        self._closed = False
        self._loop = asyncio.get_running_loop()
        connected.setblocking(False)
        self._loop.add_reader(connected, self.poll)

    def send(self, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
        """Send, or keep until the other end takes it. ``fds`` are closed once they are sent.

        Raises:
            OSError: a message is too long for a packet, and there can be no file for it. Nothing is sent, and ``fds``
                stay the caller's.
        """
        data, passed = packed(message), list(fds)
        if len(data) > PACKET_LIMIT:
            data, passed = b"\0", [_in_a_file(data), *passed]
        self._unsent.append((data, passed))
        if len(self._unsent) == 1:
            self._flush()

    def _flush(self) -> None:
        while self._unsent and not self._closed:
            data, fds = self._unsent[0]
            try:
                socket.send_fds(self._socket, [data], fds)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._flush)
                self._is_full = True
                return
            except OSError:
                self._broken()
                break
            self._unsent.popleft()
            for fd in fds:
                os.close(fd)
        if self._is_full and not self._closed:
            self._is_full = False
            self._loop.remove_writer(self._socket)

    def poll(self) -> None:
        """Take in what has come until now."""
        try:
            for _ in range(_PACKETS_AT_ONCE):
                if self._closed:
                    break
                try:
                    packet = self._socket.recv(PACKET_LIMIT)
                except BlockingIOError:
                    break
                except ConnectionResetError:
                    packet = b""
                if not packet:
                    self.close()
                    self._lost()
                    break
                self._heard(_document(packet))
        except Exception as error:  # noqa: BLE001 - handed to whoever runs the runner
            self._fail(error)

    def close(self) -> None:
        """Hear nothing more; what is not sent yet is dropped. Harmless when repeated."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        while self._unsent:
            for fd in self._unsent.popleft()[1]:
                os.close(fd)


def _in_a_file(data: bytes) -> int:
    """A descriptor to read it from. Raises OSError; then none is open."""
    fd = os.memfd_create("request")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd


def _document(packet: bytes) -> Any:
    try:
        return unpacked(packet)
    except (ValueError, RecursionError):
        return None

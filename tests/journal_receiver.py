"""A journal for tests: a real datagram socket that reads systemd's native protocol, when it is told to read."""

import array
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Self

_LONGEST = 1 << 20
_SEALED = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL

Received = dict[str, str]


def parse(payload: bytes) -> Received:
    """The fields of one entry, by the rules that systemd.io/JOURNAL_NATIVE_PROTOCOL gives."""
    fields: dict[str, str] = {}
    while payload:
        head, newline, rest = payload.partition(b"\n")
        assert newline
        name, equals, value = head.partition(b"=")
        if equals:
            payload = rest
        else:
            (length,) = struct.unpack_from("<Q", rest)
            value, end = rest[8 : 8 + length], rest[8 + length : 9 + length]
            assert end == b"\n"
            payload = rest[9 + length :]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


class Receiver:
    """Bound to a path, as the journal is. What nobody has read waits in the kernel, a few entries at most."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.by_memfd = 0
        """Entries that came as a file."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(10)

    def next(self) -> Received:
        """The next entry. Raises TimeoutError where none comes."""
        room = socket.CMSG_SPACE(array.array("i").itemsize)
        payload, ancillary, _, _ = self._socket.recvmsg(_LONGEST, room)
        for _, _, data in ancillary:
            (fd,) = array.array("i", data[: array.array("i").itemsize])
            payload = self._file(fd)
        return parse(payload)

    def _file(self, fd: int) -> bytes:
        self.by_memfd += 1
        with open(fd, "rb") as file:
            assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALED == _SEALED
            file.seek(0)
            return file.read(os.fstat(fd).st_size)

    def until(self, wanted: Callable[[Received], bool]) -> list[Received]:
        """What comes up to the first entry that is wanted."""
        found = [self.next()]
        while not wanted(found[-1]):
            found.append(self.next())
        return found

    def nothing_is_left(self) -> bool:
        if self._socket.fileno() < 0:
            return True
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(10)
        return False

    def close(self) -> None:
        """Nobody receives any more. Harmless when repeated."""
        self._socket.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""Who is at the other end of a Unix socket, in the kernel's word. Standard library only: the launcher asks it too."""

import os
import socket
import struct
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("=iII")
"""``struct ucred``: see unix(7)."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as it was when it connected, or when it began to listen."""

    pid: int
    """0 where it is in another namespace of processes."""
    uid: int
    gid: int

    @classmethod
    def of(cls, connected: socket.socket) -> "Peer":
        """Raises OSError: it is not connected."""
        packed = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return cls(*_CREDENTIALS.unpack(packed))


def is_trusted(uid: int) -> bool:
    """Whether this user may give this process orders, and be given its own: root, or the user that it runs as."""
    return uid in (0, os.geteuid())

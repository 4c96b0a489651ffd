"""That the launcher's own unit is stopped: SIGTERM, heard with its sender. Standard library only."""

import ctypes
import os
import signal
import struct

_INFO = struct.Struct("=IiiII108x")
"""``struct signalfd_siginfo``: number, errno, code, and the sender's pid and user."""
_MASK = struct.Struct("=Q120x")
_SFD_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_SI_USER = 0
"""The code of kill(2), whose sender the kernel itself writes down. With others a sender may pretend to be anybody:
see rt_sigqueueinfo(2)."""


class StopRequests:
    """SIGTERM from whoever has started this process, or from root.

    Jobs have the launcher's user, and so may signal it: one that ends its parent must not end all others, again with
    each try. That takes the sender, which the standard library's handlers are not told of; so signalfd(2).
    """

    def __init__(self) -> None:
        """SIGTERM is blocked from now on, as signalfd wants it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        libc = ctypes.CDLL(None, use_errno=True)
        self._fd = int(libc.signalfd(-1, _MASK.pack(1 << (signal.SIGTERM - 1)), _SFD_FLAGS))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "cannot listen for signals")

    def fileno(self) -> int:
        return self._fd

    def take(self) -> bool:
        """Whether one that counts has come."""
        came = False
        try:
            while data := os.read(self._fd, _INFO.size):
                _, _, code, pid, user = _INFO.unpack(data)
                trusted = pid == os.getppid() or (user == 0 and os.geteuid() != 0)
                came |= trusted and code == _SI_USER
        except BlockingIOError:
            return came
        return came

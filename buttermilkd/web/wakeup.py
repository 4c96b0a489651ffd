"""How one thread wakes another that waits for a socket."""

import os
import select


class Wakeup:
    """One eventfd, set by any thread and waited for by one."""

    def __init__(self) -> None:
        """Raises OSError: no descriptor is left."""
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        return self._fd

    def set(self) -> None:
        """Never raises."""
        try:
            os.eventfd_write(self._fd, 1)
        except OSError:
            """Somebody has closed all descriptors of the process: who waits notices within a beat."""

    def clear(self) -> None:
        """Raises OSError: somebody else has closed it."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            """It was not set."""

    def wait(self, seconds: float) -> None:
        """Until it is set, so long at most; clears it. Raises OSError, as ``clear``."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.poll(milliseconds(seconds))
        self.clear()

    def close(self) -> None:
        try:
            os.close(self._fd)
        except OSError:
            """It is closed already."""


def milliseconds(seconds: float) -> int:
    """What ``poll`` takes: never less, so that nobody looks too early, again and again."""
    return int(1000 * seconds) + 1

"""The locks by which the workers of a web server keep one daemon beside them, and know of each other."""

import fcntl
import os
from pathlib import Path
from weakref import WeakSet

_OPEN: "WeakSet[Lock]" = WeakSet()


class Lock:
    """A lock on a file (flock), which the kernel releases with the process."""

    def __init__(self, path: Path) -> None:
        """Raises OSError."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _OPEN.add(self)

    def take(self, kind: int) -> bool:
        """Whether this process holds it now, ``kind`` being ``LOCK_SH`` or ``LOCK_EX``."""
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Also for processes that were forked while it was held."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def is_there(self) -> bool:
        """Whether the file is still the one that others find at its path."""
        try:
            found = self._path.stat()
        except OSError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    @property
    def is_watched(self) -> bool:
        """Whether a daemon hangs on it: that holds a lock of another sort (lockf), which these do not disturb."""
        try:
            # Shared, so that workers who look at the same time do not take each other for a daemon.
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        return False


def _leave_to_parent() -> None:
    """In a child that was forked: what it has inherited would hold its parent's locks for as long as it lives."""
    for lock in list(_OPEN):
        lock.close()


os.register_at_fork(after_in_child=_leave_to_parent)

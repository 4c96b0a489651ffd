"""A daemon that others have started for as long as they need it: they hold a lock, which ends with the last of them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from buttermilkd.clock import Clock
from buttermilkd.errors import StorageError

LOOK_EVERY = 0.25
"""Seconds between two looks whether anybody holds it still."""


class Lifeline:
    """A file of which whoever needs the daemon holds a shared lock. The kernel releases it with a process that dies.

    Once nobody does, the daemon holds it alone until it has ended, so that others can wait for that.
    """

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor = descriptor
        self._clock = clock

    async def released(self) -> None:
        """Return once nobody holds it any more."""
        while not self._is_ours():
            await self._clock.sleep(LOOK_EVERY)

    def _is_ours(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextmanager
def held_by_others(path: Path, clock: Clock) -> Iterator[Lifeline]:
    """The lifeline at this path, with a lock of another sort (lockf) that tells the others of this daemon.

    Raises:
        StorageError: the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise StorageError(
            f"cannot open the lifeline {path}: {error.strerror}", hint="name a file that the daemon may write"
        ) from error
    try:
        with suppress(OSError):  # a second daemon, which will be refused
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield Lifeline(descriptor, clock)
    finally:
        os.close(descriptor)

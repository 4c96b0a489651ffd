"""Listening Unix sockets."""

import errno
import grp
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from buttermilkd.errors import ConflictError, StorageError

BACKLOG = 128


@contextmanager
def listening(path: Path, mode: int, groups: Sequence[str] = ()) -> Iterator[socket.socket]:
    """A Unix stream socket listening at ``path``, owned by the first of ``groups`` that there is.

    What a daemon that died left there is replaced. The path is removed afterwards if it is still ours.

    Raises:
        ConflictError: a living process listens there.
        StorageError: it cannot be made, or something else lies there.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX)
    except OSError as error:
        raise StorageError(f"cannot listen at {path}: {error.strerror or error}") from error
    with listener:
        inode = _bind(listener, path, mode, groups)
        try:
            yield listener
        finally:
            with suppress(OSError):
                if path.lstat().st_ino == inode:
                    path.unlink()


def _bind(listener: socket.socket, path: Path, mode: int, groups: Sequence[str]) -> int:
    """Bind with no more rights than wanted at any moment; the inode of what was made."""
    mask = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        _give_to(path, groups)
        listener.listen(BACKLOG)
        listener.setblocking(False)
        return path.lstat().st_ino
    except OSError as error:
        raise StorageError(
            f"cannot listen at {path}: {error.strerror or error}", hint="set another daemon.runtime_dir"
        ) from error
    finally:
        os.umask(mask)


def _give_to(path: Path, groups: Sequence[str]) -> None:
    """Let the group connect, where it exists and we may say so; without it the owner alone may."""
    for name in groups:
        with suppress(KeyError, PermissionError):
            os.chown(path, -1, grp.getgrnam(name).gr_gid)
            return


def _remove_stale(path: Path) -> None:
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise StorageError(
            f"cannot listen at {path}: something lies there that is no socket", hint="move it away"
        )
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a daemon that hangs, its backlog full, is a living one
        answer = probe.connect_ex(os.fspath(path))
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise ConflictError(
            f"cannot listen at {path}: another process does", hint="stop it, or set daemon.runtime_dir"
        )
    path.unlink(missing_ok=True)

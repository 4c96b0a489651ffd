"""Listening Unix sockets: those that systemd has opened for us, and our own."""

import errno
import grp
import logging
import os
import socket
import stat
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from buttermilkd.errors import ConflictError, MisconfiguredError, StorageError

logger = logging.getLogger(__name__)

BACKLOG = 128
FIRST_PASSED = 3
"""The first descriptor that systemd passes. Source: sd_listen_fds(3)."""
VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_UNNAMED = "unknown"


@contextmanager
def listening(path: Path, mode: int, groups: Sequence[str] = ()) -> Iterator[socket.socket]:
    """A Unix stream socket listening at ``path``, owned by the first of ``groups`` that there is.

    What a daemon that died left there is replaced. The path is removed afterwards if it is still ours.

    Raises:
        ConflictError: a living process listens there.
        StorageError: it cannot be made, or something else lies there.
    """
    try:
        _make_passable(path.parent)
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


def _make_passable(folder: Path) -> None:
    """Make what is missing of it, so that others reach the sockets in it, and change nothing there. Raises OSError."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(mode=0o700)
            one.chmod(0o755)  # whatever the umask is


def _bind(listener: socket.socket, path: Path, mode: int, groups: Sequence[str]) -> int:
    """Bind with no more rights than wanted at any moment; the inode of what was made."""
    mask = os.umask(0o777 & ~mode)
    try:
        listener.bind(str(path))
        path.chmod(mode)
        give_to(path, ids_of(groups))
        listener.listen(BACKLOG)
        listener.setblocking(False)
        return path.lstat().st_ino
    except OSError as error:
        raise StorageError(
            f"cannot listen at {path}: {error.strerror or error}", hint="set another daemon.runtime_dir"
        ) from error
    finally:
        os.umask(mask)


def ids_of(groups: Sequence[str]) -> list[int]:
    """Those of them that there are. It may take a while, where a directory service knows them."""
    found = []
    for name in groups:
        with suppress(KeyError):
            found.append(grp.getgrnam(name).gr_gid)
    return found


def give_to(path: Path, groups: Sequence[int]) -> None:
    """Let the first group connect of those that we may name; without one, our own. Raises OSError: there is no such path."""
    for group in groups:
        with suppress(PermissionError):
            os.chown(path, -1, group)
            return
    # Not even asked for where nothing would change: a sandbox may forbid the call itself.
    if path.stat().st_gid != os.getegid():
        with suppress(PermissionError):
            os.chown(path, -1, os.getegid())


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


@contextmanager
def passed(
    environ: MutableMapping[str, str], names: Sequence[str], first: int = FIRST_PASSED
) -> Iterator[Mapping[str, socket.socket]]:
    """The sockets that systemd has opened for this process, by name; the environment is cleared of them.

    Their paths, modes and groups are those of the socket unit: nothing of them is changed or removed, so that who
    connects while no daemon runs is served by the next one. ``names`` are those that there may be; ``first`` is the
    first descriptor.

    Raises:
        MisconfiguredError: one has another name or is of another kind; the message says what its unit must say.
    """
    owner, number, told = (environ.pop(name, "") for name in VARIABLES)
    with ExitStack() as stack:
        found: dict[str, socket.socket] = {}
        # What was passed to a parent was not passed to this process.
        count = int(number) if number.isdecimal() and owner == str(os.getpid()) else 0
        called = [*told.split(":"), *[""] * count] if told else [""] * count
        for descriptor, name in zip(range(first, first + count), called, strict=False):
            listener = stack.enter_context(_taken(descriptor, name or _UNNAMED))
            _check(listener, name or _UNNAMED, names, found)
            found[name] = listener
        yield found


def _taken(descriptor: int, name: str) -> socket.socket:
    """Raises MisconfiguredError."""
    try:
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
    except OSError as error:
        raise _unusable(name, f"its descriptor {descriptor} is no socket ({error.strerror})") from error
    listener.setblocking(False)
    return listener


def _check(
    listener: socket.socket, name: str, names: Sequence[str], found: Mapping[str, socket.socket]
) -> None:
    """Raises MisconfiguredError."""
    if name not in names:
        wanted = " or ".join(f"FileDescriptorName={one}" for one in names)
        raise _unusable(name, f"there is no use for one of this name; say {wanted} in its unit")
    if name in found:
        raise _unusable(
            name, "there are two of this name; give each socket unit a FileDescriptorName= of its own"
        )
    if listener.family != socket.AF_UNIX:
        raise _unusable(name, "it is no Unix socket; give ListenStream= an absolute path")
    is_stream = listener.type == socket.SOCK_STREAM
    if not is_stream or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        what = "it does not listen" if is_stream else "it is no stream socket"
        raise _unusable(name, f"{what}; it needs ListenStream= and Accept=no in its unit")


def _unusable(name: str, why: str) -> MisconfiguredError:
    return MisconfiguredError(
        f'cannot use the socket "{name}" that systemd has passed: {why}',
        hint="see `systemctl cat buttermilkd.socket`, and systemd.socket(5)",
    )


@contextmanager
def open_at(
    path: Path, given: socket.socket | None, mode: int, groups: Sequence[str] = ()
) -> Iterator[socket.socket]:
    """The socket that systemd has passed for this place or, without one, our own: see ``listening``."""
    if given is None:
        with listening(path, mode, groups) as listener:
            yield listener
        return
    if given.getsockname() != str(path):
        logger.warning(
            "listening at %s, which systemd has passed, and not at %s: clients need --socket, or another "
            "daemon.runtime_dir or ListenStream=",
            given.getsockname(),
            path,
        )
    yield given

"""One daemon at a time for one state directory, by a lock that the kernel releases with its last holder."""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from buttermilkd.errors import ConflictError, StorageError

PATIENCE = 10.0
"""Seconds to wait for a dead daemon's children to be ended."""
_PAUSE = 0.02


def boot_id() -> str:
    """Tells this run of the machine from all others."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


@contextmanager
def sole_instance(folder: Path, pause: Callable[[float], None] = time.sleep) -> Iterator[int]:
    """Hold the state directory's lock; yields its file descriptor, for children that must be gone before it is.

    The launcher of job processes inherits the descriptor. So where a daemon has died, the lock is free
    once the launcher has ended every process of that daemon's jobs, and no job can run twice at a time.

    Raises:
        ConflictError: another daemon uses the directory; the message names its pid.
        StorageError: the directory cannot be made or written.
    """
    path = folder / "lock"
    try:
        folder.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    except OSError as error:
        raise StorageError(
            f"cannot use the state directory {folder}: {error.strerror}",
            hint="make it, writable for the daemon's user, or set daemon.state_dir",
        ) from error
    try:
        _lock(descriptor, folder, pause)
        owner = {"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "boot_id": boot_id()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode() + b"\n", 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, pause: Callable[[float], None]) -> None:
    for _ in range(round(PATIENCE / _PAUSE)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if (pid := _living_owner(descriptor)) is not None:
                raise ConflictError(
                    f"cannot start: another buttermilkd (pid {pid}) uses {folder}",
                    hint="stop that one first, or set another daemon.state_dir",
                ) from None
            pause(_PAUSE)
        else:
            return
    raise ConflictError(
        f"cannot start: children of a daemon that died still hold {folder}/lock after {PATIENCE:.0f} s",
        hint=f"see who it is: fuser {folder}/lock; the jobs' own unit lets go of it by: "
        "systemctl stop buttermilkd-jobs.socket buttermilkd-jobs",
    )


def _living_owner(descriptor: int) -> int | None:
    """The pid of the daemon that wrote the lock file, where it is the same process still."""
    try:
        owner = json.loads(os.pread(descriptor, 4096, 0))
        pid = int(owner["pid"])
        same = owner["boot_id"] == boot_id() and owner["start_ticks"] == start_ticks(pid)
    except (ValueError, KeyError, TypeError):
        return None  # being written this moment: the next look will tell
    return pid if same and not _is_zombie(pid) else None


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat[stat.rindex(b")") + 2 :][:1] in b"ZX"

"""What is done to a ledger where no daemon works with it: copied, put back, mended. Imported only by those commands."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from buttermilkd.clock import SystemClock
from buttermilkd.errors import ConflictError, DamagedError, NotFoundError
from buttermilkd.host.instance import sole_instance
from buttermilkd.ledger.backup import Known, copy, examined, known, snapshot
from buttermilkd.ledger.integrity import FILE, Mark, begun, check, check_log, check_presence, size_of
from buttermilkd.ledger.opening import copying, refusing
from buttermilkd.ledger.replacing import Undone, finish, fold, fresh_file, replace, take_up, undone
from buttermilkd.ledger.salvage import Salvaged, salvage


def verify(path: Path) -> Known:
    """What this copy of a ledger knows, after every page of it has been read.

    Raises:
        StorageError: it is damaged, no ledger, or from a newer version.
    """
    with examined(path) as connection:
        return known(connection)


def back_up(state: Path, target: Path) -> None:
    """Copy the ledger in ``state`` into the empty file ``target``. A daemon may run, or not.

    Raises:
        NotFoundError: there is no ledger, or nothing in it.
        StorageError: it cannot be read, or the copy not be written.
    """
    path = state / FILE
    with refusing(path), ExitStack() as stack:
        with _as_owner(state):
            check_presence(path)
            check_log(path)
            if not size_of(path):
                why = f"{path} is empty" if path.exists() else f"there is no {path}"
                raise NotFoundError(
                    f"cannot find a ledger: {why}", hint="name its configuration: --config FILE"
                )
            source = stack.enter_context(snapshot(path))
        with copying(path, target):
            copy(source, target)


def restore(state: Path, backup: Path) -> tuple[Known, Undone | None, Path | None]:
    """Put a copy in the place of the ledger in ``state``.

    Returns what it knows; what is lost by that, as far as the old ledger can be read; and where the old one is now.

    Raises:
        ConflictError: a daemon runs.
        StorageError: the copy is damaged, no ledger or from a newer version, or cannot be written there.
    """
    if not backup.exists():
        raise NotFoundError(f"cannot find the backup: there is no {backup}")
    path = state / FILE
    with examined(backup) as source:
        knows = known(source)
        with _alone(state, "restore the ledger"):
            fold(path)
            lost = undone(source, path)
            with fresh_file(state) as fresh:
                copy(source, fresh)
                take_up(fresh, 0 if lost is None else lost.latest)
                return knows, lost, replace(state, f"{FILE}.before-restore-{_stamp()}")


def was_closed_well(state: Path) -> bool:
    """Whether the ledger in ``state`` is the one that was closed, with nothing wrong. Raises StorageError."""
    with refusing(state / FILE):
        return Mark(state).holds()


def is_damaged(state: Path) -> str | None:
    """What is wrong with the ledger in ``state``, on which no daemon works; None where it is whole or not there.

    Raises:
        StorageError: it cannot be read, which is no damage.
    """
    path = state / FILE
    try:
        with _as_owner(state), refusing(path):
            check_presence(path)
            check_log(path)
            if size_of(path):
                with snapshot(path) as connection:
                    check(connection, path, indexes=True)
    except DamagedError as error:
        return str(error)
    return None


def finished(state: Path) -> bool:
    """Finish a restore or a repair that was cut short; whether there was one. Raises as ``repair``."""
    if not begun(state / FILE):
        return False
    with _alone(state, "finish what was begun"):
        return True


def repair(state: Path) -> tuple[Salvaged, Path | None]:
    """Make a new ledger of all that can be read in the damaged one in ``state``; where the damaged one is now.

    Raises:
        ConflictError: a daemon runs.
        StorageError: the new one cannot be written.
    """
    path = state / FILE
    with _alone(state, "repair the ledger"), fresh_file(state) as fresh:
        saved = salvage(path, fresh, SystemClock().now())
        return saved, replace(state, f"{FILE}.damaged-{_stamp()}")


def _stamp() -> str:
    return datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y%m%dT%H%M%SZ")


@contextmanager
def _alone(state: Path, what: str) -> Iterator[None]:
    """Hold the lock of a state directory that is there. Raises ConflictError."""
    if not state.is_dir():
        raise NotFoundError(
            f"cannot {what}: there is no {state}", hint="name its configuration: --config FILE"
        )
    with _as_owner(state):
        try:
            with sole_instance(state), refusing(state / FILE):
                finish(state)
                yield
        except ConflictError as error:
            told = str(error).removeprefix("cannot start: ")
            hint = "stop it first: systemctl stop buttermilkd.socket buttermilkd"
            raise ConflictError(f"cannot {what}: {told}", hint=hint) from None


@contextmanager
def _as_owner(state: Path) -> Iterator[None]:
    """Do as root what is done in here as the user whose folder it is: a file of root's would stop the daemon."""
    owner = state.stat() if os.geteuid() == 0 and state.is_dir() else None
    if owner is None or owner.st_uid == 0:
        yield
        return
    group = os.getegid()
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)

"""How the ledger is opened for writing: checked where that is due, then brought up to date."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from buttermilkd.errors import StorageError
from buttermilkd.ledger.integrity import (
    COPY,
    FILE,
    Mark,
    check,
    check_log,
    check_presence,
    damaged,
    is_damage,
    size_of,
)
from buttermilkd.ledger.replacing import finish
from buttermilkd.ledger.schema import VERSION, configure, migrate, renew_indexes, version_of
from buttermilkd.ledger.writer import storage_error

INSTRUCTIONS = 1_000_000
"""Of SQLite's virtual machine between two signs that it works: some hundredths of a second."""


def opened(folder: Path, worked: Callable[[], None] | None = None) -> sqlite3.Connection:
    """The writer's connection. A ledger that was not closed well is checked first.

    The mark of a clean stop is taken away: from now on it is not closed. ``worked`` is called again and again
    while SQLite works.

    Raises:
        StorageError: it cannot be read or written, is damaged, or comes from a newer version.
    """
    path = folder / FILE
    try:
        finish(folder)
        check_presence(path)
        was_closed_well = Mark(folder).take()
        (folder / COPY).unlink(missing_ok=True)  # of a daemon that died
        is_due = size_of(path) > 0 and not was_closed_well
        if is_due:
            check_log(path, worked or (lambda: None))
        return _connected(path, worked, is_due=is_due)
    except (sqlite3.Error, OSError) as error:
        raise refusal(error, path) from error


def _connected(path: Path, worked: Callable[[], None] | None, *, is_due: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.row_factory = sqlite3.Row
        if worked is not None:
            connection.set_progress_handler(worked, INSTRUCTIONS)
        path.chmod(0o640)
        configure(connection)
        # One of a newer version may have tables that cannot be judged here.
        if is_due and version_of(connection) <= VERSION:
            check(connection, path)
        migrate(connection, str(path))
        if is_due:
            renew_indexes(connection, str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def refusal(error: sqlite3.Error | OSError, path: Path) -> StorageError:
    """The ledger's own error for one of SQLite's or of the system's, with what mends it."""
    if is_damage(error):
        return damaged(path, str(error))
    told = storage_error(error)
    return StorageError(str(told).replace("the ledger:", f"the ledger {path}:", 1), hint=told.hint)


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Have what SQLite and the system refuse in here come out as StorageError about the ledger at ``path``."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise refusal(error, path) from error


@contextmanager
def copying(path: Path, target: Path) -> Iterator[None]:
    """The same for what copies the ledger at ``path`` to another place, which is to blame for all but damage."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if is_damage(error):
            raise damaged(path, str(error)) from error
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        hint = "choose another place, or make room"
        raise StorageError(f"cannot write {target}: {why}", hint=hint) from error

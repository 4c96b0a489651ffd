"""Whole copies of a ledger, as it was at one moment, made beside a daemon that goes on writing."""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from buttermilkd.errors import ConflictError, StorageError, UnavailableError
from buttermilkd.jobs import Status
from buttermilkd.ledger.integrity import (
    COPY,
    FILE,
    WAL,
    check,
    check_presence,
    damaged,
    reading,
    size_of,
    with_suffix,
)
from buttermilkd.ledger.opening import refusal
from buttermilkd.ledger.schema import VERSION, version_of

PAGES = 256
"""Copied at a time: a mebibyte, so that whoever writes meanwhile never finds the disk busy for long."""
PAUSE = 0.002
"""Seconds between two portions."""
SPARE = 64 * 2**20
"""Bytes that a copy has to leave free on the ledger's disk."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a ledger knows."""

    batches: int
    jobs: int
    unfinished: int
    """Jobs that wait or ran: they run once a daemon starts."""
    at: float | None
    """When its newest event happened, in seconds since the epoch."""


@contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that sees the ledger as it is now for as long as it is open, whatever is written meanwhile.

    Raises:
        sqlite3.Error: it cannot be read.
        DamagedError: only commits beside it are left of it.
    """
    with reading(path) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        yield connection


def copy(
    source: sqlite3.Connection,
    target: Path,
    stopped: Callable[[], bool] = lambda: False,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Copy what ``source`` sees into the empty file ``target``, durably, in small steps.

    Raises:
        UnavailableError: ``stopped`` said so.
        sqlite3.Error, OSError: it cannot be read, or written.
    """

    def between(_status: int, _left: int, _total: int) -> None:
        if stopped():
            raise UnavailableError("cannot copy the ledger: buttermilkd is stopping")
        sleep(PAUSE)

    with closing(sqlite3.connect(target, isolation_level=None)) as copied:
        # It is no use to anybody until it is whole, and then it is made durable at once.
        copied.execute("PRAGMA journal_mode = OFF")
        copied.execute("PRAGMA synchronous = OFF")
        source.backup(copied, pages=PAGES, progress=between)
        copied.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def copy_for_asker(folder: Path, stop: threading.Event) -> int:
    """A descriptor of a whole copy of the ledger in ``folder``, which has no name any more.

    Raises:
        ConflictError: one is being made.
        StorageError: it cannot be made; for one because there is no room.
        UnavailableError: ``stop`` was set.
    """
    path, target = folder / FILE, folder / COPY
    try:
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise ConflictError(
            "cannot copy the ledger: another copy is being made", hint="try again in a while"
        ) from None
    except OSError as error:
        raise refusal(error, path) from error
    try:
        _demand_room(folder, size_of(path) + size_of(with_suffix(path, WAL)))
        with snapshot(path) as source:
            copy(source, target, stop.is_set)
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, sqlite3.Error | OSError):
            raise refusal(error, path) from error
        raise
    finally:
        target.unlink(missing_ok=True)
    return descriptor


def _demand_room(folder: Path, wanted: int) -> None:
    room = os.statvfs(folder)
    if room.f_bavail * room.f_frsize < wanted + SPARE:
        raise StorageError(
            f"cannot copy the ledger: there is no room for another {wanted // 2**20 + 1:,} MiB in {folder}",
            hint="make room; or stop the daemon, and run `buttermilkctl backup FILE` then, which needs none there",
        )


@contextmanager
def examined(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy that has been found whole, and of a version that is known here.

    Raises:
        StorageError: it is damaged, no ledger, or from a newer version.
    """
    check_presence(path)
    try:
        # A copy on a disk that nobody may write has no place for what SQLite keeps beside a file in WAL mode.
        fixed = "" if size_of(with_suffix(path, WAL)) else "&immutable=1"
        address = f"file:{quote(str(path))}?mode=ro{fixed}"
        with closing(sqlite3.connect(address, uri=True, isolation_level=None)) as connection:
            connection.row_factory = sqlite3.Row
            version = version_of(connection)
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'batches'").fetchone():
                raise StorageError(f"cannot use {path}: it is no ledger of buttermilkd")
            if version > VERSION:
                raise StorageError(
                    f"cannot use {path}: it was written by a newer version (schema {version}, this one knows {VERSION})",
                    hint="install that version again",
                )
            check(connection, path)
            yield connection
    except sqlite3.DatabaseError as error:
        raise damaged(path, str(error)) from error


def known(connection: sqlite3.Connection) -> Known:
    """What the ledger at the other end knows. Raises sqlite3.Error."""
    unfinished = f"status IN ('{Status.PENDING}', '{Status.RUNNING}')"
    jobs, left = connection.execute(f"SELECT count(*), coalesce(sum({unfinished}), 0) FROM jobs").fetchone()
    (batches,) = connection.execute("SELECT count(*) FROM batches").fetchone()
    (at,) = connection.execute("SELECT max(at) FROM events").fetchone()
    return Known(batches, jobs, left, at)

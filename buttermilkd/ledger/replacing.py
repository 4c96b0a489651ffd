"""Putting another ledger in the place of one, of which nothing is thrown away."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from buttermilkd.errors import DamagedError
from buttermilkd.ledger import publication
from buttermilkd.ledger.integrity import (
    FILE,
    MARK,
    NEXT,
    WAL,
    begun,
    check_log,
    size_of,
    sync_folder,
    with_suffix,
)
from buttermilkd.ledger.schema import configure, migrate

FRESH = f"{FILE}.new"


@contextmanager
def fresh_file(folder: Path) -> Iterator[Path]:
    """An empty file for the new ledger, which ``replace`` puts in its place, or nobody: then it is removed.

    Whatever an earlier try has left there is removed as well.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / FRESH
    _remove(path)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640))
        path.chmod(0o640)
        yield path
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    for suffix in ("", WAL, "-shm", "-journal"):
        with_suffix(path, suffix).unlink(missing_ok=True)


def replace(folder: Path, kept_as: str) -> Path | None:
    """Have the file of ``fresh_file`` take the ledger's place; where the old one is now, if there was one.

    It is done as soon as the new one has a name that says so: whoever comes next finishes what is cut short then.

    Raises:
        OSError: the folder cannot be written.
    """
    path, fresh = folder / FILE, folder / FRESH
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    kept = _unused(folder, kept_as)
    had_one = path.exists() or size_of(with_suffix(path, WAL)) > 0
    fresh.rename(with_suffix(kept, NEXT))
    sync_folder(folder)
    finish(folder)
    return kept if had_one else None


def finish(folder: Path) -> None:
    """Finish a replacement, before SQLite looks at the ledger: it would take the commits of one for the other's.

    Raises:
        OSError: the folder cannot be written.
    """
    path = folder / FILE
    for ready in begun(path):
        kept = ready.with_name(ready.name.removesuffix(NEXT))
        if path.exists():
            kept = _unused(folder, kept.name)
            _move(path, kept)
        if size_of(with_suffix(path, WAL)):
            _move(with_suffix(path, WAL), with_suffix(kept, WAL))
        for suffix in (WAL, "-shm"):
            with_suffix(path, suffix).unlink(missing_ok=True)
        (folder / MARK).unlink(missing_ok=True)
        sync_folder(folder)
        ready.replace(path)
        sync_folder(folder)


def take_up(fresh: Path, latest: int) -> None:
    """Make a copy ready to go on after what it does not know.

    Event numbers follow on ``latest``; and the next start asks the other hosts, and Pub/Sub anew for what has not
    ended, whose messages may be gone.

    Raises:
        sqlite3.Error: it cannot be written.
    """
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        configure(db)
        migrate(db, str(fresh))
        db.execute("BEGIN IMMEDIATE")
        publication.note_loss(db)
        (known,) = db.execute(
            "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"
        ).fetchone()
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
        db.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (max(known, latest),))
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = DELETE")


def _move(path: Path, target: Path) -> None:
    with suppress(FileNotFoundError):
        path.rename(target)


def _unused(folder: Path, name: str) -> Path:
    """This name, or with a number where it is taken."""
    number = 1
    path = folder / name
    while path.exists() or with_suffix(path, WAL).exists():
        number += 1
        path = folder / f"{name}-{number}"
    return path


def fold(path: Path) -> None:
    """Have SQLite write what lies in the WAL into the ledger itself, where it can do so with all of it."""
    with suppress(DamagedError):
        check_log(path)
        if not size_of(path):
            return  # beside an empty file SQLite would remove the WAL
        with suppress(sqlite3.Error), closing(sqlite3.connect(path, isolation_level=None)) as connection:
            configure(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@dataclass(frozen=True, slots=True)
class Undone:
    """What an older ledger does not know that a newer one knew."""

    again: int
    """Jobs that have ended, and run again."""
    unknown: list[str]
    """Batches that it does not have."""
    latest: int
    """The number of the newest event."""


def undone(connection: sqlite3.Connection, newer: Path) -> Undone | None:
    """What is lost where the ledger at ``connection`` takes the place of ``newer``; None where that cannot be read."""
    if not size_of(newer):
        return None
    try:
        connection.execute("ATTACH ? AS newer", (f"file:{quote(str(newer))}?mode=ro",))
        (again,) = connection.execute(
            """SELECT count(*) FROM main.jobs
               JOIN main.batches ON batches.key = jobs.batch
               JOIN newer.batches AS later
                    ON later.batch_id = batches.batch_id AND later.first_job = batches.first_job
               JOIN newer.jobs AS ended ON ended.id = jobs.id
               WHERE jobs.status IN ('pending', 'running')
                 AND ended.status IN ('completed', 'failed', 'cancelled')"""
        ).fetchone()
        rows = connection.execute(
            """SELECT batch_id FROM newer.batches WHERE phase <> 'staged'
               AND batch_id NOT IN (SELECT batch_id FROM main.batches) ORDER BY key"""
        ).fetchall()
        (latest,) = connection.execute(
            "SELECT coalesce(max(seq), 0) FROM newer.sqlite_sequence WHERE name = 'events'"
        ).fetchone()
        return Undone(again, [row["batch_id"] for row in rows], latest)
    except sqlite3.Error:
        return None
    finally:
        with suppress(sqlite3.Error):
            connection.execute("DETACH newer")

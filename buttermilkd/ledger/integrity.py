"""Whether a ledger is whole: a mark that says that it was closed well, and a check where it was not."""

import glob
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from buttermilkd.errors import DamagedError
from buttermilkd.ledger.wal import is_broken

FILE = "ledger.sqlite3"
WAL = "-wal"
"""What SQLite adds to the name of the file for commits that are not in the ledger itself yet."""
MARK = "clean"
COPY = f"{FILE}.copy"
"""What the daemon makes for whoever asks it for a backup."""
NEXT = ".next"
"""What is added to the name under which a ledger will be kept, for the one that takes its place."""
FINDINGS = 5
"""Faults that are named: one is enough to know, and a damaged ledger may have millions."""
MEND = (
    "`buttermilkctl doctor --repair` keeps the file and saves what can be read;"
    " `buttermilkctl restore FILE` goes back to a backup"
)
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_damage(error: BaseException) -> bool:
    """Whether this error of SQLite's means that the file is damaged."""
    # The lowest byte is the kind; those above it tell more.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE


def is_doubtful(error: BaseException) -> bool:
    """Whether nobody knows after this error whether the file is whole."""
    return is_damage(error) or getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_IOERR


class Mark:
    """A file beside the ledger, there only while the ledger is closed, and was closed well.

    It holds size and time of the ledger, so that one that was put in its place by hand is not taken for checked.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MARK
        self._ledger = folder / FILE

    def take(self) -> bool:
        """Remove it, durably; whether it was there and says that this ledger was closed well.

        Raises:
            OSError: the folder cannot be written.
        """
        if not self._path.exists():
            return False
        holds = self.holds()
        self._path.unlink()
        sync_folder(self._path.parent)
        return holds

    def holds(self) -> bool:
        """Whether it is there and says that this ledger was closed well. Raises OSError."""
        try:
            text = self._path.read_text("ascii", "replace")
        except FileNotFoundError:
            return False
        return bool(text) and text == self._text() and not size_of(with_suffix(self._ledger, WAL))

    def set(self) -> None:
        """Write it: the ledger has been closed, and nothing was wrong with it.

        Where it cannot be written nothing is lost: the next start checks.
        """
        with suppress(OSError):
            fresh = self._path.with_name(f"{MARK}.new")
            with fresh.open("w", encoding="ascii") as file:
                file.write(self._text())
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
            sync_folder(self._path.parent)

    def _text(self) -> str:
        try:
            status = self._ledger.stat()
        except FileNotFoundError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns}\n"


def check_presence(path: Path) -> None:
    """Refuse what SQLite would take for a new ledger, though it is what is left of one.

    SQLite removes the commits beside an empty file even where it is to read only: so this comes before it.

    Raises:
        DamagedError: the file is empty or missing, and something beside it says that it was not, or that another one
            is about to take its place.
    """
    if begun(path):
        raise damaged(path, "another one was to take its place, and that was cut short")
    if size_of(path):
        return
    if size_of(with_suffix(path, WAL)):
        how = "empty" if path.exists() else "missing"
        raise damaged(path, f"it is {how}, but {path.name}{WAL} beside it is not")
    # One that is missing was moved away, by somebody who wants to begin anew.
    if path.exists() and size_of(path.with_name(MARK)):
        raise damaged(path, "it is empty, and was not when it was closed")


def begun(path: Path) -> list[Path]:
    """Ledgers that are whole, and are to take the place of the one at ``path``."""
    return sorted(path.parent.glob(f"{glob.escape(path.name)}.*{NEXT}"))


def check_log(path: Path, worked: Callable[[], None] = lambda: None) -> None:
    """Refuse a ledger of whose commits SQLite would drop some in silence; before SQLite opens it, which may remove them.

    Raises:
        DamagedError: one in its WAL cannot be read, and others follow.
        OSError: the WAL cannot be read.
    """
    log = with_suffix(path, WAL)
    # A daemon may be writing meanwhile, and be seen in the midst of it: what is damaged is so for ever.
    if size_of(log) and all(is_broken(log.read_bytes(), worked) for _ in range(2)):
        raise damaged(path, f"a commit in {log.name} cannot be read, and others follow it")


def check(connection: sqlite3.Connection, path: Path, *, indexes: bool = False) -> None:
    """Read every page once, and compare what can be compared with that; with ``indexes`` also each row with these.

    Raises:
        DamagedError: the message says how.
        sqlite3.Error: it cannot even be read.
    """
    which = "integrity_check" if indexes else "quick_check"
    findings = [str(row[0]) for row in connection.execute(f"PRAGMA {which}({FINDINGS})")]
    if findings != ["ok"]:
        # The first line may be no more than a heading.
        lines = [line for finding in findings for line in finding.splitlines() if not line.startswith("***")]
        raise damaged(path, "; ".join(lines[:FINDINGS]) or findings[0])


def damaged(path: Path, how: str) -> DamagedError:
    return DamagedError(f"cannot use the ledger {path}: it is damaged: {how}", hint=MEND)


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that changes nothing. Raises sqlite3.Error, and DamagedError as ``check_presence`` does."""
    check_presence(path)
    connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA busy_timeout = 10000")
        yield connection
    finally:
        connection.close()


def with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def size_of(path: Path) -> int:
    """Bytes; 0 where there is no such file."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync_folder(folder: Path) -> None:
    """Make names in it durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A new ledger of all that can still be read in a damaged one, row by row."""

import mmap
import sqlite3
import struct
from collections import Counter
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from buttermilkd.errors import StorageError
from buttermilkd.ledger.integrity import WAL, reading, size_of, with_suffix
from buttermilkd.ledger.pages import Buffer, PageError, Pages
from buttermilkd.ledger.reconciling import Reconciled, reconcile
from buttermilkd.ledger.schema import VERSION, configure, migrate
from buttermilkd.ledger.shapes import Shape, shapes
from buttermilkd.ledger.wal import committed

_MAGIC = b"SQLite format 3\0"
_PAGE = 4096
_GUESSED = frozenset({"batches", "jobs", "results", "attempts", "logs", "events", "answers", "holds"})
"""Tables whose rows are known by what they look like, where nothing says any more whose they are."""


@dataclass(slots=True)
class Salvaged:
    """What was saved, and what was not."""

    saved: dict[str, int] = field(default_factory=dict)
    """Rows by their tables."""
    unreadable: Counter[str] = field(default_factory=Counter)
    """Rows that were there and could not be read, by their tables, as far as they could be counted."""
    reconciled: Reconciled = field(default_factory=Reconciled)


def salvage(path: Path, fresh: Path, now: float) -> Salvaged:
    """Fill the empty file ``fresh`` with a whole ledger made of what is left at ``path``, which is not touched.

    Raises:
        StorageError: it was written by a newer version.
        sqlite3.Error, OSError: the new one cannot be written, or the file not be read at all.
    """
    told = Salvaged()
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        db.row_factory = sqlite3.Row
        configure(db)
        migrate(db, str(fresh))
        db.execute("BEGIN IMMEDIATE")
        _fill(db, path, told)
        _copy_history(db, path)
        told.reconciled = reconcile(db, now)
        told.saved = {table: db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in shapes()}
        told.saved["jobs"] -= told.reconciled.lost
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = DELETE")
        (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"the new ledger is not whole: {verdict}")
    return told


def _fill(db: sqlite3.Connection, path: Path, told: Salvaged) -> None:
    log = with_suffix(path, WAL)
    newer, size = committed(log.read_bytes()) if size_of(log) else ({}, None)
    if not size_of(path):
        _fill_from(db, Pages(b"", newer, size or _PAGE), told)
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        _fill_from(db, Pages(content, newer, size or _page_size(content)), told)


def _page_size(content: Buffer) -> int:
    if len(content) < 100 or content[:16] != _MAGIC:  # noqa: PLR2004 - of the header
        return _PAGE
    (size,) = struct.unpack_from(">H", content, 16)
    size = 65536 if size == 1 else size
    return size if size >= 512 and not size & size - 1 else _PAGE  # noqa: PLR2004 - the least that there is


def _fill_from(db: sqlite3.Connection, pages: Pages, told: Salvaged) -> None:
    if not pages.count:
        return
    has_header = pages.page(1)[:16] == _MAGIC
    if has_header:
        _refuse_newer(pages)
    known, seen = shapes(), set[int]()
    roots = _roots(pages, pages.leaves_below(1, seen))
    if not set(known) <= set(roots):
        roots = _roots(pages, pages.other_leaves(seen, freed=has_header)) | roots
    strange: dict[int, Shape] = {}
    for table, shape in known.items():
        for leaf in pages.leaves_below(roots.get(table, 0), seen):
            if _is_of(pages, leaf, shape):
                told.unreadable[table] += _write(db, pages, leaf, shape)
            else:
                # The way to it is wrong, as where a page was written to another's place: what is right may follow.
                seen.discard(leaf)
                strange.setdefault(leaf, shape)
    for leaf in pages.other_leaves(seen, freed=has_header):
        if (found := _guess(pages, leaf, known) or strange.get(leaf)) is not None:
            told.unreadable[found.table] += _write(db, pages, leaf, found)


def _refuse_newer(pages: Pages) -> None:
    (version,) = struct.unpack_from(">I", pages.page(1), 60)
    # Of a number that is no count of migrations the header is to blame.
    if VERSION < version < VERSION + 100:
        raise StorageError(
            f"cannot repair the ledger: it was written by a newer version (schema {version}, this one knows {VERSION})",
            hint="install that version again",
        )


def _roots(pages: Pages, leaves: Iterable[int]) -> dict[str, int]:
    """The first page of each table, as far as the list of them can be read."""
    found: dict[str, int] = {}
    for leaf in leaves:
        for row in pages.rows_on(leaf):
            match row and row.values:
                case ("table", str(name), str(), int(root), str()):
                    found[name] = root
    return found


def _write(db: sqlite3.Connection, pages: Pages, leaf: int, shape: Shape) -> int:
    """Write the rows of one leaf; how many of them were none."""
    lost = 0
    groups: dict[int, list[tuple[object, ...]]] = {}
    with suppress(PageError):
        for row in pages.rows_on(leaf):
            values = None if row is None else shape.fitted(row)
            if values is None:
                lost += 1
            else:
                groups.setdefault(len(values), []).append(values)
    for count, rows in groups.items():
        db.executemany(shape.insertion(count), rows)
    return lost


def _is_of(pages: Pages, leaf: int, shape: Shape) -> bool:
    """Whether most rows of a page can belong to this table."""
    fit = [row is not None and shape.fitted(row) is not None for row in pages.rows_on(leaf)]
    return 2 * sum(fit) >= len(fit)


def _guess(pages: Pages, leaf: int, known: dict[str, Shape]) -> Shape | None:
    """The table to which most rows of a page can belong."""
    votes: Counter[str] = Counter()
    for row in pages.rows_on(leaf):
        if row is not None:
            votes.update(table for table in _GUESSED if known[table].fitted(row) is not None)
    return known[votes.most_common(1)[0][0]] if votes else None


def _copy_history(db: sqlite3.Connection, path: Path) -> None:
    """What became of the machine's time: its table is of another kind, and worth no more than an attempt."""
    if not size_of(path):
        return
    with suppress(sqlite3.Error), reading(path) as damaged:
        for row in damaged.execute("SELECT * FROM idle_history"):
            db.execute("INSERT OR IGNORE INTO idle_history VALUES (?, ?, ?, ?, ?, ?, ?)", tuple(row))

"""Which rows can be rows of which table: what lies in a damaged file is believed only where it fits."""

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from buttermilkd.jobs import Status
from buttermilkd.ledger.pages import Row, Value
from buttermilkd.ledger.schema import MIGRATIONS

PHASES = ("staged", "open", "stopping", "ended")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "INTEGER": (int,),
    "REAL": (int, float),
    "TEXT": (str,),
    "BLOB": (bytes, str),
}


@dataclass(frozen=True, slots=True)
class _Column:
    name: str
    types: tuple[type, ...]
    required: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """One table."""

    table: str
    columns: tuple[_Column, ...]
    least: int
    """Columns that it had at first: rows that are older than the others end there."""
    alias: int | None
    """Index of the column that is the row's id."""

    def fitted(self, row: Row) -> tuple[Value, ...] | None:
        """The row's values, its id among them; None where it cannot be a row of this table."""
        values = row.values
        if not self.least <= len(values) <= len(self.columns):
            return None
        if self.alias is not None:
            if values[self.alias] is not None:
                return None
            values = (*values[: self.alias], row.id, *values[self.alias + 1 :])
        for column, value in zip(self.columns, values, strict=False):
            if value is None:
                if column.required:
                    return None
            elif not isinstance(value, column.types):
                return None
        return values if self._makes_sense(values) else None

    def _makes_sense(self, values: tuple[Value, ...]) -> bool:
        named = {column.name: value for column, value in zip(self.columns, values, strict=False)}
        match self.table:
            case "jobs":
                return named["status"] in list(Status)
            case "results":
                return _parsed(named["result"]) is not None
            case "batches":
                variants = _parsed(named["variants"])
                counted = named["total"] == _product(named["records"], variants)
                return named["phase"] in PHASES and (counted or named.get("origin") is not None)
        return True

    def insertion(self, count: int) -> str:
        """What writes the first ``count`` columns of a row, unless there is such a row already."""
        names = ", ".join(column.name for column in self.columns[:count])
        return f"INSERT OR IGNORE INTO {self.table} ({names}) VALUES ({', '.join('?' * count)})"


def _parsed(text: Value) -> object:
    """The JSON in a text; None where it is none. A null is as good as any other result."""
    try:
        return json.loads(str(text)) or True
    except ValueError:
        return None


def _product(records: Value, variants: object) -> int | None:
    return records * len(variants) if isinstance(records, int) and isinstance(variants, list) else None


def shapes() -> dict[str, Shape]:
    """Each table of the ledger whose rows have ids."""
    least: dict[str, int] = {}
    with closing(sqlite3.connect(":memory:")) as db:
        for script in MIGRATIONS:
            db.executescript(script)
            for table in _tables(db):
                least.setdefault(table, len(db.execute(f"PRAGMA table_info({table})").fetchall()))
        return {table: _shape(db, table, columns) for table, columns in least.items()}


def _tables(db: sqlite3.Connection) -> list[str]:
    rows = db.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    return [name for name, sql in rows if not name.startswith("sqlite_") and "WITHOUT ROWID" not in sql]


def _shape(db: sqlite3.Connection, table: str, least: int) -> Shape:
    rows = db.execute(f"PRAGMA table_info({table})").fetchall()
    keys = [row for row in rows if row[5]]
    alias = keys[0][0] if len(keys) == 1 and keys[0][2] == "INTEGER" else None
    columns = tuple(_Column(row[1], _TYPES[row[2]], bool(row[3])) for row in rows)
    return Shape(table, columns, least, alias)

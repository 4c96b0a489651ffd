"""Tables and JSON on standard output."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from buttermilkd.cli.session import Session
from buttermilkd.messages import JobView

if TYPE_CHECKING:
    from rich.table import Table

STATUSES = {
    "pending": "yellow",
    "running": "cyan",
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
}
"""Each status and its colour. Written out here, so that no command has to import the domain for it."""
MOST_SHOWN = 500
"""Characters of a value or an error that are shown to people."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Column(NamedTuple):
    """One column of a table."""

    title: str
    right: bool = False
    """Aligned to the right, as numbers are."""


def print_json(value: Any) -> None:
    """The one document of ``--json``; indented where a person reads it."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def visible(text: str) -> str:
    """``text`` on one line, with escapes for what would steer a terminal: record ids are any text."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)


def word(value: Any) -> str:
    """A JSON value, a string without its quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parameters_of(values: Mapping[str, Any]) -> str:
    """Parameters for a table."""
    return " ".join(f"{name}={word(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """A JSON value on one line, cut where it is long."""
    return cut(json.dumps(value, ensure_ascii=False))


def cut(text: str) -> str:
    """``text`` on one line, cut where it is long: a value may have millions of characters, and JSON has them all."""
    line = visible(text[: MOST_SHOWN + 1])
    return line if len(line) <= MOST_SHOWN else f"{line[:MOST_SHOWN]}…"


def status_of(job: JobView) -> str:
    """A job's status; of one that stands still, that too."""
    # A daemon of an older version does not tell.
    return f"{job['status']} (suspended)" if job.get("suspended_at") else job["status"]


def status_word(status: str) -> str:
    return click.style(status, fg=_status_color(status))


def _status_color(status: str) -> str | None:
    return STATUSES.get(status.partition(" ")[0])


def print_table(session: Session, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns; on a terminal they fold to its width.

    A cell under ``STATUS`` is coloured.
    """
    cleaned = [[cut(cell) for cell in row] for row in rows]
    if session.animated(sys.stdout):
        _print_rich(session, columns, cleaned)
    else:
        _print_plain(session, columns, cleaned)


def _print_plain(session: Session, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    table = [[column.title for column in columns], *rows]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    for number, row in enumerate(table):
        cells = [
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        if number:
            cells = [
                cell.replace(word, status_word(word), 1) if column.title == "STATUS" else cell
                for cell, word, column in zip(cells, row, columns, strict=True)
            ]
        session.say("  ".join(cells).rstrip())


def _print_rich(session: Session, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    # Imported here because it takes longer than all the rest, and only a terminal needs it.
    from rich.console import Console  # noqa: PLC0415

    console = Console(file=sys.stdout, no_color=not session.colored(sys.stdout), highlight=False)
    console.print(table_of(columns, rows))


def table_of(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> "Table":
    """The same as something that rich can draw. A cell under ``STATUS`` is coloured."""
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(
            *(
                Text(cut(cell), (_status_color(cell) or "") if column.title == "STATUS" else "")
                for cell, column in zip(row, columns, strict=True)
            )
        )
    return table


def without_empty(
    columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> tuple[list[Column], list[list[str]]]:
    """The columns that have anything in them."""
    used = [number for number in range(len(columns)) if any(row[number] for row in rows)]
    return [columns[number] for number in used], [[row[number] for number in used] for row in rows]


def blocks(stream: TextIO) -> bool:
    """Whether block characters can be written to this stream."""
    try:
        "█░".encode(stream.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True

"""The commented configuration as parts of a man page."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from buttermilkd.manual import roff

_TABLE = re.compile(r"^(?:# )?\[([a-z_.]+)\]$")
_KEY = re.compile(r"^(?:# )?([a-z_]+) = (.+)$")


@dataclass(frozen=True, slots=True)
class Key:
    """One key as the file shows it."""

    name: str
    value: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and what is said of it as a whole; the keys before the first table are in one without a name."""

    name: str
    text: str
    keys: tuple[Key, ...]


def tables(document: str) -> list[Table]:
    """What a commented configuration holds, after its first paragraphs, which are about the file."""
    found: list[Table] = []
    keys: list[Key] = []
    name, about, comments = "", "", list[str]()
    for line in document.partition("\n\n")[2].splitlines():
        if table := _TABLE.match(line):
            found.append(Table(name, about, tuple(keys)))
            name, about, keys = table[1], " ".join(comments), []
            comments = []
        elif key := _KEY.match(line):
            keys.append(Key(key[1], key[2], " ".join(comments)))
            comments = []
        elif line.startswith("# "):
            comments.append(line.removeprefix("# "))
        elif not line and not found and not keys:
            comments = []
    return [table for table in (*found, Table(name, about, tuple(keys))) if table.keys]


def sections(chosen: list[Table]) -> Iterator[str]:
    """A section for each table, an entry for each key."""
    for table in chosen:
        yield from roff.subheading(f"[{table.name}]" if table.name else "Before all tables")
        if table.text:
            yield from roff.paragraph(table.text)
        for key in table.keys:
            yield from roff.entry(f"{key.name} = {key.value}", key.text)

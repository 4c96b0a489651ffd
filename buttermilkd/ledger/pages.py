"""Rows as they lie in the pages of an SQLite file, read without SQLite, which gives up at the first page that is wrong.

The format is that of https://www.sqlite.org/fileformat2.html: sections 1.5 (pages), 1.6 (overflow) and 2.1 (records).
"""

import struct
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from mmap import mmap
from typing import Final

Buffer = bytes | mmap
Value = int | float | str | bytes | None

_INTERIOR: Final = 0x05
_LEAF: Final = 0x0D
_HEADER: Final = 100
"""Bytes of the file's own header, at the beginning of the first page."""
_SIZES: Final = (0, 1, 2, 3, 4, 6, 8, 8, 0, 0)
"""Bytes of a value by its serial type, up to 9."""
_REAL: Final = 7
_FIRST_OF_ANY_LENGTH: Final = 12


class PageError(Exception):
    """A page, or a row in it, is not what it should be."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row; in place of a column that stands for the row's id there is None."""

    id: int
    values: tuple[Value, ...]


class Pages:
    """The pages of one file, over which those of its WAL lie."""

    def __init__(self, content: Buffer, newer: Mapping[int, bytes], page_size: int) -> None:
        self._content = content
        self._newer = newer
        self._size = page_size
        self.count = max(len(content) // page_size, *newer, 0)

    def page(self, number: int) -> bytes:
        """One page, counted from 1. Raises PageError: there is none."""
        if not 1 <= number <= self.count:
            raise PageError("there is no such page")
        if (found := self._newer.get(number)) is None:
            found = self._content[(number - 1) * self._size : number * self._size]
        return found if len(found) == self._size else found.ljust(self._size, b"\0")

    def kind(self, number: int) -> int:
        return self.page(number)[_head(number)]

    def leaves_below(self, root: int, seen: set[int]) -> Iterator[int]:
        """The leaves of a table in their order; each page that is looked at goes into ``seen``."""
        left = [root]
        while left:
            number = left.pop()
            if number in seen or not 1 <= number <= self.count:
                continue
            kind = self.kind(number)
            if kind not in (_LEAF, _INTERIOR):
                continue
            seen.add(number)
            if kind == _LEAF:
                yield number
            else:
                left += reversed(self._children(number))

    def other_leaves(self, seen: Container[int], *, freed: bool) -> Iterator[int]:
        """Pages that look as though they held rows of a table, though none of those ``seen`` leads there.

        What is out of use is outdated, and left out: ``freed`` says whether the list of it can be believed.
        """
        outdated = self._freed() if freed else set()
        for number in range(1, self.count + 1):
            if number not in seen and number not in outdated and self.kind(number) == _LEAF:
                yield number

    def _freed(self) -> set[int]:
        found: set[int] = set()
        (trunk,) = struct.unpack_from(">I", self.page(1), 32)
        while 1 < trunk <= self.count and trunk not in found:
            found.add(trunk)
            page = self.page(trunk)
            trunk, length = struct.unpack_from(">II", page)
            found.update(struct.unpack_from(f">{min(length, self._size // 4 - 2)}I", page, 8))
        return found

    def rows_on(self, number: int) -> Iterator[Row | None]:
        """The rows of one leaf; None for each that cannot be read."""
        page = self.page(number)
        for cell in self._cells(page, number, 8):
            try:
                yield self._row(page, cell)
            except (PageError, IndexError, UnicodeDecodeError, struct.error):
                yield None

    def _children(self, number: int) -> list[int]:
        page = self.page(number)
        places = (*self._cells(page, number, 12), _head(number) + 8)
        return [struct.unpack_from(">I", page, at)[0] for at in places]

    def _cells(self, page: bytes, number: int, header: int) -> Sequence[int]:
        """Where the cells of a page begin, as far as that can be."""
        first = _head(number) + header
        (count,) = struct.unpack_from(">H", page, _head(number) + 3)
        cells = struct.unpack_from(f">{min(count, (self._size - first) // 2)}H", page, first)
        return [cell for cell in cells if first <= cell <= self._size - 4]

    def _row(self, page: bytes, cell: int) -> Row:
        length, at = varint(page, cell)
        row_id, at = varint(page, at)
        return Row(row_id, _record(self._payload(page, at, length)))

    def _payload(self, page: bytes, at: int, length: int) -> bytes:
        """A row's bytes, of which those that have no room on the page are on others."""
        here, most = length, self._size - 35
        if length > most:
            least = (self._size - 12) * 32 // 255 - 23
            here = least + (length - least) % (self._size - 4)
            here = here if here <= most else least
        if at + here > self._size or not 0 <= length <= self.count * self._size:
            raise PageError("a row reaches past its page")
        if here == length:
            return page[at : at + length]
        (following,) = struct.unpack_from(">I", page, at + here)
        return page[at : at + here] + self._overflow(following, length - here)

    def _overflow(self, number: int, length: int) -> bytes:
        parts, left = [], length
        while left > 0:
            page = self.page(number)
            (number,) = struct.unpack_from(">I", page)
            parts.append(page[4 : 4 + min(left, self._size - 4)])
            left -= len(parts[-1])
        return b"".join(parts)


def _head(number: int) -> int:
    """Where a page's own header begins."""
    return _HEADER if number == 1 else 0


def varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where it ends."""
    value = content[at]
    if value < 0x80:  # noqa: PLR2004 - most have one byte
        return value, at + 1
    value = 0
    for position in range(at, at + 8):
        value = value << 7 | content[position] & 0x7F
        if content[position] < 0x80:  # noqa: PLR2004
            return value, position + 1
    value = value << 8 | content[at + 8]
    return value - (1 << 64) if value >> 63 else value, at + 9


def _record(payload: bytes) -> tuple[Value, ...]:
    """Raises PageError, IndexError, UnicodeDecodeError."""
    end, at = varint(payload, 0)
    body, values = end, []
    while at < end:
        kind, at = varint(payload, at)
        size = _SIZES[kind] if kind < len(_SIZES) else (kind - _FIRST_OF_ANY_LENGTH) // 2
        if size < 0 or body + size > len(payload):
            raise PageError("a value reaches past its row")
        values.append(_value(kind, payload[body : body + size]))
        body += size
    if at != end or body != len(payload):
        raise PageError("a row is longer or shorter than its values")
    return tuple(values)


def _value(kind: int, content: bytes) -> Value:
    if kind == 0:
        return None
    if kind == _REAL:
        number: float = struct.unpack(">d", content)[0]
        return number
    if kind in (8, 9):
        return kind - 8
    if kind < _REAL:
        return int.from_bytes(content, "big", signed=True)
    if kind < _FIRST_OF_ANY_LENGTH:
        raise PageError("a value of a type that there is not")
    return content.decode() if kind % 2 else content

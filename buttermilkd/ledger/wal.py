"""Commits that lie in a write-ahead log, read without SQLite.

The format is that of https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682
"""Its lowest bit tells the order of the bytes that checksums are made of."""
_PAGE: Final = 4096
_PORTION: Final = 256
"""Frames between two signs that it gets on: some hundredths of a second."""

Sums = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Header:
    size: int
    """Bytes of a page."""
    order: str
    salts: Sums
    sums: Sums
    is_whole: bool


@dataclass(frozen=True, slots=True)
class _Frame:
    page: int
    is_commit: bool
    """It is the last one of a commit."""
    content: bytes
    is_whole: bool
    """It was written after the one before it, as that one says itself, and is as it was written."""


def committed(log: bytes) -> tuple[dict[int, bytes], int | None]:
    """The newest content of each page that was committed there, and the size of a page; None where it is no log.

    What follows a frame that is not whole is left out, unless ``is_broken``: then it had been committed.
    """
    if (header := _header(log)) is None:
        return {}, None
    pages: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    believed = is_broken(log)
    for frame in _frames(log, header):
        if not ((frame.is_whole and header.is_whole) or believed):
            break
        if frame.is_whole:
            pending[frame.page] = frame.content
        if frame.is_commit:
            pages |= pending
            pending.clear()
    return pages, header.size


def is_broken(log: bytes, worked: Callable[[], None] = lambda: None) -> bool:
    """Whether a commit that was durable cannot be read: SQLite drops it, and all that follow it, in silence.

    A power cut leaves the last commit in pieces, some of which may be missing before others; but nothing is written
    after a commit that is not on disk. So one that cannot be read, and that another one follows, was damaged later.
    ``worked`` is called again and again.
    """
    if (header := _header(log)) is None:
        return False
    is_past_the_end, is_after_commit = not header.is_whole, False
    for number, frame in enumerate(_frames(log, header)):
        if number % _PORTION == 0:
            worked()
        if is_past_the_end and is_after_commit and frame.is_whole:
            return True
        is_past_the_end |= not frame.is_whole
        is_after_commit = frame.is_commit
    return False


def _header(log: bytes) -> _Header | None:
    """Of a log in which there are frames; as far as it can be read."""
    if len(log) < _HEADER + _FRAME:
        return None
    magic, _, size, _, *numbers = struct.unpack_from(">8I", log)
    salts, sums = (numbers[0], numbers[1]), (numbers[2], numbers[3])
    is_size = 512 <= size <= 65536 and not size & size - 1  # noqa: PLR2004 - as the format has it
    if magic & ~1 != _MAGIC or not is_size:
        order = "<" if sys.byteorder == "little" else ">"
        return _Header(_PAGE, order, struct.unpack_from(">2I", log, _HEADER + 8), sums, is_whole=False)
    order = ">" if magic & 1 else "<"
    is_whole = _checksum(order, log[:24], (0, 0)) == sums
    if not is_whole:
        salts = struct.unpack_from(">2I", log, _HEADER + 8)
    return _Header(size, order, salts, sums, is_whole)


def _frames(log: bytes, header: _Header) -> Iterator[_Frame]:
    """All that there is room for; of those of an older log, which was written over, none is whole or a commit."""
    before = header.sums
    for at in range(_HEADER, len(log) - _FRAME - header.size + 1, _FRAME + header.size):
        page, size, *salts, one, two = struct.unpack_from(">6I", log, at)
        content = log[at + _FRAME : at + _FRAME + header.size]
        is_ours = tuple(salts) == header.salts
        is_whole = is_ours and (one, two) == _checksum(
            header.order, content, _checksum(header.order, log[at : at + 8], before)
        )
        yield _Frame(page, is_ours and size > 0, content, is_whole)
        before = one, two


def _checksum(order: str, content: bytes, sums: Sums) -> Sums:
    one, two = sums
    numbers = struct.unpack(f"{order}{len(content) // 4}I", content)
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two

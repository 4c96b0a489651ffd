"""Commits that lie in a write-ahead log, read without SQLite.

The format is that of https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
"""

import struct
from typing import Final

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682
"""Its lowest bit tells the order of the bytes that checksums are made of."""


def committed(log: bytes) -> tuple[dict[int, bytes], int | None]:
    """The newest content of each page that was committed there, and the size of a page; None where it is no log.

    It ends where the first frame is not whole: what follows was never committed, or cannot be told from that.
    """
    if len(log) < _HEADER or struct.unpack_from(">I", log)[0] & ~1 != _MAGIC:
        return {}, None
    magic, _, size, _, *salts = struct.unpack_from(">6I", log)
    order = ">" if magic & 1 else "<"
    sums = _checksum(order, log[:24], (0, 0))
    pages: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    at = _HEADER
    while at + _FRAME + size <= len(log):
        number, commit, *frame_salts, one, two = struct.unpack_from(">6I", log, at)
        content = log[at + _FRAME : at + _FRAME + size]
        sums = _checksum(order, content, _checksum(order, log[at : at + 8], sums))
        if frame_salts != salts or sums != (one, two):
            break
        pending[number] = content
        if commit:
            pages |= pending
            pending.clear()
        at += _FRAME + size
    return pages, size


def _checksum(order: str, content: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    numbers = struct.unpack(f"{order}{len(content) // 4}I", content)
    for first, second in zip(numbers[::2], numbers[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two

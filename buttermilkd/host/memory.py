"""That what the daemon has freed goes back to the system, however large it was once."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Of mallopt(3)."""
LARGE = 512 * 1024
"""Bytes from which on a block is a mapping of its own, which goes back when it is freed, and of which no more are kept
free at a heap's end. Reading a socket takes half of that: with less, each reading has the kernel make and clear those pages anew.
"""


def keep_small() -> None:
    """Have glibc's malloc keep its thresholds, and one heap for all threads; other C libraries need none of it.

    By default they rise with each large block that is freed, up to 32 MiB: after one large body all later ones
    come from the heap, which small objects between them keep from ever shrinking. And each thread gets a heap of its
    own, of which the first pages stay: threads that would allocate at once wait for the interpreter's lock anyway.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD):
            mallopt(option, LARGE)
        mallopt(_ARENA_MAX, 1)

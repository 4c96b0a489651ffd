"""Where the record ids of a batch come from.

Every source streams, so that a million records need little memory, and no source is ever empty: one that
yields nothing is an error that says what was read. Only the standard library is used, and asyncio is
imported where it is needed, because ``buttermilkctl`` reads records too and has to start fast.
"""

from collections.abc import Iterable

from buttermilkd.records.sources import (
    COMMAND_TIME_LIMIT,
    FlowSource,
    from_command,
    from_flow,
    from_path,
    given,
)
from buttermilkd.records.text import FORMATS, read

__all__ = [
    "COMMAND_TIME_LIMIT",
    "FORMATS",
    "FlowSource",
    "from_command",
    "from_flow",
    "from_path",
    "given",
    "read",
    "unique",
]


def unique(records: Iterable[str]) -> tuple[list[str], int]:
    """The records in order without repetitions, and how many were dropped."""
    seen: set[str] = set()
    kept: list[str] = []
    dropped = 0
    for record in records:
        if record in seen:
            dropped += 1
        else:
            seen.add(record)
            kept.append(record)
    return kept, dropped

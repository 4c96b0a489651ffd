"""Entries of the journal: which fields they have. Pure functions."""

import logging
from dataclasses import dataclass

from buttermilkd.journal import Fields, fields_in

IDENTIFIER = "buttermilkd"
"""What the journal calls the daemon's own entries."""
_FACILITY = "3"  # daemon
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_formatter = logging.Formatter("%(message)s")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry, ready to be sent."""

    fields: tuple[tuple[str, bytes], ...]
    size: int
    """Bytes of all values."""


def priority(level: int) -> int:
    """The journal's priority of a logging level, of one in between as well. None is an emergency, which all see."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def entry(fields: Fields) -> Entry:
    """An entry of these fields. Halves of surrogate pairs, which no encoding has, become escapes."""
    encoded = tuple(
        (name, value.encode("utf-8", "backslashreplace"))
        for name, values in fields.items()
        for value in ((values,) if isinstance(values, str) else values)
    )
    return Entry(encoded, sum(len(value) for _, value in encoded))


def entry_of(record: logging.LogRecord, host: str) -> Entry:
    """The entry of a log record, with its traceback in its text."""
    return entry(
        {
            "MESSAGE": _formatter.format(record),
            "PRIORITY": str(priority(record.levelno)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "SYSLOG_FACILITY": _FACILITY,
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
            "HOST": host,
            **fields_in(record),
        }
    )

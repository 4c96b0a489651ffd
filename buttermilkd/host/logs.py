"""Where log records go: into the journal with their fields, in colours to a terminal, or plainly anywhere else."""

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from buttermilkd.host.journal.entries import priority
from buttermilkd.host.journal.handler import JournalHandler
from buttermilkd.host.journal.sender import SOCKET, NativeTransport, Sender

_COLOURS = ((logging.ERROR, "31"), (logging.WARNING, "33"), (logging.INFO, ""), (0, "2"))
_PLAIN = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_CLOCK = "%H:%M:%S"


class PrefixFormatter(logging.Formatter):
    """``<N>`` in front of every line, as journald understands it on a stream."""

    def format(self, record: logging.LogRecord) -> str:
        mark = f"<{priority(record.levelno)}>"
        return "\n".join(f"{mark}{line}" for line in super().format(record).splitlines())


class ColourFormatter(logging.Formatter):
    """The same sentence as elsewhere; what is wrong stands out, and what is in detail stands back."""

    def format(self, record: logging.LogRecord) -> str:
        colour = next(code for level, code in _COLOURS if record.levelno >= level)
        text = super().format(record)
        return f"\033[{colour}m{text}\033[0m" if colour else text


def goes_to_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``stream`` is what systemd connected to the journal: the variable alone is inherited too far."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def is_colourful(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether ``stream`` is a terminal that shows colours, and nobody has asked for none (no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


@contextmanager
def logging_to(
    stream: TextIO = sys.stderr,
    *,
    level: str,
    host: str,
    environ: Mapping[str, str] = os.environ,
    socket: Path = SOCKET,
) -> Iterator[Sender | None]:
    """Send all records of at least this level where ``stream`` leads, for as long as this lasts.

    Where that is the journal, what sends entries to it is given, for whoever has some of another sort; at the end
    what was not sent yet is waited for, but not for ever.
    """
    if goes_to_journal(stream, environ) and socket.exists():
        sender = Sender(NativeTransport(socket), host)
        sender.start()
        try:
            _log_by(JournalHandler(sender), level)
            yield sender
        finally:
            # What is logged from here on, such as what the interpreter's end finds, still comes by the stream.
            _log_by(_stream_handler(stream, environ), level)
            sender.close()
    else:
        _log_by(_stream_handler(stream, environ), level)
        yield None


def _stream_handler(stream: TextIO, environ: Mapping[str, str]) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    if goes_to_journal(stream, environ):
        handler.setFormatter(PrefixFormatter("%(name)s: %(message)s"))
    elif is_colourful(stream, environ):
        handler.setFormatter(ColourFormatter(_PLAIN, _CLOCK))
    else:
        handler.setFormatter(logging.Formatter(_PLAIN, _CLOCK))
    return handler


def _log_by(handler: logging.Handler, level: str) -> None:
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)

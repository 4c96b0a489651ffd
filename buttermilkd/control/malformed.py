"""What the HTTP server logs. A peer that sends what is no request, or goes away, is no error of the daemon's."""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from buttermilkd.clock import Clock

TOLD_EVERY = 10.0
"""Seconds between two lines about malformed requests: anybody could fill the log otherwise."""
_OF_PEERS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


def server_logger(parent: logging.Logger, clock: Clock) -> logging.Logger:
    """One for a single server. Errors of the daemon's own come through as they are, with their tracebacks."""
    logger = logging.Logger("aiohttp.server")  # noqa: LOG001 - its filter is this server's alone
    logger.parent = parent
    logger.addFilter(_Peers(clock))
    return logger


class _Peers(logging.Filter):
    """Makes one short line in a while of what peers do wrong."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._told_at: float | None = None
        self._seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, _OF_PEERS):
            return True
        if isinstance(error, ConnectionError):
            return False
        self._seen += 1
        now = self._clock.monotonic()
        if self._told_at is not None and now - self._told_at < TOLD_EVERY:
            return False
        self._told_at = now
        # Nothing of what it sent: it could be anything, line breaks included.
        record.msg, record.args = "refused a malformed request; %d so far", (self._seen,)
        record.exc_info = record.exc_text = None
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return True

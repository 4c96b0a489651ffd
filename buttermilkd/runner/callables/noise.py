"""What a worker writes that is not a job's own print: imports, C code, child processes."""

import logging

from buttermilkd.journal import about
from buttermilkd.runner.output import BoundedLog

_log = logging.getLogger(__name__)

_ERRORS_KEPT = 8 * 1024
_LINES_LOGGED = 200
_LINE_LENGTH = 500


class Noise:
    """Logs the first lines of it, and keeps the last of standard error for the case that the worker dies."""

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._errors = BoundedLog(_ERRORS_KEPT)
        self._lines = 0

    def write(self, data: bytes) -> None:
        told = about(flow=self._flow)
        for line in data.splitlines():
            self._lines += 1
            if self._lines <= _LINES_LOGGED:
                text = line[:_LINE_LENGTH].decode("utf-8", "replace")
                _log.info("worker of flow %s: %s", self._flow, text, extra=told)
            elif self._lines == _LINES_LOGGED + 1:
                _log.info(
                    "worker of flow %s: what it prints from here on is not logged", self._flow, extra=told
                )

    def write_error(self, data: bytes) -> None:
        self._errors.write(data)
        self.write(data)

    def last_errors(self) -> str:
        return self._errors.content().decode("utf-8", "replace").strip()

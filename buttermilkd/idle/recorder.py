"""Writes what the policy saw to a file, so that other settings can be tried on it later."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buttermilkd.clock import Clock
from buttermilkd.errors import StorageError
from buttermilkd.idle.gate import Look
from buttermilkd.idle.trace import Encoder, Start

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two writes."""
MOST_BYTES = 512 * 2**20
"""Of one file: about two months."""
_MOST_LINES = 100_000
"""That wait for a disk which does not answer."""


class Recorder:
    """Appends a run to a file. A full disk or file ends the recording, and nothing else."""

    def __init__(self, path: Path, settings: Mapping[str, Any], clock: Clock) -> None:
        """``settings`` are the table ``[idle]`` as it would be written.

        Raises:
            StorageError: the file cannot be written.
        """
        self._path = path
        self._clock = clock
        self._encoder = Encoder(Start(socket.gethostname(), settings), clock.monotonic())
        self._lines: list[str] = []
        self._ended = False
        try:
            self._append(f"{self._encoder.header}\n")
        except OSError as error:
            raise StorageError(
                f"cannot record to {path}: {error.strerror}", hint="name a file that the daemon may write"
            ) from error

    def note(self, look: Look) -> None:
        """Remember a look; it is written soon."""
        if self._ended:
            return
        self._lines.append(self._encoder.line(look.sample, look.at))
        if len(self._lines) > _MOST_LINES:
            self._end("its disk does not keep up")

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what has not been written yet."""
        lines, self._lines = self._lines, []
        if not lines:
            return
        try:
            size = await asyncio.to_thread(self._append, "".join(f"{line}\n" for line in lines))
        except OSError as error:
            self._end(error.strerror or str(error))
        else:
            if size > MOST_BYTES:
                self._end(f"it has {size:,} bytes")

    def _append(self, text: str) -> int:
        with open(self._path, "a", encoding="utf-8", opener=_private) as file:
            file.write(text)
            return file.tell()

    def _end(self, why: str) -> None:
        if not self._ended:
            self._ended = True
            self._lines.clear()
            logger.error("recording to %s has ended: %s", self._path, why)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)

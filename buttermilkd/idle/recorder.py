"""Writes what the policy saw to a file, so that other settings can be tried on it later."""

import asyncio
import logging
import os
import socket
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from buttermilkd.clock import Clock
from buttermilkd.errors import StorageError
from buttermilkd.idle.gate import Look
from buttermilkd.idle.trace import HEADER, Encoder, Start

logger = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two writes."""
MOST_BYTES = 512 * 2**20
"""Of one file: about two months."""
_MOST_LOOKS = 20_000
"""That wait for a disk which does not answer."""


class Settings(Protocol):
    """The table ``[idle]``."""

    def written(self) -> dict[str, Any]:
        """As it would stand in a file."""

    def given(self) -> tuple[str, ...]:
        """The keys that somebody has set."""


class Recorder:
    """Appends a run to a file. A full disk or file ends the recording, and nothing else.

    A file that is moved away, as when logs are rotated, is followed by a new one that can be read by itself.
    """

    def __init__(self, path: Path, settings: Settings, clock: Clock) -> None:
        """Begin.

        Raises:
            StorageError: the file cannot be written, or holds something else.
        """
        self._path = path
        self._clock = clock
        self._start = _start(settings)
        self._latest = self._start
        """Of the looks to come."""
        self._encoder = Encoder(self._start)
        self._file: tuple[int, int] | None = None
        """Which file it is that the encoder's lines are in: its device and inode."""
        self._looks: list[Look | Start] = []
        self._writing = threading.Lock()
        """Held by one write at a time: the daemon may stop while one is under way."""
        self._ended = False
        try:
            self._append(())
        except OSError as error:
            raise StorageError(
                f"cannot record to {path}: {error.strerror or error}",
                hint="name a file that the daemon may write",
            ) from error

    def note(self, look: Look) -> None:
        """Remember a look; it is written soon."""
        if self._ended:
            return
        self._looks.append(look)
        if len(self._looks) > _MOST_LOOKS:
            self._end("its disk does not keep up")

    def reconfigure(self, settings: Settings) -> None:
        """What is decided from now on is decided by these settings: a new run begins in the file."""
        start = _start(settings)
        if start != self._latest and not self._ended:
            self._latest = start
            self._looks.append(start)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._clock.sleep(EVERY)
            await self.flush()

    async def flush(self) -> None:
        """Write what has not been written yet."""
        looks, self._looks = self._looks, []
        if not looks:
            return
        try:
            size = await asyncio.to_thread(self._append, looks)
        except (OSError, StorageError) as error:
            self._end(getattr(error, "strerror", None) or str(error))
        else:
            if size > MOST_BYTES:
                self._end(f"it has {size:,} bytes")

    def _append(self, looks: Sequence[Look | Start]) -> int:
        """The size of the file afterwards. Raises OSError; StorageError where the file holds something else."""
        with self._writing, open(self._path, "a+b", opener=_private) as file:
            status = os.fstat(file.fileno())
            lines = []
            if self._file != (status.st_dev, status.st_ino):
                if stat.S_ISREG(status.st_mode) and status.st_size:
                    lines += _continuation(file, self._path)
                self._encoder = Encoder(self._start)
                self._file = (status.st_dev, status.st_ino)
                lines.append(self._encoder.header)
            lines += (self._line(look) for look in looks)
            if lines:
                file.write("".join(f"{line}\n" for line in lines).encode())
            return file.tell()

    def _line(self, look: Look | Start) -> str:
        if isinstance(look, Start):
            self._start, self._encoder = look, Encoder(look)
            return self._encoder.header
        return self._encoder.line(look.sample, look.at)

    def _end(self, why: str) -> None:
        if not self._ended:
            self._ended = True
            self._looks.clear()
            logger.error("recording to %s has ended: %s", self._path, why)


def _start(settings: Settings) -> Start:
    return Start(socket.gethostname(), settings.written(), settings.given())


def _continuation(file: BinaryIO, path: Path) -> list[str]:
    """What ends a line that was not written to its end, if there is one. Raises StorageError: it is no recording."""
    file.seek(0)
    if file.read(len(HEADER)).decode("utf-8", "replace") != HEADER:
        raise StorageError(
            f"cannot record to {path}: it holds something that is no recording",
            hint="name a new file, or one that buttermilkd --record has made",
        )
    file.seek(-1, os.SEEK_END)
    return [] if file.read(1) == b"\n" else [""]


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)

"""The kernel's own word that pressure has gone over a threshold, through the event loop, between two looks.

Source: https://docs.kernel.org/accounting/psi.html, "Monitoring for pressure thresholds"
"""

import asyncio
import logging
import os
import select
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from buttermilkd.idle.load.pressure import WINDOW, Line

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Threshold:
    """``line`` of ``file`` says more than this share of the last ten seconds."""

    file: Path
    line: Line
    share: float


class Triggers:
    """Calls back when one of the thresholds is crossed; the kernel tells it once in ten seconds at most.

    Where the kernel grants none (a file that may not be written, another kernel), whoever looks each tick
    learns of it a little later.
    """

    def __init__(self, crossed: Callable[[], None]) -> None:
        self._crossed = crossed
        self._poller: select.epoll | None = None
        self._watched: dict[Threshold, int | None] = {}

    def watch(self, thresholds: Iterable[Threshold]) -> None:
        """Watch these, and none but these. Needs a running loop."""
        wanted = set(thresholds)
        for gone in self._watched.keys() - wanted:
            self._close(self._watched.pop(gone))
        for new in wanted - self._watched.keys():
            self._watched[new] = self._open(new)

    @property
    def granted(self) -> Mapping[Path, bool]:
        """For each file, whether the kernel tells of it by itself."""
        return {threshold.file: fd is not None for threshold, fd in self._watched.items()}

    def _open(self, threshold: Threshold) -> int | None:
        if self._poller is None:
            self._poller = select.epoll()
            # The loop watches for what is readable, pressure is told as urgent: so one poller within another.
            asyncio.get_running_loop().add_reader(self._poller.fileno(), self._told)
        microseconds = round(threshold.share * WINDOW * 1e6), round(WINDOW * 1e6)
        try:
            fd = os.open(threshold.file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            os.write(fd, f"{threshold.line} {microseconds[0]} {microseconds[1]}\0".encode())
            self._poller.register(fd, select.EPOLLPRI)
        except OSError as error:
            logger.debug("no trigger on %s: %s", threshold.file, error)
            os.close(fd)
            return None
        return fd

    def _told(self) -> None:
        if self._poller is None:
            return
        for fd, events in self._poller.poll(0):
            if events & select.EPOLLERR:  # its group is gone
                self._forget(fd)
        self._crossed()

    def _forget(self, fd: int) -> None:
        self._watched = {one: None if its == fd else its for one, its in self._watched.items()}
        self._close(fd)

    def _close(self, fd: int | None) -> None:
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Watch nothing any more."""
        self.watch(())
        if self._poller is not None:
            asyncio.get_running_loop().remove_reader(self._poller.fileno())
            self._poller.close()
            self._poller = None

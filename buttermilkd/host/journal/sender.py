"""Sends entries to the journal: a bounded queue, and one thread that may wait where nobody else may."""

import errno
import threading
from collections import deque
from pathlib import Path
from typing import Protocol

from logging_journald import JournaldTransport

from buttermilkd.host.journal.entries import IDENTIFIER, Entry, entry
from buttermilkd.journal import Kind
from buttermilkd.plurals import count

SOCKET = Path("/run/systemd/journal/socket")
MOST_ENTRIES = 8192
MOST_BYTES = 16 * 1024 * 1024
"""Of what waits to be sent; what comes beyond is counted and dropped."""
FLUSH_PATIENCE = 2.0
"""Seconds that the end of the daemon waits for what was not sent yet."""
_AGAIN_AFTER = 0.1
"""Seconds between two tries while nobody receives."""
_NOBODY_RECEIVES = frozenset({errno.ECONNREFUSED, errno.ENOENT, errno.ECONNRESET, errno.ENOTCONN})


class Transport(Protocol):
    """What sends one entry, and waits for as long as the journal is busy."""

    def send(self, pairs: tuple[tuple[str, bytes], ...]) -> None:
        """Raises OSError."""

    def close(self) -> None: ...


class NativeTransport(JournaldTransport):  # type: ignore[misc]  # it has no types
    """The journal's native protocol.

    Each entry is addressed anew, so that a socket which was replaced is found. The values are bytes, whose length
    is sent before them: any line and any byte comes through. One too large for a datagram goes by a sealed memfd.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        super().__init__(path, connected=False)

    def close(self) -> None:
        """The library leaves its socket open."""
        self.socket.close()


class Sender:
    """Takes entries from any thread without ever waiting, and sends them in their order.

    What there is no room for is lost, counted, and told as soon as there is room again.
    """

    def __init__(self, send: Transport, host: str) -> None:
        self.host = host
        self.lost = 0
        """Entries that were lost since the start."""
        self._send = send
        self._untold = 0
        self._waiting: deque[Entry] = deque()
        self._size = 0
        self._closing = False
        # Its lock may be taken twice by one thread: a finaliser may log in the midst of anything.
        self._changed = threading.Condition()
        # It may hang in a call that nothing ends: the end of the daemon must not wait for it.
        self._thread = threading.Thread(target=self._work, name="journal", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def offer(self, one: Entry, *, share: float = 1.0) -> bool:
        """Queue it where the queue is not filled beyond this share; whether it was."""
        with self._changed:
            full = len(self._waiting) >= MOST_ENTRIES * share or self._size + one.size > MOST_BYTES * share
            if full or self._closing:
                return False
            self._waiting.append(one)
            self._size += one.size
            self._changed.notify()
        return True

    def lose(self) -> None:
        """Count an entry that could not be queued, so that it is told."""
        with self._changed:
            self.lost += 1
            self._untold += 1

    def close(self, patience: float = FLUSH_PATIENCE) -> None:
        """Take nothing more, and wait this many seconds for what is queued."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(patience)

    def _work(self) -> None:
        while (one := self._next()) is not None:
            if not self._deliver(one):
                self.lose()
            self._tell_losses()
        self._send.close()

    def _next(self) -> Entry | None:
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            one = self._waiting.popleft()
            self._size -= one.size
            return one

    def _deliver(self, one: Entry) -> bool:
        """Send it, for as long as it takes; whether it could be sent at all."""
        while True:
            try:
                self._send.send(one.fields)
            except OSError as error:
                if error.errno in _NOBODY_RECEIVES and not self._closing:
                    self._pause()
                    continue
                return False
            return True

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, _AGAIN_AFTER)

    def _tell_losses(self) -> None:
        """Say what was lost, once there is room again."""
        with self._changed:
            if not self._untold or len(self._waiting) > MOST_ENTRIES // 2 or self._size > MOST_BYTES // 2:
                return
            lost = self._untold
        if self._deliver(self._losses(lost)):
            with self._changed:
                self._untold -= lost

    def _losses(self, lost: int) -> Entry:
        were = count(lost, "log record was", "log records were")
        text = f"{were} lost: the journal did not take them as fast as they came"
        return entry(
            {
                "MESSAGE": text,
                "PRIORITY": "4",
                "SYSLOG_IDENTIFIER": IDENTIFIER,
                "MESSAGE_ID": Kind.RECORDS_LOST,
                "HOST": self.host,
                "LOST": str(lost),
            }
        )

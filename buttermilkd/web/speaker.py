"""The thread that tells the daemon. It alone waits, and nobody waits for it."""

import os
import select
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from buttermilkd.reports import Hello, Snapshot, encode
from buttermilkd.web.activity import Bell
from buttermilkd.web.connection import Connection
from buttermilkd.web.rhythm import Counts, Plan, Rhythm

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0
"""Seconds between two tries to connect: a daemon that was restarted hears soon that somebody is there."""


class Speaker:
    """Connects, tells, and connects again, until it is closed."""

    def __init__(
        self, bell: Bell, count: Callable[[], Counts], hello: Hello, find_socket: Callable[[], Path]
    ) -> None:
        self._bell = bell
        self._count = count
        self._hello = encode(hello)
        self._find_socket = find_socket
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connection: Connection | None = None
        self._closing = False

    def ring(self) -> None:
        """Have it look at once."""
        self._bell.mute()
        os.eventfd_write(self._wake, 1)

    def run(self) -> None:
        """Work until ``close``."""
        self._bell.mute()
        delay = _FIRST_DELAY
        while not self._closing:
            connected_at = monotonic()
            try:
                self._connection = Connection(self._find_socket())
                self._converse(self._connection)
            except OSError:
                """No daemon is there, or no longer."""
            self._bell.mute()
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            if monotonic() - connected_at > _LONGEST_DELAY:
                delay = _FIRST_DELAY
            self._rest(delay * (0.5 + os.urandom(1)[0] / 510))
            delay = min(2 * delay, _LONGEST_DELAY)
        os.close(self._wake)

    def close(self) -> None:
        """End the connection and the thread. To be called from another one; returns at once."""
        self._closing = True
        os.eventfd_write(self._wake, 1)

    def abandon(self) -> None:
        """In a process that was forked from the one that reports: let go of what that one holds."""
        if self._connection is not None:
            self._connection.close()
        os.close(self._wake)

    def _rest(self, seconds: float) -> None:
        """Ready to be closed, and deaf to all else: while nobody is there to be told, no request rings."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.poll(_milliseconds(seconds))
        self._drain()

    def _drain(self) -> None:
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            """Nobody has rung."""

    def _converse(self, connection: Connection) -> None:
        """Raises OSError: the connection is lost."""
        poller = select.poll()
        poller.register(self._wake, select.POLLIN)
        poller.register(connection, select.POLLIN)
        connection.say(self._hello)
        rhythm, number, is_heard = Rhythm(), 0, True
        while not self._closing:
            counts, now = self._count(), monotonic()
            plan = rhythm.look(counts, now)
            if plan.tell:
                is_heard = connection.say(_snapshot(number, counts, now))
                if is_heard:
                    number += 1
                    rhythm.told(counts, now)
                    continue
                poller.modify(connection, select.POLLIN | select.POLLOUT)
            elif not self._is_set(plan):
                continue
            for fd, _ in poller.poll(_milliseconds(plan.wait) if is_heard else None):
                if fd == self._wake:
                    self._drain()
                else:
                    _attend(connection, poller)

    def _is_set(self, plan: Plan) -> bool:
        """Set what the bell rings for; False where that has happened meanwhile, unheard."""
        self._bell.at_begin, self._bell.at_end = plan.at_begin, plan.at_end
        ...


def _attend(connection: Connection, poller: select.poll) -> None:
    ...


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds) + 1


def _snapshot(number: int, counts: Counts, now: float) -> bytes:
    idle_ms = 0.0 if counts.requests else 1000 * max(0.0, now - counts.active_at)
    return encode(Snapshot(number, counts.requests, counts.websockets, counts.total, round(idle_ms, 3)))

"""The thread that tells the daemon. It alone waits, and nobody waits for it."""

import os
import select
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from threading import Event
from time import monotonic, sleep

from buttermilkd.reports import Hello, Snapshot, encode
from buttermilkd.web.activity import Activity, Bell
from buttermilkd.web.connection import Connection
from buttermilkd.web.rhythm import Counts, Plan, Rhythm
from buttermilkd.web.wakeup import Wakeup, milliseconds

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 1.0
"""Seconds between two tries to connect: a daemon that was restarted hears soon that somebody is there."""
_HURRY = 0.1
"""Seconds that somebody waits at most for the last word."""


class Speaker:
    """Connects, tells, and connects again, until it is closed."""

    def __init__(
        self,
        bell: Bell,
        activity: Activity,
        hello: Hello,
        find_socket: Callable[[], Path],
        no_fork: AbstractContextManager[object],
    ) -> None:
        """No fork happens while ``no_fork`` is entered. Raises OSError: no descriptor is left."""
        self._bell = bell
        self._activity = activity
        self._hello = encode(hello)
        self._find_socket = find_socket
        self._no_fork = no_fork
        self._wakeup = Wakeup()
        self._connection: Connection | None = None
        self._hurried: Event | None = None
        self._moving = False
        self._closing = False

    # For other threads

    def ring(self) -> None:
        """Have it look at once. Never raises."""
        self._bell.mute()
        self._wakeup.set()

    def hurry(self) -> None:
        """Have it tell at once, whatever it has told just before, and wait for that, a moment at most."""
        hurried = self._hurried = Event()
        self._wakeup.set()
        hurried.wait(_HURRY)

    def move(self) -> None:
        """Have it connect anew: the socket may be another one now."""
        self._moving = True
        self._wakeup.set()

    def close(self) -> None:
        """End the connection, and ``run``. Returns at once."""
        self._closing = True
        self._wakeup.set()

    def abandon(self) -> None:
        """In a process that was forked from the one that reports: let go of what that one holds."""
        if self._connection is not None:
            self._connection.close()
        self._wakeup.close()

    # The thread

    def run(self) -> None:
        """Work until ``close``."""
        # Signals are for threads that somebody waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        delay = _FIRST_DELAY
        while not self._closing:
            began = monotonic()
            try:
                self._converse(self._connect())
            except (OSError, ValueError):
                """No daemon is there, or no longer."""
            self._disconnect()
            if self._moving or monotonic() - began > _LONGEST_DELAY:
                delay = _FIRST_DELAY
            self._moving = False
            self._rest(delay * (0.5 + os.urandom(1)[0] / 510))
            delay = min(2 * delay, _LONGEST_DELAY)
        self._wakeup.close()

    def _connect(self) -> Connection:
        """Raises OSError, ValueError: nobody is there."""
        path = self._find_socket()
        with self._no_fork:  # else a child could inherit a socket that nobody closes in it
            self._connection = Connection(path)
        return self._connection

    def _disconnect(self) -> None:
        self._bell.mute()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rest(self, seconds: float) -> None:
        """While nobody is there to be told, no request rings."""
        until = monotonic() + seconds
        while not self._closing and not self._moving and (left := until - monotonic()) > 0:
            self._relax()
            try:
                self._wakeup.wait(left)
            except OSError:
                sleep(left)
                with suppress(OSError):
                    self._wakeup = Wakeup()

    def _converse(self, connection: Connection) -> None:
        """Raises OSError: the connection is lost."""
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        rhythm, number, is_read = Rhythm(), 0, connection.say(self._hello)
        while not (self._closing or self._moving):
            counts, now = self._activity.counts(), monotonic()
            plan = rhythm.look(counts, now)
            if (plan.tell or self._hurried is not None) and is_read:
                is_read = connection.say(_snapshot(number, counts, now))
                if is_read:
                    number += 1
                    rhythm.told(counts, now)
                    self._relax()
                    continue
            if is_read and not self._listen(plan, counts):
                continue
            poller.register(connection, select.POLLIN if is_read else select.POLLIN | select.POLLOUT)
            for fd, event in poller.poll(milliseconds(plan.wait) if is_read else None):
                if fd != connection.fileno():
                    self._bell.mute()
                    self._wakeup.clear()
                elif event == select.POLLOUT:
                    is_read = True
                else:
                    connection.hear()

    def _listen(self, plan: Plan, seen: Counts) -> bool:
        """Set what the bell rings for; False where that has happened since it was seen, unheard."""
        self._bell.at_begin, self._bell.at_end = plan.at_begin, plan.at_end
        counts = self._activity.counts()
        if (plan.at_begin and counts != seen) or (plan.at_end and not counts.requests):
            self._bell.mute()
            return False
        return True

    def _relax(self) -> None:
        """Let go whoever waits: there is nothing more to be told, or nobody to tell it to."""
        if self._hurried is not None:
            hurried, self._hurried = self._hurried, None
            hurried.set()


def _snapshot(number: int, counts: Counts, now: float) -> bytes:
    idle_ms = 0.0 if counts.requests else 1000 * max(0.0, now - counts.active_at)
    return encode(Snapshot(number, counts.requests, counts.websockets, counts.total, round(idle_ms, 3)))

"""What systemd is told of the daemon's life, by the datagrams of ``sd_notify``."""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Self

import sdnotify

from buttermilkd.clock import Clock

logger = logging.getLogger(__name__)

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What systemd tells by the environment. Jobs must not inherit it: they would speak for the daemon."""


class Notifier:
    """What can be told. This one tells nobody: there is no systemd, or it does not want to hear."""

    listened = False
    """Whether anybody hears it."""
    watchdog: float | None = None
    """Seconds within which systemd wants to hear ``alive`` again and again; None: it does not watch."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def ready(self, sentence: str) -> None:
        """The start, or a reload, is over."""
        self.send({"READY": "1", "STATUS": sentence})

    def reloading(self) -> None:
        """A reload begins. The time is for ``Type=notify-reload``; others ignore it."""
        self.send({"RELOADING": "1", "MONOTONIC_USEC": f"{self._clock.monotonic() * 1e6:.0f}"})

    def stopping(self, sentence: str) -> None:
        self.send({"STOPPING": "1", "STATUS": sentence})

    def status(self, sentence: str) -> None:
        """What ``systemctl status`` shows."""
        self.send({"STATUS": sentence})

    def extend(self, seconds: float) -> None:
        """A start or a stop may take so much longer, from now on."""
        self.send({"EXTEND_TIMEOUT_USEC": f"{seconds * 1e6:.0f}"})

    def alive(self) -> None:
        self.send({"WATCHDOG": "1"})

    def send(self, message: Mapping[str, str]) -> None:
        """Send these assignments as one message. Never waits and never raises."""

    def close(self) -> None:
        """Tell nothing more. Harmless when repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Sender(sdnotify.SystemdNotifier):  # type: ignore[misc]
    """The package's sender, but for its constructor.

    That one leaves a socket open where it cannot connect, and one that blocks where it can: a manager that does
    not read would stop the whole daemon. ``debug`` is on, since without it every exception is swallowed, even
    what a signal handler raises.
    """

    def __init__(self, address: str) -> None:
        self.debug = True
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.setblocking(False)
        # An abstract name is written with an @ for its first byte, which is NUL.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        try:
            self.connect()
        except OSError:
            self.socket.close()
            raise

    def connect(self) -> None:
        """Raises OSError."""
        self.socket.connect(self._address)

    def send(self, text: str) -> None:
        """Send UTF-8, as systemd wants it: the package encodes as Latin-1, so it gets each byte as a character.

        Raises:
            OSError: the manager's queue is full (BlockingIOError), or nobody reads any more.
        """
        self.notify(text.encode("utf-8", "replace").decode("latin-1"))


class SystemdNotifier(Notifier):
    """Tells the manager whose socket is at ``address``.

    While the manager's queue is full, messages wait here, the newest of each kind, and go out once there is room.
    """

    listened = True

    def __init__(self, address: str, watchdog: float | None, clock: Clock) -> None:
        super().__init__(clock)
        self.watchdog = watchdog
        self._sender: _Sender | None = None
        self._waiting: dict[tuple[str, ...], str] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that watches for room."""
        self._failed = False
        try:
            self._sender = _Sender(address)
        except (OSError, ValueError) as error:
            logger.warning(
                "cannot tell systemd anything: cannot connect to NOTIFY_SOCKET=%s: %s", address, error
            )

    def send(self, message: Mapping[str, str]) -> None:
        kind = tuple(message)
        self._waiting.pop(kind, None)
        self._waiting[kind] = "\n".join(
            f"{name}={' '.join(value.split())}" for name, value in message.items()
        )
        self._flush()

    def _flush(self) -> None:
        while self._waiting:
            kind, text = next(iter(self._waiting.items()))
            try:
                self._send(text)
            except BlockingIOError:
                self._watch()
                return
            except OSError as error:
                if not self._failed:
                    self._failed = True
                    logger.warning("cannot tell systemd anything: %s", error.strerror)
            else:
                self._failed = False
            del self._waiting[kind]
        self._unwatch()

    def _send(self, text: str) -> None:
        """Raises OSError. Of a manager whose socket was made anew, the new one is taken."""
        if self._sender is None:
            return
        try:
            self._sender.send(text)
        except BlockingIOError:
            raise
        except OSError:
            self._sender.connect()
            self._sender.send(text)

    def _watch(self) -> None:
        if self._loop is None and self._sender is not None:
            with suppress(RuntimeError):  # no loop runs yet: the next message tries again
                self._loop = asyncio.get_running_loop()
                self._loop.add_writer(self._sender.socket.fileno(), self._flush)

    def _unwatch(self) -> None:
        if self._loop is not None and self._sender is not None:
            self._loop.remove_writer(self._sender.socket.fileno())
            self._loop = None

    def close(self) -> None:
        self._unwatch()
        if self._sender is not None:
            self._sender.socket.close()
            self._sender = None


def notifier(environ: MutableMapping[str, str], clock: Clock, *, wanted: bool = True) -> Notifier:
    """The one that systemd asks for in this environment, which is cleared of it.

    ``wanted``: whether this process speaks for its service at all.
    """
    address, period, watched = (environ.pop(name, "") for name in VARIABLES)
    if not address or not wanted:
        return Notifier(clock)
    return SystemdNotifier(address, _watchdog(period, watched), clock)


def _watchdog(period: str, watched: str) -> float | None:
    """Seconds within which this process is to say that it is alive; None: it, or nobody, is watched."""
    if not period or (watched and watched != str(os.getpid())):
        return None
    if not period.isdecimal() or int(period) == 0:
        logger.warning("cannot be watched by systemd: WATCHDOG_USEC=%s is no number of microseconds", period)
        return None
    return int(period) / 1e6

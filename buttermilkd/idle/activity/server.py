"""The activity socket: web servers' processes connect to it and report what their users do."""

import asyncio
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable
from mmap import mmap

from buttermilkd.cgroups import Membership
from buttermilkd.clock import Clock
from buttermilkd.idle.activity.connection import Peer, ReporterConnection
from buttermilkd.idle.policy.observations import Departure, Refusal, Web
from buttermilkd.idle.policy.users import REFUSED_FOR
from buttermilkd.journal import about

logger = logging.getLogger(__name__)

MAX_CONNECTIONS = 256
MAX_CONNECTIONS_PER_UID = 64
"""Of every user but root, so that no one user can lock all others out."""
RESERVED = 32
"""Of all, those that root and the daemon's own user alone can have, so that several users cannot lock them out."""
STALE_FOR = 30.0
"""Seconds that a silent reporter counts as busy before it is dropped; likewise for a peer that says nothing at all."""
REFUSALS_EVERY = 10.0
"""Seconds between two log lines about refused connections."""
BACKLOG = 128
ROOM = 256 * 1024
"""Bytes that are read at once: more than a socket holds, so that what came while nothing was read is one reading."""


class ActivityServer:
    """Listens for reporters and knows what they have told last.

    ``on_change`` is called in the very loop iteration that reads a line which changes anything, so that
    nothing is started for a user's processor time between the arrival of the line and the verdict.
    """

    def __init__(
        self, listener: socket.socket, clock: Clock, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """``listener`` listens already: what connects before ``run`` is served then."""
        self._listener = listener
        self._clock = clock
        self._own = (0, os.geteuid())
        # Without it the event loop makes one of this size for each line. Only its first page is ever touched by most lines.
        self._room = mmap(-1, ROOM)
        self.on_change = on_change
        self._connections: set[ReporterConnection] = set()
        self._per_uid: Counter[int] = Counter()
        self._departure: Departure | None = None
        self._departed_active_at: float | None = None
        self._refusals_logged_at: float | None = None
        self._refused: dict[Peer, Refusal] = {}
        self.refusals = 0
        """Connections refused or closed for what the peer did, since the start."""

    # Service

    async def run(self) -> None:
        """Serve until cancelled; then close every connection."""
        loop = asyncio.get_running_loop()
        # Not create_unix_server: from Python 3.13 on that removes the socket's file, which is not ours.
        server = await loop.create_server(
            lambda: ReporterConnection(self, self._clock, self._room), sock=self._listener, backlog=BACKLOG
        )
        try:
            await loop.create_future()
        finally:
            server.close()
            for connection in tuple(self._connections):
                connection.close()
            await server.wait_closed()

    # What it knows

    def observe(self) -> Web:
        """All that reporters have told, as the policy wants it."""
        reporters = tuple(one.reporter for one in self._connections if one.reporter is not None)
        latest = max(self._refused.values(), key=lambda one: one.at, default=None)
        return Web(reporters, self._departure, self._departed_active_at, latest)

    def memberships(self) -> frozenset[Membership]:
        """Where the web servers run; one that cannot be seen is somewhere unknown."""
        unknown = Membership(None)
        return frozenset(one.membership or unknown for one in self._connections if one.reporter is not None)

    def sweep(self) -> None:
        """Drop who has been silent for too long. To be called on each tick, once the loop has read what came."""
        now = self._clock.monotonic()
        for connection in tuple(self._connections):
            if connection.overdue(now) > STALE_FOR:
                # How its users do was not known for as long as it may stay so.
                self._note("silent" if connection.reporter else "no hello", connection.peer)
                connection.close()

    # What its connections tell it

    def admit(self, connection: ReporterConnection, peer: Peer) -> str | None:
        most = MAX_CONNECTIONS if peer.uid in self._own else MAX_CONNECTIONS - RESERVED
        if len(self._connections) >= most:
            return f"over {most} connections"
        if peer.uid != 0 and self._per_uid[peer.uid] >= MAX_CONNECTIONS_PER_UID:
            return f"over {MAX_CONNECTIONS_PER_UID} connections of one user"
        self._connections.add(connection)
        self._per_uid[peer.uid] += 1
        return None

    def changed(self) -> None:
        self.on_change()

    def reported(self, peer: Peer) -> None:
        self._refused.pop(peer, None)

    def refused(self, peer: Peer, why: str, app: str | None) -> None:
        self._note(why, peer)
        now = self._clock.monotonic()
        self._refused = {peer: one for peer, one in self._refused.items() if now - one.at < REFUSED_FOR}
        if len(self._refused) < MAX_CONNECTIONS:
            name = f'web server "{app}" (pid {peer.pid or "unknown"})' if app else f"a process ({peer})"
            self._refused[peer] = Refusal(name, why, now)
        self.on_change()

    def _note(self, why: str, peer: Peer) -> None:
        self.refusals += 1
        now = self._clock.monotonic()
        if self._refusals_logged_at is None or now - self._refusals_logged_at >= REFUSALS_EVERY:
            self._refusals_logged_at = now
            logger.warning(
                "closed a reporter's connection (%s): %s; %d closed so far",
                peer,
                why,
                self.refusals,
                extra=about(peer_uid=peer.uid),
            )

    def left(self, connection: ReporterConnection) -> None:
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._per_uid[connection.peer.uid] -= 1
        if not self._per_uid[connection.peer.uid]:
            del self._per_uid[connection.peer.uid]
        told = connection.reporter
        if told is None:
            return
        gone = connection.departure(self._clock.monotonic())
        self._departure = gone or self._departure
        if told.active_at is not None and gone is None:
            before = self._departed_active_at
            self._departed_active_at = told.active_at if before is None else max(before, told.active_at)
        self.on_change()

"""Who may be connected to the control socket at a time, and for how long without asking or taking anything.

Everybody whom the socket lets in may hold connections, so nobody may hold all of them. The HTTP server stays as it is:
each of its connections is handed over once it is let in, and what comes and goes is looked at on its way.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from buttermilkd.bell import Bell
from buttermilkd.clock import Clock
from buttermilkd.control.refusal import answer
from buttermilkd.errors import UnavailableError
from buttermilkd.peers import Peer

MAX_CONNECTIONS = 256
MAX_CONNECTIONS_PER_UID = 64
"""Of every user but root and the daemon's own."""
RESERVED = 32
"""Of all, those that root and the daemon's own user alone can have."""
KEEP_ALIVE = 15.0
"""Seconds in which a whole request's head must come: after connecting, and after the answer before."""
GRACE = 1.0
"""Seconds for somebody who has just been let in, answered or heard, in which another one has to do without."""
STUCK_AFTER = 5.0
"""Seconds after which a peer that takes nothing may have to make room for another."""
DOWNLOAD_STUCK_AFTER = 60.0
"""The same for what is written to a file, perhaps on a slow disk; broken off, it has to be had again in whole."""
LINGER = 0.5
"""Seconds for one that is refused to say what it wanted: who still writes would not read the answer."""
MAX_LINGERING = 32
READ_WITHIN = 600.0
"""Seconds in which a peer must take something of what it asked for; somebody may be reading it page by page."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many, and for how long; in seconds. See the constants of this module."""

    connections: int = MAX_CONNECTIONS
    per_uid: int = MAX_CONNECTIONS_PER_UID
    reserved: int = RESERVED
    keep_alive: float = KEEP_ALIVE
    read_within: float = READ_WITHIN


class Connections:
    """All connections of the control socket. Where there is no room, the one that has waited longest makes it."""

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._clock = clock
        self._own = (0, os.geteuid())
        self._open: dict[asyncio.BaseTransport, Connection] = {}
        self._per_uid: Counter[int] = Counter()
        self._news = Bell()
        self.lingering = 0
        """Connections that are refused and not closed yet."""
        self.refused = 0
        """Connections that found no room, since the start."""
        self.closed = 0
        """Connections closed to make room, or because nothing came or went on them for too long."""

    def __len__(self) -> int:
        return len(self._open)

    def new(self, make: Callable[[], asyncio.Protocol]) -> "Connection":
        """The protocol of a connection; ``make`` makes the server's own once it is let in."""
        return Connection(self, self._clock, make)

    @contextmanager
    def serving(
        self, transport: asyncio.BaseTransport | None, stuck_after: float = STUCK_AFTER
    ) -> Iterator[None]:
        """Within it a request is being answered; whose peer takes nothing for ``stuck_after`` s may have to make room."""
        if transport is None or (connection := self._open.get(transport)) is None:
            yield
            return
        connection.stuck_after = stuck_after
        connection.serves(+1)
        try:
            yield
        finally:
            connection.serves(-1)
            self._news.ring()

    async def run(self) -> None:
        """Close what waits for too long, until cancelled."""
        while True:
            seen = self._news.ring_count
            self.sweep()
            due = min((one.due for one in self._open.values() if one.due is not None), default=None)
            if due is None:
                await self._news.heard(seen)
            else:
                await self._clock.sleep(max(1.0, due - self._clock.monotonic()))

    def sweep(self) -> None:
        """Close what has waited for too long by now."""
        now = self._clock.monotonic()
        for one in tuple(self._open.values()):
            if one.due is not None and one.due <= now:
                self._close(one)

    def admit(self, connection: "Connection", transport: asyncio.Transport, peer: Peer) -> bool:
        """Take it in, if need be in the place of one that waits; False where all are being served."""
        if not self._has_room(peer.uid):
            waiting = [one for one in self._rivals(peer.uid) if one.waits_since is not None]
            if not waiting:
                self.refused += 1
                return False
            self._close(min(waiting, key=lambda one: one.waits_since or 0.0))
        self._open[transport] = connection
        self._per_uid[peer.uid] += 1
        self._news.ring()
        return True

    def left(self, transport: asyncio.BaseTransport, peer: Peer) -> None:
        """It is closed."""
        if self._open.pop(transport, None) is not None:
            self._per_uid[peer.uid] -= 1
            if not self._per_uid[peer.uid]:
                del self._per_uid[peer.uid]

    def _has_room(self, uid: int) -> bool:
        if uid in self._own:
            return len(self._open) < self.limits.connections
        most = self.limits.connections - self.limits.reserved
        return self._per_uid[uid] < self.limits.per_uid and len(self._open) < most

    def _rivals(self, uid: int) -> Iterator["Connection"]:
        """Whoever may have to make room for this user: the user's own; for root, and where all is full, all others."""
        own_alone = uid not in self._own and self._per_uid[uid] >= self.limits.per_uid
        greedy = max(self._per_uid.values(), default=0)
        for one in self._open.values():
            uid_of = one.peer.uid
            if uid_of == uid or (not own_alone and self._per_uid[uid_of] == greedy):
                yield one

    def _close(self, connection: "Connection") -> None:
        self.closed += 1
        connection.abort()


class Connection(asyncio.Protocol):
    """One connection, on its way between the transport and the server's own protocol."""

    def __init__(self, host: Connections, clock: Clock, make: Callable[[], asyncio.Protocol]) -> None:
        self._host = host
        self._clock = clock
        self._make = make
        self._served: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._lingers: asyncio.TimerHandle | None = None
        self._serving = 0
        self._stuck_since: float | None = None
        self._idle_since = self._heard_at = clock.monotonic()
        self.peer = Peer(0, -1, -1)
        self.stuck_after = STUCK_AFTER

    @property
    def waits_since(self) -> float | None:
        """Since when it asks nothing, or takes nothing; None while something is done for it, or may be soon."""
        now = self._clock.monotonic()
        if self._stuck_since is not None:
            return self._stuck_since if now - self._stuck_since >= self.stuck_after else None
        # What it asks may lie unread yet, or be on its way to whoever answers it.
        is_new = now - max(self._idle_since, self._heard_at) < GRACE
        return None if self._serving or is_new else self._idle_since

    @property
    def due(self) -> float | None:
        """When it is to be closed, unless something comes or goes."""
        if self._stuck_since is not None:
            return self._stuck_since + self._host.limits.read_within
        return None if self._serving else self._idle_since + self._host.limits.keep_alive

    def serves(self, change: int) -> None:
        """A request has begun to be answered (+1), or is answered (-1)."""
        self._serving += change
        self._idle_since = self._clock.monotonic()

    def abort(self) -> None:
        """Close it at once, whatever was still to be sent."""
        if self._transport is not None:
            self._host.left(self._transport, self.peer)
            self._transport.abort()

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = self._transport = cast("asyncio.Transport", transport)
        self.peer = Peer.of(stream.get_extra_info("socket"))
        if self._host.admit(self, stream, self.peer):
            self._served = self._make()
            self._served.connection_made(stream)
        else:
            self._refuse(stream)

    def _refuse(self, stream: asyncio.Transport) -> None:
        stream.write(answer(_full()))
        if self._host.lingering < MAX_LINGERING:
            self._host.lingering += 1
            self._lingers = asyncio.get_running_loop().call_later(LINGER, stream.close)
        else:
            stream.close()

    def data_received(self, data: bytes) -> None:
        if self._served is not None:
            self._heard_at = self._clock.monotonic()
            self._served.data_received(data)
        elif self._transport is not None:
            self._transport.close()

    def eof_received(self) -> bool | None:
        return None if self._served is None else self._served.eof_received()

    def pause_writing(self) -> None:
        self._stuck_since = self._clock.monotonic()
        if self._served is not None:
            self._served.pause_writing()

    def resume_writing(self) -> None:
        self._stuck_since = None
        self._idle_since = self._clock.monotonic()
        if self._served is not None:
            self._served.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self._host.left(self._transport, self.peer)
        if self._lingers is not None:
            self._lingers.cancel()
            self._host.lingering -= 1
        if self._served is not None:
            self._served.connection_lost(exc)


def _full() -> UnavailableError:
    return UnavailableError(
        "cannot answer: too many connections to the control socket are in use",
        hint="close some of them, and try again",
    )

"""One reporter's connection: bytes in, checked lines out. It trusts the peer with nothing."""

import asyncio
from dataclasses import dataclass, replace
from mmap import mmap
from typing import Protocol, cast

from buttermilkd import peers
from buttermilkd.cgroups import Membership, membership
from buttermilkd.clock import Clock
from buttermilkd.idle.policy.observations import Departure, Reporter
from buttermilkd.reports import MAX_LINE, MAX_LINES_PER_SECOND, STALE_BEATS, Hello, Snapshot, decode


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, in the kernel's word."""

    pid: int | None
    uid: int

    def __str__(self) -> str:
        return f"pid {self.pid or 'unknown'}, uid {self.uid}"


class Host(Protocol):
    """What a connection needs of the server that it belongs to."""

    def admit(self, connection: "ReporterConnection", peer: Peer) -> str | None:
        """Take the connection in; or the reason why not."""

    def changed(self) -> None:
        """What the users of this reporter do has changed."""

    def reported(self, peer: Peer) -> None:
        """What the users of this peer do is known now."""

    def refused(self, peer: Peer, why: str, app: str | None) -> None:
        """The connection is being closed because of what the peer did; ``app`` is the name that it has given."""

    def left(self, connection: "ReporterConnection") -> None:
        """The connection is closed."""


class ReporterConnection(asyncio.BufferedProtocol):
    """Keeps the last snapshot of one reporter. Everything happens in the loop iteration that reads the line."""

    def __init__(self, host: Host, clock: Clock, room: mmap) -> None:
        """``room`` is where bytes are read into. It may be that of all connections: what is read is copied at once."""
        self._host = host
        self._clock = clock
        self._room = room
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._heard_at = clock.monotonic()
        self._credit = float(MAX_LINES_PER_SECOND)
        """Lines that it may still send: those of a second, and of the time since it was read last."""
        self._read_at = self._heard_at
        self.peer = Peer(None, -1)
        self.reporter: Reporter | None = None
        """The reporter as its last line told; None before it has said who it is."""
        self.membership: Membership | None = None
        """The control groups that it runs in; None before it has said who it is, or where they are not to be seen."""

    def departure(self, at: float) -> Departure | None:
        """What its users lose if it goes now; None if nothing is open."""
        told = self.reporter
        if told is None or not (told.requests or told.websockets):
            return None
        return Departure(told.app, at, told.requests, told.websockets)

    def overdue(self, now: float) -> float:
        """Seconds since it should have been heard: after its beats, or since it connected without a word."""
        return now - self._heard_at - (self.reporter.stale_after if self.reporter else 0.0)

    # What happens to it

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        told = peers.Peer.of(transport.get_extra_info("socket"))
        self.peer = Peer(told.pid or None, told.uid)
        if why := self._host.admit(self, self.peer):
            self.refuse(why)

    def get_buffer(self, sizehint: int) -> mmap:  # noqa: ARG002 - there is one for all
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        data = self._room[:nbytes]
        now = self._clock.monotonic()
        earned = (now - self._read_at) * MAX_LINES_PER_SECOND
        self._credit = min(self._credit, MAX_LINES_PER_SECOND) + earned
        self._read_at = now
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            if self._transport is None:
                return
            self._read(line)
        if len(self._buffer) >= MAX_LINE:
            self.refuse(f"a line over {MAX_LINE:,} bytes")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it ended, it is gone
        self._transport = None
        self._host.left(self)

    def refuse(self, why: str) -> None:
        """Close the connection at once; nothing more is read from it."""
        if self._transport is not None:
            app = self.reporter.app if self.reporter else None
            self.close()
            self._host.refused(self.peer, why, app)

    def close(self) -> None:
        """Close the connection at once, without a word."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
            self._buffer = b""

    def _read(self, line: bytes) -> None:
        now = self._clock.monotonic()
        self._credit -= 1
        if self._credit < 0:
            self.refuse(f"over {MAX_LINES_PER_SECOND} lines a second")
        elif len(line) >= MAX_LINE:
            self.refuse(f"a line over {MAX_LINE:,} bytes")
        else:
            try:
                is_news = self._take(decode(line), now)
            except ValueError as error:
                self.refuse(f"a line that cannot be read: {error}")
            else:
                if is_news:
                    self._host.changed()

    def _take(self, report: Hello | Snapshot, now: float) -> bool:
        """Whether the report tells anything new. Raises ValueError: it comes out of turn."""
        self._heard_at = now
        before = self.reporter
        if isinstance(report, Hello):
            if before is not None:
                raise ValueError("a second hello")
            self.reporter = _introduced(report, self.peer, now)
            self.membership = None if self.peer.pid is None else membership(self.peer.pid)
        else:
            if before is None:
                raise ValueError("no hello first")
            self.reporter = _updated(before, report, now)
            if not before.reported:
                self._host.reported(self.peer)
        return before is None or _is_news(before, self.reporter)


def _introduced(hello: Hello, peer: Peer, now: float) -> Reporter:
    return Reporter(
        app=hello.app,
        pid=peer.pid,
        worker=hello.worker,
        kind=hello.kind,
        heard_at=now,
        stale_after=STALE_BEATS * hello.beat_ms / 1000,
        idle_since=now,
        used=False,
        reported=False,
    )


def _updated(before: Reporter, told: Snapshot, now: float) -> Reporter:
    since = now if before.requests_since is None else before.requests_since
    return replace(
        before,
        heard_at=now,
        idle_since=now - told.idle_ms / 1000,
        used=before.used or bool(told.total or told.req or told.ws),
        reported=True,
        requests=told.req,
        websockets=told.ws,
        total=told.total,
        requests_since=since if told.req else None,
    )


def _is_news(before: Reporter, after: Reporter) -> bool:
    """Whether it tells more than that the reporter is still there; what else ages is seen on the next tick."""
    counts_before = before.reported, before.requests, before.websockets, before.total
    counts_after = after.reported, after.requests, after.websockets, after.total
    was_idle_for = before.heard_at - before.idle_since
    return counts_before != counts_after or after.heard_at - after.idle_since < was_idle_for

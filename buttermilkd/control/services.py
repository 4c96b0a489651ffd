"""What the routes call, and one call as they see it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from buttermilkd.batches import Batches
from buttermilkd.clock import Clock
from buttermilkd.config.in_force import InForce
from buttermilkd.config.settings import Settings
from buttermilkd.dead import DeadLetters
from buttermilkd.dispatcher import Dispatcher
from buttermilkd.errors import InvalidRequestError, TimedOutError
from buttermilkd.host.journal.sender import Sender
from buttermilkd.idle.gate import Gate
from buttermilkd.idle.history import History
from buttermilkd.idle.recorder import Recorder
from buttermilkd.idle.sources import Sources
from buttermilkd.jobs import Status
from buttermilkd.ledger import Ledger
from buttermilkd.messages import ReloadedView
from buttermilkd.peers import Peer
from buttermilkd.queues.base import Queue
from buttermilkd.runner.launcher.launched import Launcher
from buttermilkd.runner.runner import Runner
from buttermilkd.suspension import Suspension
from buttermilkd.waiting import Situation

PAGE = 100
LARGEST_PAGE = 1000
BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of a request that is not streamed; larger batches come as NDJSON."""
LOOK_AGAIN = 0.2
"""Seconds between two looks for more of what is followed."""
BODY_PATIENCE = 30.0
"""Seconds without another byte of a request's body."""


@dataclass(frozen=True)
class Services:
    """The rooms below, as the daemon has put them together."""

    in_force: InForce
    clock: Clock
    ledger: Ledger
    batches: Batches
    dead: DeadLetters
    dispatcher: Dispatcher
    queue: Queue
    runner: Runner
    gate: Gate
    suspension: Suspension
    history: History
    recorder: Recorder | None
    activity: Sources
    check: Callable[[str], Awaitable[str | None]]
    """Why a flow cannot run here; None where nothing speaks against it."""
    launcher: Launcher
    journal: Sender | None
    """Sends to systemd's journal, where the daemon's own log goes there."""
    reload: Callable[[], Awaitable[ReloadedView]]
    """Read the configuration again, and work by it. Raises MisconfiguredError: it is bad, and nothing has changed."""
    host: str
    started_at: float
    keys: dict[tuple[int, str], asyncio.Lock] = field(default_factory=dict)
    """One for each Idempotency-Key in use."""

    @property
    def settings(self) -> Settings:
        """As they are in force now: a reload changes them."""
        return self.in_force.settings

    def situation(self) -> Situation:
        self.gate.reconsider()
        verdict = self.gate.verdict
        return Situation(
            idle=verdict.idle,
            why=verdict.explanation,
            holds=self.ledger.holds,
            flows=self.settings.flows.keys(),
            running=len(self.dispatcher.running),
            suspended=Counter(job_id.rpartition(".")[0] for job_id in self.suspension.suspended),
            concurrency=self.settings.daemon.concurrency,
            queue=self.settings.queue,
            draining=self.dispatcher.draining,
            trouble=self.dispatcher.trouble or self.queue.trouble or self.launcher.trouble,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """One request, and who sent it."""

    request: web.Request
    peer: Peer
    body: Mapping[str, Any] = field(default_factory=dict)
    """The JSON object of a changing call."""

    @property
    def path(self) -> Mapping[str, str]:
        return self.request.match_info

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number of the query, from 0. Raises InvalidRequestError."""
        text = self.request.query.get(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) <= most):  # noqa: PLR2004
            raise InvalidRequestError(
                f"cannot use {name}={text[:40]!r}: a whole number from 0 to {most:,} is wanted"
            )
        return int(text)

    def flag(self, name: str) -> bool:
        return self.request.query.get(name, "").lower() in ("1", "true", "yes")

    def status(self) -> Status | None:
        """The status that the query filters by. Raises InvalidRequestError."""
        text = self.request.query.get("status")
        if not text:
            return None
        if text not in list(Status):
            raise InvalidRequestError(f"cannot filter by status {text[:40]!r}: there are {', '.join(Status)}")
        return Status(text)


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in a request's body; empty where there is no body.

    Raises:
        InvalidRequestError: it is no JSON object, or too large.
        TimedOutError: the rest of it did not come.
    """
    document = parse(await read_bytes(request) or b"{}")
    if not isinstance(document, dict):
        raise InvalidRequestError("cannot read the request: its body is not a JSON object")
    return document


async def read_bytes(request: web.Request) -> bytes:
    """The whole body. Raises as ``read_object``."""
    chunks = bytearray()
    async for chunk in chunks_of(request):
        chunks += chunk
        if len(chunks) > BODY_LIMIT:
            raise InvalidRequestError(
                f"cannot read the request: its body is over {BODY_LIMIT:,} bytes",
                hint="send the records as NDJSON, a line each",
            )
    return bytes(chunks)


async def chunks_of(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it arrives. Raises TimedOutError where it stalls."""
    while True:
        try:
            async with asyncio.timeout(BODY_PATIENCE):
                chunk = await request.content.readany()
        except TimeoutError:
            raise TimedOutError(
                f"cannot read the request: no more of it came for {BODY_PATIENCE:.0f} s"
            ) from None
        if not chunk:
            return
        yield chunk


def parse(text: bytes) -> Any:
    """Raises InvalidRequestError."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"cannot read the request: its body is not JSON ({error})") from None

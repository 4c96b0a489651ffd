"""What the routes call, and one call as they see it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NoReturn

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
from buttermilkd.messages.wire import MAX_DEPTH, TOO_DEEP, is_deep
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
STREAM_LIMIT = 1024 * 1024 * 1024
"""Bytes of a streamed one."""
OBJECT_LIMIT = 4 * 1024 * 1024
"""Bytes of one that only says what is to be done."""
PARSED_AT_ONCE = 64 * 1024
"""Bytes that are parsed without the help of a thread."""
LOOK_AGAIN = 0.2
"""Seconds between two looks for more of what is followed."""
BODY_PATIENCE = 30.0
"""Seconds without another byte of a request's body."""
BODY_WITHIN = 3600.0
"""Seconds in which all of it must come: whoever makes records slowly may stream them meanwhile."""


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
        self.gate.refresh()
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
    body = await read_bytes(request, OBJECT_LIMIT)
    document = await parsed(body or b"{}")
    if not isinstance(document, dict):
        raise InvalidRequestError("cannot read the request: its body is not a JSON object")
    return document


async def read_bytes(request: web.Request, most: int = BODY_LIMIT) -> bytes:
    """The whole body, of at most so many bytes. Raises as ``read_object``."""
    chunks = bytearray()
    async for chunk in chunks_of(request, most):
        chunks += chunk
    return bytes(chunks)


async def chunks_of(request: web.Request, most: int) -> AsyncIterator[bytes]:
    """The body as it arrives, of at most so many bytes.

    Raises:
        InvalidRequestError: there are more, or its encoding is broken.
        TimedOutError: it stalls, or trickles.
    """
    left, loop = most, asyncio.get_running_loop()
    ends_at = loop.time() + BODY_WITHIN
    while chunk := await _next_chunk(request, min(BODY_PATIENCE, ends_at - loop.time())):
        left -= len(chunk)
        if left < 0:
            raise InvalidRequestError(
                f"cannot read the request: its body is over {most:,} bytes",
                hint="send the records as NDJSON, a line each, and in several batches where they are more",
            )
        yield chunk


async def _next_chunk(request: web.Request, patience: float) -> bytes:
    try:
        async with asyncio.timeout(patience):
            return await request.content.readany()
    except TimeoutError:
        why = f"no more of it came for {patience:.0f} s"
        if patience < BODY_PATIENCE:
            why = f"all of it did not come within {BODY_WITHIN:.0f} s"
        raise TimedOutError(f"cannot read the request: {why}") from None
    except web.RequestPayloadError:
        raise InvalidRequestError("cannot read the request: its body is broken off or malformed") from None


async def parsed(text: bytes) -> Any:
    """See ``parse``: in another thread where it is long."""
    return parse(text) if len(text) < PARSED_AT_ONCE else await asyncio.to_thread(parse, text)


def parse(text: bytes) -> Any:
    """What this JSON says. Raises InvalidRequestError: it is none, or more than can be passed on."""
    try:
        document = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"cannot read the request: its body is not JSON ({error})") from None
    if is_deep({"": document}, MAX_DEPTH + 1):
        raise InvalidRequestError(f"cannot read the request: {TOO_DEEP}")
    return document


def _refused(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}")


def _finite(text: str) -> float:
    if not isfinite(value := float(text)):
        raise ValueError("it holds a number that is too large")
    return value

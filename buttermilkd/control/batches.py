"""Routes about batches."""

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from aiohttp import web

from buttermilkd.batches import Caller
from buttermilkd.control.idempotency import answered, kept, request_key
from buttermilkd.control.jobs import tell_suspensions
from buttermilkd.control.services import (
    LARGEST_PAGE,
    PAGE,
    STREAM_LIMIT,
    Call,
    Services,
    chunks_of,
    parse,
    parsed,
    read_bytes,
)
from buttermilkd.control.streams import has_gone, stream
from buttermilkd.errors import InvalidRequestError
from buttermilkd.jobs import Status
from buttermilkd.ledger import queries
from buttermilkd.ledger.creation import Answer
from buttermilkd.ledger.queries import BatchFilter, JobPage
from buttermilkd.messages import NDJSON, BatchView, CreateBatch, CreatedView
from buttermilkd.waiting import waiting_for

LONGEST_WAIT = 60
LOOK_FOR_READER = 1.0
"""Seconds after which it is looked whether whoever waits is still there."""
LONGEST_LINE = 4 * 1024 * 1024
"""Bytes in a line of a streamed request: the first one holds the batch's parameters."""
MOST_RECORDS = 10_000_000
"""In one request: they are held in memory until they are written."""


async def listing(services: Services, call: Call) -> web.Response:
    """The active batches, newest first; with ``all`` those that have ended too."""
    query = call.request.query
    wanted = BatchFilter(call.status(), query.get("flow"), call.flag("all"))
    limit = max(1, call.number("limit", PAGE, LARGEST_PAGE))
    before = call.number("cursor", 0, 2**62) or None
    now = services.clock.now()
    view = await services.ledger.query(lambda db: queries.batches(db, wanted, limit, before, now))
    situation = services.situation()
    for batch in view["batches"]:
        batch["waiting_for"] = waiting_for(batch, situation)
    return web.json_response(view)


async def one(services: Services, call: Call) -> web.Response:
    """One batch; with ``wait`` once it has ended, or after that many seconds."""
    patience = call.number("wait", 0, LONGEST_WAIT)
    rung = services.ledger.changes.ring_count
    view = await _view(services, call.path["batch"])
    try:
        async with asyncio.timeout(patience):
            while patience and view["ended_at"] is None and not has_gone(call.request):
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_FOR_READER):
                        await services.ledger.changes.heard(rung)
                rung = services.ledger.changes.ring_count
                view = await _view(services, view["batch_id"])
    except TimeoutError:
        view = await _view(services, view["batch_id"])
    return web.json_response(view)


async def _view(services: Services, text: str) -> BatchView:
    """The batch that this is, or begins. Raises as ``queries.resolve``."""
    now = services.clock.now()
    view = await services.ledger.query(lambda db: queries.named_batch(db, text, now))
    view["waiting_for"] = waiting_for(view, services.situation())
    return view


async def create(services: Services, call: Call) -> web.Response:
    """Create a batch, answered when it is durable. The same Idempotency-Key makes the same batch once."""
    request, records, digest = await _read_create(call.request)
    key = request_key(call)
    async with answered(services, call, digest) as answer:
        if answer is not None:
            return answer

        def keep(created: CreatedView) -> Answer:
            return kept(key or "", call, digest, 201, json.dumps(created))

        caller = Caller(call.peer.uid, keep if key and not request.dry_run else None)
        created = await services.batches.create(request, records, caller)
    return web.json_response(created, status=200 if request.dry_run else 201)


async def _read_create(request: web.Request) -> tuple[CreateBatch, list[str] | None, str]:
    """The request, its records, and a digest of both. Raises InvalidRequestError."""
    if request.content_type != NDJSON:
        body = await read_bytes(request)
        wanted = CreateBatch.parse(await parsed(body))
        return wanted, wanted.records, hashlib.sha256(body).hexdigest()
    digest = hashlib.sha256()
    head: CreateBatch | None = None
    records: list[str] = []
    async for lines in _line_groups(request):
        if len(records) > MOST_RECORDS:
            raise InvalidRequestError(
                f"cannot create a batch: it has over {MOST_RECORDS:,} records",
                hint="make several batches of them",
            )
        digest.update(b"\n".join(lines) + b"\n")  # the same however it arrives
        if head is None:
            head = CreateBatch.parse(parse(lines.pop(0)))
        records += _strings(lines)
    if head is None:
        raise InvalidRequestError("cannot create a batch: the request is empty")
    return head, records, digest.hexdigest()


async def _line_groups(request: web.Request) -> AsyncIterator[list[bytes]]:
    """The body's lines, as many at a time as arrived together."""
    rest = b""
    async for chunk in chunks_of(request, STREAM_LIMIT):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise InvalidRequestError(f"cannot create a batch: a line is over {LONGEST_LINE:,} bytes")
        if lines:
            yield lines
    if rest:
        yield [rest]


def _strings(lines: list[bytes]) -> list[str]:
    """Record ids of lines that each hold a JSON string. One call of the parser for many lines is far faster."""
    values = parse(b"[" + b",".join(line for line in lines if line.strip()) + b"]")
    if not all(isinstance(value, str) for value in values):
        raise InvalidRequestError(
            "cannot create a batch: a line after the first is no JSON string",
            hint="send the request's object on the first line, then a record id as a JSON string on each",
        )
    strings: list[str] = values
    return strings


async def cancel(services: Services, call: Call) -> web.Response:
    """Cancel a batch, with a receipt."""
    batch_id = await services.ledger.query(lambda db: queries.resolve(db, call.path["batch"]))
    now = call.body.get("now") is True
    return web.json_response(await services.batches.cancel(batch_id, now=now, by=call.peer.uid))


async def retry(services: Services, call: Call) -> web.Response:
    """Run a batch's failed and cancelled jobs again; with ``failed`` the failed ones alone."""
    batch_id = await services.ledger.query(lambda db: queries.resolve(db, call.path["batch"]))
    failed = call.body.get("failed") is True
    return web.json_response(await services.batches.retry(batch_id, failed=failed, by=call.peer.uid))


async def jobs(services: Services, call: Call) -> web.Response:
    """A page of a batch's jobs."""
    batch_id = await services.ledger.query(lambda db: queries.resolve(db, call.path["batch"]))
    limit = max(1, call.number("limit", PAGE, LARGEST_PAGE))
    page = JobPage(limit, call.number("cursor", 0, 2**62), call.status())
    view = await services.ledger.query(lambda db: queries.jobs(db, batch_id, page, services.host))
    tell_suspensions(services, view["jobs"])
    return web.json_response(view)


async def results(services: Services, call: Call) -> web.StreamResponse:
    """What the ended jobs of a batch left, a line of JSON each, by number."""
    batch_id = await services.ledger.query(lambda db: queries.resolve(db, call.path["batch"]))
    return await stream(call, NDJSON, _results(services, batch_id, call.status()))


async def _results(services: Services, batch_id: str, status: Status | None) -> AsyncGenerator[bytes]:
    after: int | None = 0
    while after is not None:
        page = JobPage(LARGEST_PAGE, after, status, ended=True)
        rows, after = await services.ledger.query(lambda db: queries.results(db, batch_id, page))  # noqa: B023
        yield "".join(json.dumps(row) + "\n" for row in rows).encode()

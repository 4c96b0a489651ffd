"""Routes about the daemon itself: status, idleness, flows, pauses, events."""

import json
import logging
import os
import shlex
from collections.abc import AsyncGenerator

from aiohttp import web

from buttermilkd import __version__
from buttermilkd.clock import iso
from buttermilkd.config.flow import FlowSettings
from buttermilkd.control.services import LOOK_AGAIN, Call, Services
from buttermilkd.control.streams import stream
from buttermilkd.errors import InvalidRequestError, NotFoundError
from buttermilkd.idle.view import reporter_views
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import queries
from buttermilkd.messages import (
    API,
    NDJSON,
    FlowsView,
    FlowView,
    InfoView,
    JournalView,
    QueueView,
    RunningView,
    StatusView,
)
from buttermilkd.waiting import EVERYTHING

logger = logging.getLogger(__name__)

PAUSED = "paused by the operator"
"""Why the gate is held while everything is paused."""
EVENTS_AT_ONCE = 500
HEARTBEAT = 15.0
"""Seconds after which a silent event stream gets an empty line, so that a broken connection is noticed."""


async def info(_services: Services, _call: Call) -> web.Response:
    """Which versions are spoken here."""
    return web.json_response(InfoView(api=API, min_api=API, version=__version__))


async def status(services: Services, _call: Call) -> web.Response:
    """The daemon: idle or why not, what runs, what waits, who reports."""
    services.gate.refresh()
    verdict = services.gate.verdict
    depth = await services.queue.depth()
    view = StatusView(
        version=__version__,
        pid=os.getpid(),
        host=services.host,
        started_at=iso(services.started_at) or "",
        idle=verdict.idle,
        state=verdict.state,
        reasons=list(verdict.reasons),
        sentence=verdict.sentence,
        paused=sorted(services.ledger.holds),
        concurrency=services.settings.daemon.concurrency,
        running=_running(services),
        queue=QueueView(
            kind=depth.kind,
            trouble=services.queue.trouble,
            pending=depth.pending,
            running=depth.running,
        ),
        journal=None if services.journal is None else JournalView(lost=services.journal.lost),
        reporters=reporter_views(services.activity.observe(), services.clock.monotonic()),
        launcher_problem=services.launcher.trouble,
        config_problem=services.in_force.problem,
        needs_restart=list(services.in_force.needs_restart),
    )
    return web.json_response(view)


def _running(services: Services) -> list[RunningView]:
    return [
        RunningView(
            job_id=one.job.job_id,
            batch_id=one.job.batch_id,
            flow=one.job.flow,
            record_id=one.job.record_id,
            attempt=one.job.attempt,
            started_at=iso(one.started_at) or "",
            suspended_at=iso(one.suspended_at),
            pid=one.pid,
        )
        for one in services.runner.running()
    ]


async def flows(services: Services, _call: Call) -> web.Response:
    """What is configured, and whether it can run."""
    totals = await services.ledger.query(queries.totals)
    concurrency = services.settings.daemon.concurrency
    holds = services.ledger.holds
    found = []
    for name, flow in sorted(services.settings.flows.items()):
        problem = await services.check(name)
        pending, running = totals.get(name, (0, 0))
        found.append(
            FlowView(
                name=name,
                kind=flow.kind,
                runs=flow.runs,
                can_run=problem is None,
                problem=problem,
                paused=bool({EVERYTHING, name} & holds),
                records=_source(flow),
                concurrency=flow.limit(concurrency),
                timeout_seconds=flow.timeout,
                max_retries=flow.max_retries,
                version=flow.version,
                pending=pending,
                running=running,
            )
        )
    return web.json_response(FlowsView(flows=found))


def _source(flow: FlowSettings) -> str | None:
    """Where the flow's own records come from, in words."""
    if flow.records_command is not None:
        return f"printed by {shlex.join(flow.records_command)}"
    if isinstance(flow.records, list):
        return f"{len(flow.records):,} in the configuration"
    return flow.records


def _named_flow(services: Services, call: Call) -> str:
    name = call.body.get("flow")
    if name is None:
        return EVERYTHING
    if not isinstance(name, str):
        raise InvalidRequestError("cannot pause or resume: field 'flow' must be a string")
    if name not in services.settings.flows and name not in services.ledger.holds:
        raise NotFoundError(f"cannot find flow {name[:80]!r}", hint="see `buttermilkctl flows`")
    return name


def _paused(flow: str) -> str:
    return "everything" if flow == EVERYTHING else f"flow {flow}"


def _flow_field(flow: str) -> str | None:
    return None if flow == EVERYTHING else flow


async def pause(services: Services, call: Call) -> web.Response:
    """Start no more jobs, of one flow or of any, until resumed; what runs goes on."""
    flow = _named_flow(services, call)
    await services.ledger.hold(flow, call.peer.uid)
    if flow == EVERYTHING:
        services.gate.hold(PAUSED)
    told = about(kind=Kind.PAUSED, flow=_flow_field(flow), peer_uid=call.peer.uid)
    logger.info("paused %s", _paused(flow), extra=told)
    return web.json_response({"paused": sorted(services.ledger.holds)})


async def resume(services: Services, call: Call) -> web.Response:
    """Undo a pause."""
    flow = _named_flow(services, call)
    await services.ledger.release_hold(flow)
    if EVERYTHING not in services.ledger.holds:
        services.gate.release(PAUSED)
    told = about(kind=Kind.RESUMED, flow=_flow_field(flow), peer_uid=call.peer.uid)
    logger.info("resumed %s", _paused(flow), extra=told)
    return web.json_response({"paused": sorted(services.ledger.holds)})


async def reload(services: Services, _call: Call) -> web.Response:
    """Read the configuration again; answered once it is in force, with what has changed."""
    return web.json_response(await services.reload())


async def events(services: Services, call: Call) -> web.StreamResponse:
    """What happened since an event's number, a line of JSON each; with ``follow`` as it happens."""
    since, follow = call.number("since", 0, 2**62), call.flag("follow")
    batch = call.request.query.get("batch")
    batch_id = await services.ledger.query(lambda db: queries.resolve(db, batch)) if batch else None
    return await stream(call, NDJSON, _events(services, since, batch_id, follow=follow))


async def _events(
    services: Services, since: int, batch_id: str | None, *, follow: bool
) -> AsyncGenerator[bytes]:
    silent_since = services.clock.monotonic()
    while True:
        at = since
        found = await services.ledger.query(lambda db: queries.events(db, at, EVENTS_AT_ONCE, batch_id))  # noqa: B023
        now = services.clock.monotonic()
        is_due = follow and now - silent_since > HEARTBEAT
        if found or is_due:
            silent_since = now
        since = found[-1]["sequence"] if found else since
        yield "".join(json.dumps(event) + "\n" for event in found).encode() or b"\n" * is_due
        if not found:
            if not follow:
                return
            await services.clock.sleep(LOOK_AGAIN)


async def resolve(services: Services, call: Call) -> web.Response:
    """Ids of batches and jobs that begin with ``prefix``, at most 20."""
    prefix = call.request.query.get("prefix", "")
    return web.json_response({"matches": await services.ledger.query(lambda db: queries.matches(db, prefix))})

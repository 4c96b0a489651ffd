"""The control API, as a table: what is asked, who may ask, who answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from buttermilkd.control import backup, batches, daemon, dead, idleness, jobs
from buttermilkd.control.access import Access
from buttermilkd.control.services import Call, Services

Handler = Callable[[Services, Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One row. ``raw``: the handler reads the body, and keeps answers, by itself. ``download``: it hands out a file."""

    method: str
    path: str
    access: Access
    handler: Handler
    raw: bool = False
    download: bool = False


ROUTES = (
    Route("GET", "/v1/info", Access.READ, daemon.info),
    Route("GET", "/v1/status", Access.READ, daemon.status),
    Route("GET", "/v1/idle", Access.READ, idleness.idle),
    Route("GET", "/v1/idle/history", Access.READ, idleness.history),
    Route("GET", "/v1/flows", Access.READ, daemon.flows),
    Route("GET", "/v1/events", Access.READ, daemon.events),
    Route("GET", "/v1/resolve", Access.READ, daemon.resolve),
    Route("POST", "/v1/pause", Access.CHANGE, daemon.pause),
    Route("POST", "/v1/resume", Access.CHANGE, daemon.resume),
    Route("POST", "/v1/reload", Access.CHANGE, daemon.reload),
    Route("POST", "/v1/backup", Access.CHANGE, backup.backup, raw=True, download=True),
    Route("GET", "/v1/batches", Access.READ, batches.listing),
    Route("POST", "/v1/batches", Access.CHANGE, batches.create, raw=True),
    Route("GET", "/v1/batches/{batch}", Access.READ, batches.one),
    Route("POST", "/v1/batches/{batch}/cancel", Access.CHANGE, batches.cancel),
    Route("POST", "/v1/batches/{batch}/retry", Access.CHANGE, batches.retry),
    Route("GET", "/v1/batches/{batch}/jobs", Access.READ, batches.jobs),
    Route("GET", "/v1/batches/{batch}/results", Access.READ, batches.results, download=True),
    Route("GET", "/v1/batches/{batch}/log", Access.READ, jobs.batch_log),
    Route("GET", "/v1/jobs/{job}", Access.READ, jobs.one),
    Route("POST", "/v1/jobs/{job}/cancel", Access.CHANGE, jobs.cancel),
    Route("POST", "/v1/jobs/{job}/retry", Access.CHANGE, jobs.retry),
    Route("GET", "/v1/jobs/{job}/log", Access.READ, jobs.log),
    Route("GET", "/v1/dead", Access.READ, dead.listing),
    Route("POST", "/v1/dead/requeue", Access.CHANGE, dead.requeue),
    Route("POST", "/v1/dead/drop", Access.CHANGE, dead.drop),
    Route("GET", "/v1/dead/{letter}", Access.READ, dead.one),
)

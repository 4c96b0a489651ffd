"""Serves the routes on the control socket: checks access, reads bodies, and turns errors into problems."""

import asyncio
import hashlib
import json
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import cast

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from buttermilkd.control.access import Access, Doorman
from buttermilkd.control.connections import DOWNLOAD_STUCK_AFTER, STUCK_AFTER, Connections
from buttermilkd.control.idempotency import answered, kept, request_key
from buttermilkd.control.malformed import server_logger
from buttermilkd.control.routes import ROUTES, Route
from buttermilkd.control.services import Call, Services, read_object
from buttermilkd.errors import BY_KIND, ButtermilkError, NotPermittedError
from buttermilkd.journal import Kind, about
from buttermilkd.messages import PROBLEM
from buttermilkd.peers import Peer

logger = logging.getLogger(__name__)

BACKLOG = 128
LAST_CALL = 0.05
"""Seconds in which who was let in before the end may say what they want: who comes later waits for the next daemon."""


def problem(error: ButtermilkError) -> web.Response:
    """The error as an answer."""
    text = json.dumps(error.problem())
    return web.Response(text=text, status=error.http_status, content_type=PROBLEM)


def _http_problem(error: web.HTTPException) -> web.Response:
    """What aiohttp itself refuses, in the same form."""
    kind = next((kind for kind, known in BY_KIND.items() if known.http_status == error.status), "invalid")
    document = {
        "type": f"urn:buttermilkd:{kind}",
        "title": kind,
        "status": error.status,
        "detail": f"cannot answer this request: {error.reason}",
        "kind": kind,
        "hint": "the routes are listed in the README",
    }
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
    return web.Response(text=json.dumps(document), status=error.status, content_type=PROBLEM, headers=headers)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """No exception leaves the server unanswered."""
    try:
        return await handler(request)
    except ButtermilkError as error:
        return problem(error)
    except web.HTTPException as error:
        return _http_problem(error)
    except ConnectionError:
        raise
    except Exception:
        logger.exception("cannot answer %s %s", request.method, request.rel_url.raw_path)
        return problem(
            ButtermilkError("cannot answer: an error of the daemon's own; its log has the details")
        )


def _expecting(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Refuse expectations before the framework sees them: it repeats their words, and fails at some."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Expect", "100-continue").lower() == "100-continue":
            return await handler(request)
        return _http_problem(web.HTTPExpectationFailed())

    return handle


def _served(connections: Connections) -> Middleware:
    """Tells which connections are being answered: they may take their time."""
    downloads = {route.path for route in ROUTES if route.download}

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        is_download = resource is not None and resource.canonical in downloads
        with connections.serving(request.transport, DOWNLOAD_STUCK_AFTER if is_download else STUCK_AFTER):
            return await handler(request)

    return serve


def _adapt(services: Services, doorman: Doorman, route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        peer = _peer(request)
        try:
            await doorman.check(peer, route.access)
        except NotPermittedError:
            told = about(kind=Kind.CHANGE_REFUSED, peer_uid=peer.uid)
            logger.warning(
                "refused %s %s: user %d may not change things",
                request.method,
                request.rel_url.raw_path,
                peer.uid,
                extra=told,
            )
            raise
        if route.raw or route.access is Access.READ:
            return await route.handler(services, Call(request, peer))
        call = Call(request, peer, await read_object(request))
        response = await _once(services, call, route)
        told = about(kind=Kind.CHANGE_ASKED, peer_uid=peer.uid)
        logger.info(
            "%s %s by uid %d: %d",
            request.method,
            request.rel_url.raw_path,
            peer.uid,
            response.status,
            extra=told,
        )
        return response

    return handle


async def _once(services: Services, call: Call, route: Route) -> web.StreamResponse:
    """Answer a changing call, or give the answer that its Idempotency-Key had before."""
    digest = hashlib.sha256(json.dumps(call.body, sort_keys=True).encode()).hexdigest()
    key = request_key(call)
    async with answered(services, call, digest) as earlier:
        if earlier is not None:
            return earlier
        response = await route.handler(services, call)
        if key is not None and isinstance(response, web.Response) and response.text is not None:
            await services.ledger.keep_answer(kept(key, call, digest, response.status, response.text))
    return response


def _peer(request: web.Request) -> Peer:
    connection = request.get_extra_info("socket")
    if connection is None:
        raise NotPermittedError("cannot tell who asks: the connection is closed")
    return Peer.of(connection)


async def serve(
    services: Services, listener: socket.socket, stack: AsyncExitStack, connections: Connections
) -> None:
    """Answer on this bound Unix socket until ``stack`` closes; ``connections`` says who may be connected."""
    doorman = Doorman(lambda: services.settings.control.admin_groups)
    app = web.Application(middlewares=[_served(connections), _problems])
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _adapt(services, doorman, route))
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        logger=server_logger(logger, services.clock),
        auto_decompress=False,  # a few bytes could become gigabytes
        keepalive_timeout=connections.limits.keep_alive,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    assert runner.server is not None  # noqa: S101 - it has just been made
    runner.server.request_handler = _expecting(runner.server.request_handler)
    make = cast("Callable[[], asyncio.Protocol]", runner.server)
    # Not a site of the runner's: each connection is looked at before the server has it.
    server = await asyncio.get_running_loop().create_server(
        lambda: connections.new(make), sock=listener, backlog=BACKLOG
    )

    async def let_nobody_in() -> None:
        server.close()
        await services.clock.sleep(LAST_CALL)

    stack.push_async_callback(let_nobody_in)

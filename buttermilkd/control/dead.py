"""Routes about dead letters."""

import asyncio
import json

from aiohttp import web

from buttermilkd.control.services import LARGEST_PAGE, PAGE, Call, Services
from buttermilkd.ledger import dead
from buttermilkd.messages.dead import parse_ids


async def listing(services: Services, call: Call) -> web.Response:
    """A page of dead letters, the newest first; with ``flow`` the jobs of that flow alone."""
    query = call.request.query
    limit = max(1, call.number("limit", PAGE, LARGEST_PAGE))
    page = dead.DeadPage(limit, query.get("cursor") or None, query.get("flow") or None)
    return web.json_response(await services.ledger.dead(page))


async def one(services: Services, call: Call) -> web.Response:
    """One dead letter; of a message its attributes and its bytes too."""
    letter_id = await services.ledger.query(lambda db: dead.resolve(db, call.path["letter"]))
    view = await services.ledger.query(lambda db: dead.show(db, letter_id))
    # A message may have megabytes.
    return web.json_response(text=await asyncio.to_thread(json.dumps, view))


async def requeue(services: Services, call: Call) -> web.Response:
    """Run jobs again, and publish messages again; what became of each."""
    return web.json_response(await services.dead.requeue(parse_ids(call.body)))


async def drop(services: Services, call: Call) -> web.Response:
    """Drop dead letters; what became of each."""
    return web.json_response(await services.dead.drop(parse_ids(call.body)))

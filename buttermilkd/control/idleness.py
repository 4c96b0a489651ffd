"""Routes about idleness: the verdict now, and what became of the machine's time."""

from aiohttp import web

from buttermilkd.control.services import Call, Services
from buttermilkd.idle.history import Slice, history_view, merged
from buttermilkd.idle.view import idle_view
from buttermilkd.ledger import history as kept

DAYS = 7
MOST_DAYS = kept.KEPT_FOR // 86_400
_DAY = 86_400.0


async def idle(services: Services, _call: Call) -> web.Response:
    """The verdict, each signal, each threshold."""
    services.gate.reconsider()
    return web.json_response(idle_view(services.gate.last, services.clock, services.launcher.ungrouped))


async def history(services: Services, call: Call) -> web.Response:
    """What the last ``days`` went to, up to this moment."""
    days = max(1, call.number("days", DAYS, MOST_DAYS))
    now = services.clock.now()
    since = now - days * _DAY
    rows = await services.ledger.query(lambda db: kept.between(db, since, now))
    # The clock may have been set since these were added up.
    recent = [one for one in services.history.pending() if since <= one.quarter <= now]
    slices = merged([*(Slice(*row) for row in rows), *recent])
    return web.json_response(history_view(slices, since, now))

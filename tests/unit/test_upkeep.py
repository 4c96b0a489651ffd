"""What goes on beside everything else, and goes on when the ledger refuses for a while."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, cast

from buttermilkd.bell import Bell
from buttermilkd.control.services import Services
from buttermilkd.daemon.upkeep import STOP_AGAIN, finish_stops
from buttermilkd.errors import StorageError
from buttermilkd.testing import HandMovedClock, settle_loop


class Ledger:
    """Cancels what is left of stopped batches, unless its disk is full."""

    def __init__(self) -> None:
        self.stops = Bell()
        self.full = True
        self.tries = 0

    async def finish_stops(self) -> None:
        self.tries += 1
        if self.full:
            raise StorageError("cannot use the ledger: database or disk is full")


async def test_the_rest_of_a_stopped_batch_is_cancelled_later_where_it_cannot_be_at_once() -> None:
    clock, ledger = HandMovedClock(), Ledger()
    services: Any = SimpleNamespace(clock=clock, ledger=ledger)
    running = asyncio.ensure_future(finish_stops(cast("Services", services)))
    await settle_loop()
    assert ledger.tries == 1
    ledger.full = False
    await clock.advance(STOP_AGAIN)
    assert ledger.tries == 2, "though nobody has rung"
    await clock.advance(10 * STOP_AGAIN)
    assert ledger.tries == 2
    ledger.stops.ring()
    await settle_loop()
    assert ledger.tries == 3
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

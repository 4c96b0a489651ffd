"""What the daemon does beside everything else: small services, each a loop of its own."""

import logging

from buttermilkd.control.services import Services
from buttermilkd.errors import ButtermilkError
from buttermilkd.idle.history import History
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger

logger = logging.getLogger(__name__)

_TROUBLE = about(kind=Kind.STORAGE_TROUBLE)

HISTORY_EVERY = 60.0
"""Seconds between two entries on what became of the machine's time; a crash loses as much of it."""


async def record_transitions(services: Services) -> None:
    """Each opening and closing of the gate becomes an event, with its reasons."""
    gate, was = services.gate, None
    while True:
        seen = gate.changed.ring_count
        if gate.is_open != was:
            was = gate.is_open
            kind = "gate.opened" if was else "gate.closed"
            try:
                await services.ledger.record(kind, gate.verdict.sentence)
            except ButtermilkError as error:
                logger.error("cannot record that the gate has moved: %s", error, extra=_TROUBLE)  # noqa: TRY400
        await gate.changed.heard(seen)


async def keep_history(services: Services) -> None:
    """Write down now and then what became of the machine's time."""
    while True:
        await services.clock.sleep(HISTORY_EVERY)
        await write_history(services.history, services.ledger)


STOP_AGAIN = 30.0
"""Seconds until it is tried again to cancel what is left of a stopped batch: nothing else may ever ask for it."""


async def write_history(history: History, ledger: Ledger) -> None:
    slices = history.take()
    try:
        await ledger.add_history(slices)
    except ButtermilkError as error:
        history.put_back(slices)
        logger.error("cannot keep the history of idleness: %s", error, extra=_TROUBLE)  # noqa: TRY400


async def finish_stops(services: Services) -> None:
    """Cancel what is left of batches that a failure stopped, beside everything else."""
    while True:
        seen = services.ledger.stops.ring_count
        try:
            await services.ledger.finish_stops()
        except ButtermilkError as error:
            logger.error("cannot cancel the rest of a stopped batch: %s", error, extra=_TROUBLE)  # noqa: TRY400
            await services.clock.sleep(STOP_AGAIN)
            continue
        await services.ledger.stops.heard(seen)


async def watch_demand(services: Services) -> None:
    """Tell the gate whether anything waits or runs: if not, it looks at the machine less often."""
    ledger = services.ledger
    while True:
        seen = ledger.changes.ring_count
        try:
            depth = await services.queue.depth()
            services.gate.waiting = depth.pending + depth.running > 0
        except ButtermilkError as error:
            logger.error("cannot tell whether anything waits: %s", error, extra=_TROUBLE)  # noqa: TRY400
        await ledger.changes.heard(seen)

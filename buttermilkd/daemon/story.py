"""What becomes of batches, for the log: told from the ledger, so that it is told whoever brought it about."""

import logging

from buttermilkd.errors import ButtermilkError
from buttermilkd.jobs import Status
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.events import BATCH_ENDED, BATCH_STARTED, Turn, turns

logger = logging.getLogger(__name__)

_ENDS = {
    Status.COMPLETED: (logging.INFO, Kind.BATCH_COMPLETED),
    Status.FAILED: (logging.WARNING, Kind.BATCH_FAILED),
    Status.CANCELLED: (logging.INFO, Kind.BATCH_CANCELLED),
}


async def tell_batches(ledger: Ledger) -> None:
    """Log each batch's beginning and end, also those that recovery or another host has brought about."""
    since = ledger.told_before
    while True:
        seen, before = ledger.changes.ring_count, since
        try:
            happened, since = await ledger.query(lambda db: turns(db, before))  # noqa: B023
        except ButtermilkError as error:
            logger.error("cannot tell what became of batches: %s", error)  # noqa: TRY400
        else:
            for turn in happened:
                _tell(turn)
        await ledger.changes.heard(seen)


def _tell(turn: Turn) -> None:
    if turn.kind == BATCH_STARTED:
        level, kind, text = logging.INFO, Kind.BATCH_STARTED, "has begun"
    elif turn.kind == BATCH_ENDED and turn.status in _ENDS:
        level, kind = _ENDS[turn.status]
        text = f"has ended {turn.status}: {turn.message}"
    elif turn.kind == BATCH_ENDED:  # and was opened again before it could be told
        level, kind, text = logging.INFO, Kind.BATCH_COMPLETED, f"has ended: {turn.message}"
    else:
        level, kind, text = logging.INFO, Kind.BATCH_REOPENED, f"goes on: {turn.message}"
    logger.log(level, "%s %s", turn.batch_id, text, extra=about(turn.batch_id, kind, flow=turn.flow))

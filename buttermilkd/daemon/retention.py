"""Removing batches that ended long ago, as ``[retention]`` says, a little at a time."""

import logging
from collections.abc import Callable
from typing import TypeVar

from buttermilkd.clock import Clock
from buttermilkd.config.settings import RetentionSettings
from buttermilkd.errors import ButtermilkError
from buttermilkd.journal import Kind, about
from buttermilkd.ledger import Ledger
from buttermilkd.ledger.retention import Bounds, Gone, forget, remove_portion, shorten
from buttermilkd.ledger.writer import Operation
from buttermilkd.plurals import count

logger = logging.getLogger(__name__)

T = TypeVar("T")

EVERY = 60.0
"""Seconds between two looks at whether anything may go."""
SETTLED = 3600.0
"""Seconds for which the clock must have run evenly: one that is wrong at boot would make every batch look old."""
JUMP = 60.0
"""Seconds by which a clock that is set is off the one that only counts."""
REST = 9
"""How many times as long as a step took it waits for the next: a tenth of the writer's time is the most it takes."""
LEAST_REST = 0.02
"""Seconds."""


class Retention:
    """Forgets ended batches that are too old or too many, and gives their room back to the file system."""

    def __init__(self, ledger: Ledger, clock: Clock, settings: Callable[[], RetentionSettings]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._settings = settings
        self._offset = clock.now() - clock.monotonic()
        self._even_since = clock.monotonic()

    async def run(self) -> None:
        """Look again and again; what goes wrong is logged, and tried again."""
        while True:
            try:
                await self.sweep()
            except ButtermilkError as error:
                told = about(kind=Kind.STORAGE_TROUBLE)
                logger.error("cannot remove ended batches: %s", error, extra=told)  # noqa: TRY400
            await self._clock.sleep(EVERY)

    async def sweep(self) -> None:
        """Remove all that may go now, and first what an earlier daemon began to remove. Raises StorageError."""
        await self._clear()
        while (bounds := self._bounds()) is not None:
            now = self._clock.now()
            gone = await self._step(lambda db: forget(db, bounds, now))  # noqa: B023
            if gone is None:
                return
            _tell(gone)
            await self._clear()

    def _bounds(self) -> Bounds | None:
        """What may go; None while that is not wanted, or the time is not to be trusted."""
        settings, even = self._settings(), self._even()
        after = settings.remove_after if even else None
        if after is None and settings.keep_batches is None:
            return None
        return Bounds(None if after is None else self._clock.now() - after, settings.keep_batches)

    def _even(self) -> bool:
        """Whether nobody has set the clock for long enough."""
        offset = self._clock.now() - self._clock.monotonic()
        if abs(offset - self._offset) > JUMP:
            self._offset, self._even_since = offset, self._clock.monotonic()
        return self._clock.monotonic() - self._even_since >= SETTLED

    async def _clear(self) -> None:
        """Remove the jobs of forgotten batches, then shorten the file."""
        removed = False
        while await self._step(remove_portion):
            removed = True
        while removed and await self._step(shorten):
            pass

    async def _step(self, operation: Operation[T]) -> T:
        """Have the writer do a little, then leave it to others for much longer than that took."""
        began = self._clock.monotonic()
        done = await self._ledger.write(operation)
        took = self._clock.monotonic() - began
        await self._clock.sleep(max(LEAST_REST, REST * took))
        return done


def _tell(gone: Gone) -> None:
    told = about(gone.batch_id, Kind.BATCH_REMOVED, flow=gone.flow)
    logger.info("%s is removed: %s, as [retention] says", gone.batch_id, count(gone.jobs, "job"), extra=told)

"""The embedded queue: the ledger's own rows, leased by marking them. One host, the default."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from buttermilkd.bell import Bell
from buttermilkd.clock import Clock
from buttermilkd.jobs import Claim, Settlement, Taken
from buttermilkd.queues.base import Depth
from buttermilkd.sharing import Merged


class Ledger(Protocol):
    """What the local queue needs of the ledger: its table is the queue."""

    work: Bell

    def take(self, rooms: Mapping[str, int], limit: int) -> asyncio.Future[Claim]: ...

    def release(self, taken: Sequence[Taken]) -> None: ...

    async def settle(self, settlements: Sequence[Settlement]) -> None: ...

    async def totals(self) -> tuple[int, int]: ...


class LocalQueue:
    """Implements ``queues.base.Queue``. Taking a job and recording it as running are one commit.

    There is no lease to lose: the ledger belongs to one daemon, and what that had running when it died
    is pending again before the next one takes anything.
    """

    kind = "local"
    trouble = None
    republish = None

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._rung = ledger.work.ring_count
        self._next_due: tuple[float, float] | None = None
        """When the first of what waits falls due, by the wall clock and by the monotonic one."""

    async def take(self, rooms: Mapping[str, int], limit: int) -> list[Taken]:
        self._rung = self._ledger.work.ring_count
        ahead = self._clock.now() - self._clock.monotonic()
        claim = self._ledger.take(rooms, limit)
        try:
            found = await asyncio.shield(claim)
        except asyncio.CancelledError:
            # The commit may already be on its way: whatever it takes goes straight back.
            claim.add_done_callback(self._give_back)
            raise
        self._next_due = None if found.next_due is None else (found.next_due, found.next_due - ahead)
        return found.taken

    def _give_back(self, claim: asyncio.Future[Claim]) -> None:
        if not claim.cancelled() and claim.exception() is None and claim.result().taken:
            self._ledger.release(claim.result().taken)

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._ledger.settle(settlements)

    def recall(self) -> None:
        """It holds nothing that it has not given out."""

    def reconfigure(self) -> None:
        """It holds nothing of any flow."""

    async def arrival(self) -> None:
        if self._next_due is None:
            await self._ledger.work.heard(self._rung)
        else:
            await self._ledger.work.heard_or(self._rung, self._fall_due(*self._next_due))

    async def _fall_due(self, at: float, until: float) -> None:
        """Return once the wall clock says ``at``, or the monotonic one ``until``: the other may be set back.

        Sleeps by the monotonic clock, which does not count the machine's sleep, so it looks again each minute.
        """
        while (left := min(at - self._clock.now(), until - self._clock.monotonic())) > 0:
            await self._clock.sleep(min(left, 60.0))

    async def depth(self) -> Depth:
        pending, running = await self._ledger.totals()
        return Depth(self.kind, pending, running)

    async def run(self) -> None:
        """Nothing goes on beside it."""
        await asyncio.get_running_loop().create_future()

    def attend(self, follow: Callable[[Merged], Coroutine[Any, Any, None]]) -> None:
        """There are no other hosts."""

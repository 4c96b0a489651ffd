"""The jobs that were taken from Pub/Sub and are not settled, and the messages that hold their leases."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from buttermilkd.jobs import Event, Settlement, Taken
from buttermilkd.queues.pubsub.intake import Intake
from buttermilkd.queues.pubsub.leases import Leases
from buttermilkd.queues.pubsub.ports import SharedLedger
from buttermilkd.queues.pubsub.shelf import Shelf
from buttermilkd.sharing import Arrival, Claimed, Lease


class Claims:
    """Takes jobs in the ledger and settles them there; then acknowledges, defers or gives back their messages."""

    def __init__(self, ledger: SharedLedger, leases: Leases, shelf: Shelf, intake: Intake) -> None:
        self._ledger = ledger
        self._leases = leases
        self._shelf = shelf
        self._intake = intake
        self._executing: dict[str, Taken] = {}
        """Jobs that were taken and are not settled, by id."""
        self._adopted: dict[str, str] = {}
        """The messages that hold the leases of jobs now whose first leases were lost, by job id."""
        self._clashing: list[Arrival] = []
        self._has_clashing = asyncio.Event()

    async def claim(self, chosen: Sequence[Arrival]) -> list[Taken]:
        """Take these jobs, as far as the ledger lets it. Raises StorageError: then they are on the shelf again."""
        claim = self._ledger.claim(chosen, self._executing.keys())
        try:
            claimed = await asyncio.shield(claim)
        except asyncio.CancelledError:
            # The commit may already be on its way: whatever it takes goes straight back.
            claim.add_done_callback(self._undo)
            raise
        except BaseException:
            self._shelf.put_back(chosen)
            raise
        self._dispose(claimed)
        self._executing |= {one.job.job_id: one for one in claimed.taken}
        return claimed.taken

    def _dispose(self, claimed: Claimed) -> None:
        self._leases.acknowledge(claimed.dropped)
        self._leases.defer(claimed.deferred)
        self._adopted |= claimed.adopted
        if claimed.clashing:
            self._clashing += claimed.clashing
            self._has_clashing.set()

    async def bury_clashing(self) -> None:
        """Bury what cannot be run, beside the taking: who takes jobs may be cancelled, and must not lose them by that."""
        while True:
            await self._has_clashing.wait()
            self._has_clashing.clear()
            clashing, self._clashing = self._clashing, []
            await self._intake.bury_clashing(clashing)

    def _undo(self, claim: "asyncio.Future[Claimed]") -> None:
        if claim.cancelled() or claim.exception() is not None:
            return
        claimed = claim.result()
        self._dispose(claimed)
        if claimed.taken:
            self._ledger.release(claimed.taken)
            self._leases.give_back([_ack_id(one) for one in claimed.taken])

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record what became of taken jobs, and see to the messages that held their leases. Raises StorageError."""
        current = [self._current(settlement) for settlement in settlements]
        settled = await self._ledger.settle(current)
        self._forget(settlements)
        recorded = {id(settlement) for settlement in settled.recorded}
        done, back = [], []
        for settlement, now in zip(settlements, current, strict=True):
            first, last = _ack_id(settlement.taken), _ack_id(now.taken)
            if settlement.event in (Event.COMPLETE, Event.FAIL, Event.CANCEL):
                done += [first, last]
            elif settlement.event is Event.GIVE_BACK or id(now) not in recorded:
                back += [first, last]
            elif first != last:
                back.append(first)
            # Else it is acknowledged once the message is published that asks for it again.
        self._leases.acknowledge(done)
        self._leases.give_back(back)

    def _current(self, settlement: Settlement) -> Settlement:
        """The settlement with the message that holds the job's lease now: the first one's may have been lost."""
        adopted = self._adopted.get(settlement.taken.job.job_id)
        lease = settlement.taken.lease
        if adopted is None or not isinstance(lease, Lease):
            return settlement
        return replace(settlement, taken=replace(settlement.taken, lease=replace(lease, ack_id=adopted)))

    def _forget(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            job_id = settlement.taken.job.job_id
            self._adopted.pop(job_id, None)
            self._executing.pop(job_id, None)


def _ack_id(taken: Taken) -> str:
    lease = taken.lease
    if not isinstance(lease, Lease) or lease.ack_id is None:
        raise TypeError(f"cannot settle {taken.job.job_id}: it was not taken from Pub/Sub")
    return lease.ack_id

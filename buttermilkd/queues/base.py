"""The port that every queue implements. The docstrings are the contract; one test suite runs it over all."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from buttermilkd.jobs import Settlement, Taken
from buttermilkd.messages import DeadMessage
from buttermilkd.sharing import Merged


@dataclass(frozen=True, slots=True)
class Depth:
    """How much waits and runs, as far as this host knows."""

    kind: str
    pending: int
    running: int


class Queue(Protocol):
    """Jobs that wait. Every method may be cancelled at any moment without losing a job.

    Calls are carried out in the order in which they were made: what a later ``take`` returns was taken after
    an earlier ``settle`` became durable.
    """

    kind: str
    """``local`` or ``pubsub``."""

    @property
    def republish(self) -> Callable[[DeadMessage], Coroutine[Any, Any, None]] | None:
        """Gives a message that could not be read to all hosts once more; None where there are no messages.

        Raises UnavailableError: nothing is known to be published.
        """

    @property
    def trouble(self) -> str | None:
        """Why it cannot be reached at present; None: nothing is known to be wrong."""

    async def take(self, rooms: Mapping[str, int], limit: int) -> list[Taken]:
        """Lease up to ``limit`` jobs, and of each flow in ``rooms`` at most that many; do not wait for any.

        A returned job is durably recorded as running, with its attempt counted, and is taken by nobody else
        until it is settled or its lease is lost. Jobs come by batch priority, then by age of the batch; in a
        batch those given back or due again first, then by number. Jobs of flows that are not in ``rooms``, of
        paused flows and cancelled batches, over their batch's concurrency, or not yet due, stay. If the caller is cancelled while it waits, what had been
        leased for it is given back.

        Raises:
            StorageError, UnavailableError: nothing was leased.
        """

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """Record what became of these jobs durably, then release their leases; all of them, or raise.

        COMPLETE, FAIL and CANCEL end a job: it is never given out again. RETRY makes it pending, due after
        ``delay``; so does DISTURB, which takes its attempt back and counts a disturbance. GIVE_BACK makes it pending at once and takes its attempt back. A job that has ended
        already is left as it is: an end is recorded once. Settling the same job twice is therefore harmless.

        Raises:
            StorageError, UnavailableError: nothing is known to be recorded; the caller tries again.
        """

    def recall(self) -> None:
        """Nothing may begin for now: what is held here and was given to nobody goes back at once."""

    def reconfigure(self) -> None:
        """Flows have changed: what is held here of flows that are not there any more goes back at once."""

    async def arrival(self) -> None:
        """Return once there may be more to take than the last ``take`` found: new jobs, or one that fell due.

        At once where that one may have left some, for which there was room.
        """

    async def depth(self) -> Depth:
        """How much waits and runs."""

    async def run(self) -> None:
        """Do what goes on beside all of this, until cancelled: leases, news of other hosts."""

    def attend(self, follow: Callable[[Merged], Coroutine[Any, Any, None]]) -> None:
        """Have ``follow`` called, while it runs, with what this host has to do about what others told."""

"""Google Cloud Pub/Sub as the queue: many hosts share it. What this host knows of its jobs is in the ledger."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError, UnavailableError
from buttermilkd.jobs import Settlement, Taken
from buttermilkd.messages import DeadMessage
from buttermilkd.queues.base import Depth
from buttermilkd.queues.pubsub.api import Outgoing
from buttermilkd.queues.pubsub.claims import Claims
from buttermilkd.queues.pubsub.follower import Follower
from buttermilkd.queues.pubsub.intake import Intake
from buttermilkd.queues.pubsub.leases import LONGEST_DEFERRAL, Leases
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.queues.pubsub.mending import Mending
from buttermilkd.queues.pubsub.ports import SharedLedger
from buttermilkd.queues.pubsub.publishing import Publishing
from buttermilkd.queues.pubsub.shelf import Shelf
from buttermilkd.sharing import Merged, Topic

logger = logging.getLogger(__name__)

LAST_WORDS = 5.0
"""Seconds in which a daemon that stops tells what happened last."""
REPUBLISH_PATIENCE = 20.0
"""Seconds in which a dead letter is published, or its requeue fails."""
PATIENCE = 10.0
"""Seconds that one pull waits, and that a daemon that stops waits for it."""


@dataclass(frozen=True, slots=True)
class Names:
    """Of topics and subscriptions: their last parts, or in full, ``projects/P/topics/T``."""

    jobs_topic: str
    status_topic: str
    subscription: str
    status_subscription: str


class PubsubQueue:
    """Implements ``queues.base.Queue``.

    A job is taken in one commit with what the other hosts are told of it. It runs at least once; where it runs
    twice, one end counts, and the same one on all hosts.
    """

    kind = "pubsub"

    def __init__(
        self,
        *,
        link: Link,
        names: Names,
        ledger: SharedLedger,
        flows: Collection[str],
        lease: float,
        unknown_flow_after: float,
        clock: Clock,
        longest_deferral: float = LONGEST_DEFERRAL,
        patience: float = PATIENCE,
        most_blocked: int = 0,
    ) -> None:
        """``lease``: seconds for which a message is held at a time; see ``Leases`` and ``Intake`` for the others."""
        self._link = link
        self._ledger = ledger
        self._clock = clock
        self._shelf = Shelf(most_blocked)
        self._leases = Leases(link, names.subscription, lease, clock, longest_deferral=longest_deferral)
        self._status_leases = Leases(link, names.status_subscription, lease, clock)
        self._intake = Intake(
            link=link,
            subscription=names.subscription,
            shelf=self._shelf,
            leases=self._leases,
            ledger=ledger,
            flows=flows,
            unknown_flow_after=unknown_flow_after,
            patience=patience,
            clock=clock,
        )
        topics = {Topic.JOBS: names.jobs_topic, Topic.STATUS: names.status_topic}
        self._jobs_topic = names.jobs_topic
        self._publishing = Publishing(link, ledger, self._leases, topics, clock)
        self.follower = Follower(
            link=link,
            subscription=names.status_subscription,
            leases=self._status_leases,
            ledger=ledger,
            patience=patience,
            clock=clock,
        )
        self._mending = Mending(ledger, clock)
        self._claims = Claims(ledger, self._leases, self._shelf, self._intake)
        self._follow: Callable[[Merged], Coroutine[Any, Any, None]] | None = None
        self._arrived = 0
        self._left_some = False
        """The last ``take`` found some, and looked for no more: what is chosen may turn out not to be takeable."""
        self._worked = 0
        link.on_emptied = link.on_new = self._mending.emptied

    @property
    def trouble(self) -> str | None:
        """Why Pub/Sub cannot be used at present."""
        return self._link.trouble

    async def republish(self, letter: DeadMessage) -> None:
        """Give a message that could not be read to all hosts once more.

        Raises:
            UnavailableError: Pub/Sub did not take it in time; it may have it nevertheless.
        """
        outgoing = [Outgoing(letter.data, letter.attributes)]
        try:
            async with asyncio.timeout(REPUBLISH_PATIENCE):
                await self._link.do("publish", lambda broker: broker.publish(self._jobs_topic, outgoing))
        except TimeoutError:
            raise UnavailableError(
                f"cannot publish {letter.message_id}: {self.trouble or 'Pub/Sub does not answer'}",
                hint="try again later",
            ) from None

    @property
    def held(self) -> int:
        """Messages that were pulled and not begun."""
        return len(self._shelf)

    async def run(self) -> None:
        """Everything that goes on beside the taking, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            self.follower.on_merged = lambda merged: self._react(tasks, merged)
            for name, service in (
                ("intake", self._intake.run()),
                ("leases", self._leases.run()),
                ("status leases", self._status_leases.run()),
                ("publishing", self._publishing.run()),
                ("follower", self.follower.run()),
                ("repeating", self.follower.repeat()),
                ("mending", self._mending.run()),
                ("clashes", self._claims.bury_clashing()),
            ):
                tasks.create_task(service, name=f"pubsub {name}")

    def attend(self, follow: Callable[[Merged], Coroutine[Any, Any, None]]) -> None:
        self._follow = follow

    def _react(self, tasks: asyncio.TaskGroup, merged: Merged) -> None:
        """Let whoever attends do what is to be done, while the follower follows on: to stop jobs takes its time."""
        if merged.is_asked:
            tasks.create_task(self._mending.answer(), name="pubsub answer")
        if self._follow is not None and (merged.cancelled or merged.superseded):
            tasks.create_task(self._follow(merged), name="pubsub reaction")

    async def close(self) -> None:
        """Give back everything that is held, as far as that can be had in a moment."""
        self.recall()
        unpublished: set[str] = set()
        try:
            async with asyncio.timeout(LAST_WORDS):
                await self._publishing.flush()
            unpublished = await self._ledger.unpublished()
        except TimeoutError:
            # What asks for a job again is not out yet: the message before it must not be run meanwhile.
            unpublished = await self._ledger.unpublished()
        except ButtermilkError as error:
            logger.warning("cannot tell other hosts all that happened here, until the next start: %s", error)
        await self._leases.close(unpublished)
        await self._status_leases.close()
        await self._link.close()

    def release(self, *, given_back: Sequence[str], dropped: Sequence[str]) -> None:
        """See to messages that a daemon held which has died, by their ack ids."""
        self._leases.give_back(given_back)
        self._leases.acknowledge(dropped)

    def make_up(self) -> None:
        """Ask the other hosts what was missed, tell them what is known here, and publish what has not ended anew."""
        self._mending.emptied()

    # The port

    async def take(self, rooms: Mapping[str, int], limit: int) -> list[Taken]:
        self._arrived = self._intake.arrived.ring_count
        self._worked = self._ledger.work.ring_count
        self._shelf.open(rooms, limit)
        held = self._ledger.holds
        taken: list[Taken] = []
        while not taken and "*" not in held and (chosen := self._shelf.choose(held)):
            taken = await self._claims.claim(chosen)
        self._shelf.taken(Counter(one.job.flow for one in taken))
        self._intake.wanted.ring()
        self._left_some = bool(taken)
        return taken

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        await self._claims.settle(settlements)
        self._shelf.ended(len(settlements), self._clock.monotonic())
        self._intake.wanted.ring()

    def recall(self) -> None:
        """Nothing may begin any more: what was pulled and not begun goes back at once."""
        self._leases.give_back(self._shelf.close())

    def reconfigure(self) -> None:
        self._intake.forget_unknown()

    async def arrival(self) -> None:
        if self._left_some:
            return
        await self._intake.arrived.heard_or(self._arrived, self._ledger.work.heard(self._worked))

    async def depth(self) -> Depth:
        pending, running = await self._ledger.totals()
        return Depth(self.kind, pending, running)

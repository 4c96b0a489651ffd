"""Pulls messages while jobs may begin, and sorts out those that cannot be run here."""

import logging
from collections import OrderedDict
from collections.abc import Collection, Sequence

from buttermilkd.bell import Bell
from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError, NotAJobError, UnreadableError
from buttermilkd.journal import Kind, about
from buttermilkd.messages import DeadMessage, JobRequest
from buttermilkd.queues.pubsub.api import Message, Outgoing
from buttermilkd.queues.pubsub.batching import LARGEST_PUBLISH, size
from buttermilkd.queues.pubsub.leases import Leases
from buttermilkd.queues.pubsub.link import Link
from buttermilkd.queues.pubsub.ports import SharedLedger
from buttermilkd.queues.pubsub.shelf import Shelf
from buttermilkd.sharing import Arrival

logger = logging.getLogger(__name__)

MOST_PULLED = 1_000
LONGEST_TURN = 30.0
"""Seconds for which a message goes back that comes to this host again and again, and is not for it."""
REMEMBERED = 10_000
"""Messages that were turned away."""
MOST_AT_ONCE = 1_000
"""Messages that go back at once within so many seconds."""
LARGEST_REQUEST = LARGEST_PUBLISH - 10_000
"""Bytes; what a job gains over its attempts, such as longer numbers, takes some more."""
_GROWTH = 3
"""How many times as long a message may become that is written anew: as ASCII, two bytes of UTF-8 are six."""


class Turns:
    """How long a message goes back that is not for this host: at first not at all, so that another has it at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._since = clock.monotonic()
        self._at_once = 0

    def delay(self, message_id: str) -> float:
        """Seconds; it doubles each time that the message comes back, and none goes back at once where they are many."""
        turns = self._counts.pop(message_id, 0)
        self._counts[message_id] = turns + 1
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        now = self._clock.monotonic()
        if now - self._since > LONGEST_TURN:
            self._since, self._at_once = now, 0
        self._at_once += turns == 0
        if self._at_once > MOST_AT_ONCE:
            return LONGEST_TURN
        return 0.0 if turns == 0 else min(LONGEST_TURN, 2.0 ** (turns - 1))


class Intake:
    """From the subscription to the shelf."""

    def __init__(
        self,
        *,
        link: Link,
        subscription: str,
        shelf: Shelf,
        leases: Leases,
        ledger: SharedLedger,
        flows: Collection[str],
        unknown_flow_after: float,
        patience: float,
        clock: Clock,
    ) -> None:
        """Times in seconds.

        ``unknown_flow_after``: after which a message for a flow that no host knows is a dead letter; ``patience``: that
        one pull waits. It is never cancelled: Pub/Sub would give the next message to nobody.
        """
        self._patience = patience
        self._link = link
        self._subscription = subscription
        self._shelf = shelf
        self._leases = leases
        self._ledger = ledger
        self._flows = flows
        self._unknown_flow_after = unknown_flow_after
        self._clock = clock
        self._turns = Turns(clock)
        self.wanted = Bell()
        """Rung when more may be wanted than before."""
        self.arrived = Bell()
        """Rings when something was put on the shelf."""

    async def run(self) -> None:
        """Pull until cancelled: a pull that goes on then gives back what it brings."""
        while True:
            seen = self.wanted.ring_count
            wanted = self._shelf.wanted(self._clock.monotonic())
            if wanted <= 0:
                await self.wanted.heard(seen)
                continue
            messages = await self._pull(min(wanted, MOST_PULLED))
            if messages:
                await self._receive(messages)

    async def _pull(self, limit: int) -> list[Message]:
        return await self._link.do(
            "pull", lambda broker: broker.pull(self._subscription, limit, self._patience)
        )

    async def _receive(self, messages: Sequence[Message]) -> None:
        self._leases.hold(message.ack_id for message in messages)
        arrivals = []
        for message in messages:
            request = await self._read(message)
            if request is not None:
                arrivals.append(Arrival(request, message.ack_id, message.message_id, message.published_at))
        now = self._clock.monotonic()
        self._leases.give_back(self._shelf.put(arrivals, now))
        for arrival in self._shelf.blocked(now):
            self._send_back(arrival.ack_id, arrival.message_id)
        if arrivals:
            self.arrived.ring()

    def forget_unknown(self) -> None:
        """Send back what is on the shelf of flows that are configured no more: other hosts may know them."""
        for arrival in self._shelf.of_others(self._flows):
            self._send_back(arrival.ack_id, arrival.message_id)
        self.wanted.ring()

    async def _read(self, message: Message) -> JobRequest | None:
        """The request in a message; None where it is none for this host now, and has been seen to."""
        try:
            request = JobRequest.parse(
                message.data, message.attributes, message.message_id, message.published_at
            )
            _check_size(message, request)
        except NotAJobError:
            self._leases.acknowledge([message.ack_id])
        except UnreadableError as error:
            await self._bury(message, str(error))
        else:
            now = self._clock.now()
            if request.flow not in self._flows or request.flow in self._ledger.holds:
                await self._turn_away(message, request.flow)
            elif request.not_before is not None and request.not_before > now:
                self._leases.defer({message.ack_id: request.not_before - now})
            else:
                return request
        return None

    async def _turn_away(self, message: Message, flow: str) -> None:
        age = self._clock.now() - message.published_at
        if flow not in self._flows and age > self._unknown_flow_after:
            reason = (
                f"no host knows flow {flow[:80]!r}, for {age:,.0f} s now; configure it on a host, and then: "
                "buttermilkctl dead requeue"
            )
            await self._bury(message, reason)
            return
        self._send_back(message.ack_id, message.message_id)

    def _send_back(self, ack_id: str, message_id: str) -> None:
        delay = self._turns.delay(message_id)
        if delay:
            self._leases.defer({ack_id: delay})
        else:
            self._leases.give_back([ack_id])

    async def bury_clashing(self, arrivals: Sequence[Arrival]) -> None:
        """Their job ids stand for other records here: nobody can tell their ends from those of the others."""
        for one in arrivals:
            request = one.request
            message = Message(
                one.ack_id, one.message_id, request.encode(), request.attributes(), one.published_at
            )
            reason = (
                f"{request.job_id} is another job here: two different batches have this id; cancel it, and create them "
                "again under other ids"
            )
            await self._bury(message, reason)

    async def _bury(self, message: Message, reason: str) -> None:
        """Keep the message as a dead letter; only then is it acknowledged."""
        told = about(kind=Kind.DEAD_LETTER)
        logger.error("message %s is a dead letter: %s", message.message_id, reason, extra=told)
        letter = DeadMessage(
            message.message_id, reason, message.data, message.attributes, message.published_at
        )
        try:
            await self._ledger.bury(letter)
        except ButtermilkError as error:
            logger.error("cannot keep dead letter %s: %s", message.message_id, error)  # noqa: TRY400
            self._leases.defer({message.ack_id: LONGEST_TURN})
        else:
            self._leases.acknowledge([message.ack_id])


def _check_size(message: Message, request: JobRequest) -> None:
    """Whether the job could be asked for once more, if it had to be tried again: another's message may be too large.

    Raises:
        UnreadableError: it could not, and its retry would be lost.
    """
    if len(message.data) * _GROWTH < LARGEST_REQUEST:
        return
    octets = size(Outgoing(request.encode(), request.attributes()))
    if octets > LARGEST_REQUEST:
        raise UnreadableError(
            f"the message is too large to be published again for a retry: {octets:,} bytes as it would be then, "
            f"{LARGEST_REQUEST:,} are the most; keep large parameters in a file or a bucket, and send its name"
        )

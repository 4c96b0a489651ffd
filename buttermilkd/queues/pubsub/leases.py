"""Messages that this host holds: their leases are extended until each is acknowledged or given back."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from math import ceil

from buttermilkd.bell import Bell, first_of
from buttermilkd.clock import Clock
from buttermilkd.errors import ButtermilkError, InvalidRequestError
from buttermilkd.plurals import count
from buttermilkd.queues.pubsub.api import Broker
from buttermilkd.queues.pubsub.link import Link

logger = logging.getLogger(__name__)

LONGEST_DEFERRAL = 600.0
"""Seconds; Pub/Sub holds no message for longer without a word."""
RENEWALS = 5
"""Extensions within the time that one lasts: so many may fail before a lease is lost."""
_AGAIN = 2.0
"""Seconds until what could not be extended is tried again."""
_TOLERANCE = 0.05
"""Seconds that a deferral may be too short; times on the wire have milliseconds."""
_LAST_PATIENCE = 5.0
"""Seconds in which a daemon that stops gives back what it holds."""


class Leases:
    """Of one subscription. What it is told to do is done soon, in batches; nobody waits for it."""

    def __init__(
        self,
        link: Link,
        subscription: str,
        seconds: float,
        clock: Clock,
        *,
        longest_deferral: float = LONGEST_DEFERRAL,
    ) -> None:
        """``seconds``: how long each extension lasts, and so how long a dead host's jobs are waited for."""
        self._longest_deferral = longest_deferral
        self._link = link
        self._subscription = subscription
        self._seconds = seconds
        self._clock = clock
        self._held: dict[str, float] = {}
        """Until when, in monotonic seconds, each lease is known to last."""
        self._due: dict[str, float] = {}
        """When each is to be extended."""
        self._releases: dict[str, int | None] = {}
        """Messages to be given out again after so many seconds, or None: to be acknowledged."""
        self._extending: set[str] = set()
        """Those that are being extended: a release that overtook that would be undone by it."""
        self._news = Bell()
        self._newly_held = Bell()
        self.on_lost: Callable[[list[str]], None] = lambda _: None
        """Called with messages whose leases could not be extended in time."""

    @property
    def held(self) -> int:
        return len(self._held)

    def hold(self, ack_ids: Iterable[str]) -> None:
        """Keep these from other hosts from now on."""
        now = self._clock.monotonic()
        for ack_id in ack_ids:
            self._held[ack_id] = now + self._seconds
            self._due[ack_id] = now
        self._newly_held.ring()

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """They are done with: nobody is given them any more."""
        self._release(dict.fromkeys(ack_ids))

    def give_back(self, ack_ids: Iterable[str]) -> None:
        """Any host may have them at once."""
        self._release(dict.fromkeys(ack_ids, 0))

    def defer(self, delays: Mapping[str, float]) -> None:
        """Any host may have each of them after so many seconds."""
        self._release({ack_id: self._whole(delay) for ack_id, delay in delays.items()})

    def _whole(self, delay: float) -> int:
        """Pub/Sub counts in seconds. What is due in a whole number of them must not wait for one more."""
        return max(1, ceil(min(self._longest_deferral, delay) - _TOLERANCE))

    def _release(self, releases: Mapping[str, int | None]) -> None:
        if not releases:
            return
        for ack_id in releases:
            self._held.pop(ack_id, None)
            self._due.pop(ack_id, None)
        self._releases |= releases
        self._news.ring()

    async def run(self) -> None:
        """Extend and release until cancelled; ``close`` then does what is left."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_releasing(), name="releases")
            tasks.create_task(self._keep_extending(), name="extensions")

    # Releasing

    async def _keep_releasing(self) -> None:
        while True:
            seen = self._news.ring_count
            if not self._releases.keys() - self._extending:
                await self._news.heard(seen)
                continue
            releases = self._releases
            await self._link.do("release", lambda broker: self._flush(broker, releases))  # noqa: B023

    async def _flush(self, broker: Broker, releases: dict[str, int | None]) -> None:
        """Release these, and forget each that was; some may be there twice then, which does no harm."""
        groups: dict[int | None, list[str]] = {}
        for ack_id, delay in releases.items():
            if ack_id not in self._extending:
                groups.setdefault(delay, []).append(ack_id)
        for delay, ack_ids in groups.items():
            await self._release_group(broker, ack_ids, delay)
            for ack_id in ack_ids:
                if ack_id in releases and releases[ack_id] == delay:
                    del releases[ack_id]

    async def _release_group(self, broker: Broker, ack_ids: list[str], delay: int | None) -> None:
        try:
            if delay is None:
                await broker.acknowledge(self._subscription, ack_ids)
            else:
                await broker.extend(self._subscription, ack_ids, delay)
        except InvalidRequestError as error:
            # One that the service does not know, as after it has lost everything, spoils the whole request.
            if len(ack_ids) == 1:
                logger.info("Pub/Sub does not know a message that was held: %s", error)
                return
            middle = len(ack_ids) // 2
            await self._release_group(broker, ack_ids[:middle], delay)
            await self._release_group(broker, ack_ids[middle:], delay)

    # Extending

    async def _keep_extending(self) -> None:
        while True:
            seen = self._newly_held.ring_count
            now = self._clock.monotonic()
            due = [ack_id for ack_id, at in self._due.items() if at <= now]
            if due:
                await self._extend(due)
                continue
            waits = [self._newly_held.heard(seen)]
            if self._due:
                waits.append(self._clock.sleep(min(self._due.values()) - now))
            await first_of(waits)

    async def _extend(self, ack_ids: list[str]) -> None:
        self._extending |= set(ack_ids)
        try:
            await self._extend_now(ack_ids)
        finally:
            self._extending -= set(ack_ids)
            self._news.ring()

    async def _extend_now(self, ack_ids: list[str]) -> None:
        began = self._clock.monotonic()
        try:
            await self._link.once(
                lambda broker: broker.extend(self._subscription, ack_ids, int(self._seconds))
            )
        except InvalidRequestError:
            await self._extend_those_that_are_known(ack_ids)
            return
        except ButtermilkError as error:
            logger.debug("cannot extend %s: %s", count(len(ack_ids), "lease"), error)
            self._due |= {ack_id: began + _AGAIN for ack_id in ack_ids if ack_id in self._held}
            self._lose(ack_ids)
            return
        for ack_id in ack_ids:
            if ack_id in self._held:  # else it was released meanwhile
                self._held[ack_id] = began + self._seconds
                self._due[ack_id] = began + self._seconds / RENEWALS

    async def _extend_those_that_are_known(self, ack_ids: list[str]) -> None:
        """One that the service does not know spoils the whole request: it is lost, the others are not."""
        if len(ack_ids) == 1:
            self._forget(ack_ids)
            return
        middle = len(ack_ids) // 2
        for half in (ack_ids[:middle], ack_ids[middle:]):
            await self._extend_now(half)

    def _lose(self, ack_ids: list[str]) -> None:
        now = self._clock.monotonic()
        lost = [ack_id for ack_id in ack_ids if self._held.get(ack_id, now) < now]
        self._forget(lost)

    def _forget(self, ack_ids: list[str]) -> None:
        lost = [ack_id for ack_id in ack_ids if self._held.pop(ack_id, None) is not None]
        for ack_id in lost:
            del self._due[ack_id]
        if lost:
            logger.warning(
                "lost %s: Pub/Sub could not be told in time; other hosts may run these jobs as well",
                count(len(lost), "lease"),
            )
            self.on_lost(lost)

    async def close(self, keep: Collection[str] = ()) -> None:
        """Give back what is held, and acknowledge what is done with, as far as that can be had in a moment.

        ``keep`` are messages that are left to their leases' ends.
        """
        self._extending.clear()  # nothing is extended any more
        self.give_back([ack_id for ack_id in self._held if ack_id not in keep])
        if not self._releases:
            return
        try:
            async with asyncio.timeout(_LAST_PATIENCE):
                await self._link.once(lambda broker: self._flush(broker, self._releases))
        except (ButtermilkError, TimeoutError) as error:
            logger.warning(
                "could not release %s: Pub/Sub does so in %.0f s at most (%s)",
                count(len(self._releases), "message"),
                self._seconds,
                str(error) or "no answer",
            )

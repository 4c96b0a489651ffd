"""Looks at what was configured, again and again, and tells of it as if it reported."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

from buttermilkd.bell import Bell
from buttermilkd.clock import Clock
from buttermilkd.idle.policy.observations import Reporter
from buttermilkd.idle.probes.base import Probe, ProbeFailedError, Seen

logger = logging.getLogger(__name__)

LATE_LOOKS = 3
"""What was not looked at for so many times as long as it should be is not known."""
LONGEST_LOOK = 2.5
"""Seconds that a look may take: they follow one another."""


class Probing:
    """All probes, one after the other, so that none sees another's questions."""

    def __init__(self, probes: Sequence[Probe], every: float, clock: Clock) -> None:
        """``every``: seconds between two looks at each."""
        self._probes = probes
        self._every = every
        self._clock = clock
        now = clock.monotonic()
        self._told = {probe: self._unseen(probe, now) for probe in probes}
        self._news = Bell()
        self.on_change: Callable[[], None] = lambda: None
        """Called when any of them tells something new."""

    def _unseen(self, probe: Probe, now: float) -> Reporter:
        return Reporter(
            app=probe.name,
            pid=None,
            worker="",
            kind=probe.kind,
            heard_at=now,
            stale_after=LATE_LOOKS * (self._every + LONGEST_LOOK * len(self._probes)),
            idle_since=now,
            used=False,
            reported=False,
        )

    def reporters(self) -> tuple[Reporter, ...]:
        """What each has told last."""
        return tuple(self._told.values())

    def reconfigure(self, probes: Sequence[Probe], every: float) -> None:
        """Look at others from now on. One whose target was looked at before goes on as it was."""
        known = {probe.target: probe for probe in self._probes}
        now = self._clock.monotonic()
        self._probes = [known.get(probe.target, probe) for probe in probes]
        self._every = every
        self._told = {probe: self._told.get(probe) or self._unseen(probe, now) for probe in self._probes}
        self._news.ring()
        self.on_change()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            seen = self._news.ring_count
            for probe in self._probes:
                await self._look(probe)
            if self._probes:
                await self._news.heard_or(seen, self._clock.sleep(self._every))
            else:
                await self._news.heard(seen)

    async def _look(self, probe: Probe) -> None:
        try:
            seen: Seen | ProbeFailedError = await probe.look()
        except ProbeFailedError as error:
            seen = error
        before = self._told.get(probe)
        if before is None:
            return  # it was removed meanwhile
        if isinstance(seen, ProbeFailedError) and before.problem != str(seen):
            logger.warning("cannot tell what the users of %s do: %s", probe.name, seen)
        self._told[probe] = _told(before, seen, self._clock.monotonic())
        if _is_news(before, self._told[probe]):
            self.on_change()
        await asyncio.sleep(0)


def _told(before: Reporter, seen: Seen | ProbeFailedError, now: float) -> Reporter:
    """What this look adds to what was known."""
    if isinstance(seen, ProbeFailedError):
        return replace(before, heard_at=now, reported=True, problem=str(seen))
    # At the first look nobody knows since when what is open has been so: since now, at the latest.
    is_active = seen.used or seen.open > 0
    return replace(
        before,
        heard_at=now,
        idle_since=now if is_active else before.idle_since,
        used=before.used or is_active,
        reported=True,
        requests=seen.open,
        total=seen.total,
        requests_since=(before.requests_since or now) if seen.open else None,
        problem="",
    )


def _is_news(before: Reporter, after: Reporter) -> bool:
    return (before.reported, before.requests, before.total, before.problem) != (
        after.reported,
        after.requests,
        after.total,
        after.problem,
    )

"""What the rest of the daemon waits on: open while jobs may run."""

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Protocol

from buttermilkd.bell import Bell, first_of
from buttermilkd.clock import Clock, iso
from buttermilkd.idle.load.cpu import LATE_TICKS
from buttermilkd.idle.policy.decide import State, Verdict, decide
from buttermilkd.idle.policy.observations import CpuSample, Sample, Settings, Web
from buttermilkd.idle.policy.readings import Level, Reading
from buttermilkd.messages import IdleView, SignalView

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks while something waits to run."""
SLOW_TICK = 5.0
"""... and while nothing does, and what the machine does is known."""


class Activity(Protocol):
    """What web servers report."""

    on_change: Callable[[], None]

    def observe(self) -> Web: ...

    def sweep(self) -> None: ...


class Sampler(Protocol):
    """What the CPUs do."""

    def sample(self, tick: float) -> CpuSample: ...


class Gate:
    """Carries the policy's verdicts out.

    It looks on each tick and whenever a reporter tells something new, the latter in the same loop
    iteration: a line that tells of a request closes the gate before anything else can happen.
    """

    def __init__(
        self,
        activity: Activity,
        sampler: Sampler,
        settings: Settings,
        clock: Clock,
        *,
        concurrency: int,
        holds: Iterable[str] = (),
        on_verdict: Callable[[Verdict], None] = lambda verdict: None,  # noqa: ARG005 - the null listener
    ) -> None:
        """``holds`` are reasons that hold it from the start; ``on_verdict`` is called with each change of state.

        ``concurrency`` is how many jobs run at once when nothing limits them; see ``allowance``.
        """
        self._activity = activity
        self._sampler = sampler
        self._settings = settings
        self._clock = clock
        self._concurrency = concurrency
        self._holds = dict.fromkeys(holds)
        self._on_verdict = on_verdict
        self.changed = Bell()
        """Rings when the gate opens or closes, and when the allowance grows."""
        self._waiting = False
        self._tick = TICK
        self._demand = Bell()
        self._allowance: int | None = None
        self._gap: float | None = None
        self._jump: float | None = None
        self._looked_at = clock.monotonic()
        self._ahead = clock.now() - self._looked_at
        self._cpu = sampler.sample(TICK)
        self._state = State.initial(self._looked_at)
        self._state, self._verdict = decide(self._state, self._sample(), settings, self._looked_at)
        activity.on_change = self.reconsider

    # For who waits

    @property
    def verdict(self) -> Verdict:
        """The latest; ``reconsider`` first where its ages are shown."""
        return self._verdict

    @property
    def is_open(self) -> bool:
        return self._verdict.idle

    async def opened(self) -> None:
        """Return once it is open."""
        while not self.is_open:
            await self.changed.heard()

    async def closed(self) -> None:
        """Return once it is closed."""
        while self.is_open:
            await self.changed.heard()

    def allowance(self) -> int | None:
        """How many jobs may run at once now; None: as many as there is room for.

        After people were busy jobs come back one by one, one more each tick, each time after another look.
        """
        return self._allowance if self.is_open else 0

    @property
    def waiting(self) -> bool:
        """Whether something waits to run or runs; the daemon says so. If not, it looks less often."""
        return self._waiting

    @waiting.setter
    def waiting(self, waiting: bool) -> None:
        if waiting and not self._waiting:
            self._demand.ring()
        self._waiting = waiting

    # For operators

    def hold(self, reason: str) -> None:
        """Keep it closed for this reason until it is released."""
        self._holds[reason] = None
        self.reconsider()

    def release(self, reason: str | None = None) -> None:
        """Hold it no longer for this reason; None: for any."""
        if reason is None:
            self._holds.clear()
        else:
            self._holds.pop(reason, None)
        self.reconsider()

    # Looking

    async def run(self) -> None:
        """Look on each tick until cancelled."""
        while True:
            seen = self._demand.ring_count
            self._look()
            settled = not self._waiting and self._verdict.level is not Level.UNKNOWN
            self._tick = SLOW_TICK if settled else TICK
            await first_of([self._clock.sleep(self._tick), self._demand.heard(seen)])

    def reconsider(self) -> None:
        """Decide again on what is known now, without waiting for the tick."""
        self._notice_gap()
        self._decide()

    def _look(self) -> None:
        """One tick."""
        self._gap = self._jump = None
        self._notice_gap()
        self._cpu = self._sampler.sample(self._tick)
        if self._gap is None:
            # After a gap the reporters' lines may still lie unread in their sockets.
            self._activity.sweep()
        was_open = self.is_open
        self._decide()
        if was_open and self.is_open and self._allowance is not None:
            grown = self._allowance + 1
            self._allowance = grown if grown < self._concurrency else None
            self.changed.ring()

    def _notice_gap(self) -> None:
        """Find out whether time passed unseen. What is found stands until the next tick is through."""
        now = self._clock.monotonic()
        ahead = self._clock.now() - now
        tolerated = LATE_TICKS * self._tick
        if now - self._looked_at > tolerated:
            self._gap = now - self._looked_at
        if abs(ahead - self._ahead) > tolerated:
            self._jump = ahead - self._ahead
        self._looked_at, self._ahead = now, ahead

    def _sample(self) -> Sample:
        return Sample(
            web=self._activity.observe(),
            cpu=self._cpu,
            local=datetime.fromtimestamp(self._clock.now(), UTC).astimezone(),
            holds=tuple(self._holds),
            gap=self._gap,
            jump=self._jump,
        )

    def _decide(self) -> None:
        before = self._verdict
        self._state, self._verdict = decide(
            self._state, self._sample(), self._settings, self._clock.monotonic()
        )
        if self._verdict.level in (Level.COOLING, Level.BUSY):
            self._allowance = 1 if self._concurrency > 1 else None
        if self._verdict.level is not before.level:
            logger.info("%s", self._verdict.sentence)
            self._on_verdict(self._verdict)
        if self._verdict.idle is not before.idle:
            self.changed.ring()

    # For people

    def view(self) -> IdleView:
        """The verdict, each signal and each threshold, as of now."""
        self.reconsider()
        verdict = self._verdict
        return IdleView(
            idle=verdict.idle,
            state=verdict.state,
            since=self._iso(verdict.since) or "",
            sentence=verdict.sentence,
            reasons=list(verdict.reasons),
            resume_at=self._iso(verdict.resumes_at),
            start_at=self._iso(verdict.starts_at),
            signals=[_signal(reading) for reading in verdict.readings],
        )

    def _iso(self, at: float | None) -> str | None:
        """A monotonic time as the wall clock shows it now."""
        return None if at is None else iso(at - self._clock.monotonic() + self._clock.now())


def _signal(reading: Reading) -> SignalView:
    return SignalView(
        name=reading.signal.name,
        value=reading.value,
        busy_at=reading.signal.busy_at,
        clear_at=reading.signal.clear_at,
        state=reading.level.name.lower(),
        reason=reading.reason,
    )

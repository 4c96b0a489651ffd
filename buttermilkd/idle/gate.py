"""What the rest of the daemon waits on: open while jobs may run."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from buttermilkd.bell import Bell
from buttermilkd.cgroups import Membership
from buttermilkd.clock import Clock
from buttermilkd.idle.load.cpu import LATE_TICKS
from buttermilkd.idle.policy.decide import State, decide
from buttermilkd.idle.policy.observations import Jobs, Load, Protection, Sample, Web
from buttermilkd.idle.policy.readings import Level
from buttermilkd.idle.policy.running import Actions, any_goes_on
from buttermilkd.idle.policy.settings import Settings
from buttermilkd.idle.policy.verdict import Verdict
from buttermilkd.journal import Kind, about

logger = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks while jobs run or may start, and while it is not known what the machine does."""
SLOW_TICK = 5.0
"""... and otherwise: what web servers tell, and the end of a wait, is looked at without any tick."""

FRESH = 0.2
"""Seconds for which a decision is shown without being made again."""


class Activity(Protocol):
    """What web servers report."""

    on_change: Callable[[], None]

    def observe(self) -> Web: ...

    def memberships(self) -> frozenset[Membership]: ...

    def sweep(self) -> None: ...


class Machine(Protocol):
    """What the machine does."""

    def look(self, tick: float, web: frozenset[Membership]) -> Load: ...

    def protection(self, web: frozenset[Membership]) -> Protection: ...

    def reconfigure(self, settings: Settings) -> None:
        """Work with other thresholds."""


@dataclass(frozen=True, slots=True)
class Look:
    """One decision: what was seen, when, and what follows from it."""

    sample: Sample
    at: float
    """Monotonic seconds."""
    actions: Actions
    verdict: Verdict


class Gate:
    """Carries the policy's verdicts out.

    It looks on each tick and whenever a reporter tells something new, the latter in the same loop
    iteration: a line that tells of a request closes the gate, and stops jobs, before anything else can happen.
    """

    def __init__(
        self,
        activity: Activity,
        machine: Machine,
        settings: Settings,
        clock: Clock,
        *,
        concurrency: int,
        jobs: Callable[[], Jobs] = Jobs,
        holds: Iterable[str] = (),
        listeners: Sequence[Callable[[Look], None]] = (),
    ) -> None:
        """``holds`` are reasons that hold it from the start; ``listeners`` are told of every look, in their order.

        ``concurrency`` is how many jobs run at once when nothing limits them; see ``allowance``.
        """
        self._activity = activity
        self._machine = machine
        self._settings = settings
        self._clock = clock
        self._concurrency = concurrency
        self._jobs = jobs
        self._holds = dict.fromkeys(holds)
        self._listeners = listeners
        self.changed = Bell()
        """Rings when the gate opens or closes, and when the allowance grows."""
        self._logged: Level | None = None
        self._logged_open: bool | None = None
        """What the log has been told last."""
        self._waiting = False
        self._tick = TICK
        self._demand = Bell()
        self._allowance: int | None = None
        self._gap: float | None = None
        self._jump: float | None = None
        self._looked_at = self._next_look_at = clock.monotonic()
        self.ticked_at = self._looked_at
        """When it looked by itself the last time, in monotonic seconds: each ``SLOW_TICK`` at the latest."""
        self._ahead = clock.now() - self._looked_at
        self._load = machine.look(TICK, activity.memberships())
        self._state = State.initial(self._looked_at)
        self._last = self._decided()
        activity.on_change = self.reconsider

    # For who waits

    @property
    def last(self) -> Look:
        """The latest look; ``reconsider`` first where its ages are shown."""
        return self._last

    @property
    def verdict(self) -> Verdict:
        return self._last.verdict

    @property
    def is_open(self) -> bool:
        return self._last.actions.start

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

    def reconfigure(self, settings: Settings, concurrency: int) -> None:
        """Decide by other settings from now on, at once. What was seen so far counts under them as well."""
        self._settings = settings
        self._concurrency = concurrency
        if self._allowance is not None and self._allowance >= concurrency:
            self._allowance = None
        self._machine.reconfigure(settings)
        self.look_again()
        self._demand.ring()  # a wait may be over sooner than the next look was to be

    # Looking

    async def run(self) -> None:
        """Look on each tick, and when a wait is over, until cancelled."""
        while True:
            self._look()
            self._tick = self._next_tick()
            await self._until_due()

    async def _until_due(self) -> None:
        """Return when the next look is due: what happens meanwhile may bring that nearer.

        That something waits now makes no look due that was taken a moment ago: of many short jobs, one after
        another, each would cost one.
        """
        while True:
            seen = self._demand.ring_count
            tick = self._next_tick()
            self._tick = max(self._tick, tick)
            self._next_look_at = min([self.ticked_at + tick, *self._foreseen()])
            wait = self._next_look_at - self._clock.monotonic()
            if wait <= 0:
                return
            await self._demand.heard_or(seen, self._clock.sleep(wait))

    def _next_tick(self) -> float:
        return SLOW_TICK if self._is_settled() else TICK

    def _is_settled(self) -> bool:
        """Whether nothing runs, and nothing goes on or starts before something is told or a wait is over."""
        look = self._last
        if look.verdict.level is Level.UNKNOWN or any_goes_on(look.sample.jobs, look.actions):
            return False
        return not (self._waiting and self.is_open)

    def _foreseen(self) -> list[float]:
        """When something may go on or start that waits for it, unless that has been looked at since."""
        times = (self.verdict.resumes_at, self.verdict.starts_at) if self._waiting else ()
        return [at for at in times if at is not None and at > self.ticked_at]

    def reconsider(self) -> None:
        """Decide again on what is known now, without waiting for the tick."""
        self._notice_gap()
        self._decide()

    def refresh(self) -> None:
        """Decide again unless that was done a moment ago: for who shows ages in whole seconds, perhaps a thousand times in one."""
        if self._clock.monotonic() - self._last.at > FRESH:
            self.reconsider()

    def look_again(self) -> None:
        """Look at the machine now: something there has crossed a threshold."""
        self._notice_gap()
        self._load = self._machine.look(self._tick, self._activity.memberships())
        self._decide()

    def _look(self) -> None:
        """One tick."""
        self.ticked_at = self._clock.monotonic()
        self._gap = self._jump = None
        self._notice_gap()
        self._load = self._machine.look(self._tick, self._activity.memberships())
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
            load=self._load,
            local=datetime.fromtimestamp(self._clock.now(), UTC).astimezone(),
            holds=tuple(self._holds),
            gap=self._gap,
            jump=self._jump,
            jobs=self._jobs(),
            protection=self._machine.protection(self._activity.memberships()),
        )

    def _decided(self) -> Look:
        sample, now = self._sample(), self._clock.monotonic()
        self._state, actions, verdict = decide(self._state, sample, self._settings, now)
        return Look(sample, now, actions, verdict)

    def _decide(self) -> None:
        before = self.verdict
        look = self._last = self._decided()
        if look.verdict.level in (Level.COOLING, Level.BUSY):
            self._allowance = 1 if self._concurrency > 1 else None
        for listener in self._listeners:
            listener(look)
        self._log(look.verdict)
        if look.verdict.idle is not before.idle:
            self.changed.ring()
        if any(look.at < at < self._next_look_at for at in self._foreseen()):
            self._demand.ring()

    def _log(self, verdict: Verdict) -> None:
        """A line where the level is another one; that it has just started is no news."""
        level, told = verdict.level, self._logged
        moved = self.is_open is not self._logged_open
        if (moved or level is not told) and not _is_settling(verdict):
            self._logged, self._logged_open = level, self.is_open
            # Each request is a turn from cooling to busy and back.
            is_usual = not moved and {level, told} == {Level.BUSY, Level.COOLING}
            kind = (Kind.GATE_OPENED if self.is_open else Kind.GATE_CLOSED) if moved else None
            detail = logging.DEBUG if is_usual else logging.INFO
            logger.log(detail, "%s", verdict.sentence, extra=about(kind=kind))


def _is_settling(verdict: Verdict) -> bool:
    """Whether web servers still get their moment to report."""
    return any(reading.level and reading.signal.name == "start" for reading in verdict.readings)

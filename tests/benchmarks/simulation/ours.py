"""buttermilkd's own policy, by its own code, on what a reporter and the kernel would tell of a trace."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from buttermilkd.config.idle import IdleSettings
from buttermilkd.idle.policy.observations import Load, Measure, Reporter, Sample, Web
from buttermilkd.idle.trace import Seen
from buttermilkd.replay import Run
from tests.benchmarks.simulation.policies import Ran, Recorder
from tests.benchmarks.simulation.world import World

FRIDAY = datetime(2026, 3, 6, tzinfo=UTC)
TICK = 1.0
QUIET_TICK = 30.0
"""Nothing can change between two of these once everything was quiet for ``SETTLED``: a simulation may skip it."""
SETTLED = 1000.0
STOPPED_AFTER = 0.005
"""Seconds from a report to the last stopped process: what ``scripts/bench yield`` measures, rounded up."""
STALE_AFTER = 3.0


@dataclass
class Server:
    """One process of a web server that reports all it does, at once."""

    world: World
    told: Reporter

    def __post_init__(self) -> None:
        self._changes = sorted(self._all_changes())
        self._place = 0

    def _all_changes(self) -> Iterator[tuple[float, str]]:
        for request in self.world.requests:
            yield request.start, "begin"
            yield request.end, "end"
        for socket in self.world.sockets:
            yield socket.start, "open"
            yield socket.end, "close"
        for message in self.world.messages:
            yield message, "message"

    def times(self) -> Iterator[float]:
        """When it has something to tell and tells it."""
        silent = iter(self.world.hangs)
        hang = next(silent, None)
        for at, _ in self._changes:
            while hang is not None and hang.end <= at:
                yield hang.end
                hang = next(silent, None)
            if hang is None or at < hang.start:
                yield at

    def report(self, at: float) -> Reporter:
        """Its last line, as known at this time. To be asked in the order of time."""
        hang = next((hang for hang in self.world.hangs if hang.start <= at < hang.end), None)
        until = at if hang is None else hang.start
        while self._place < len(self._changes) and self._changes[self._place][0] <= until:
            self._take(*self._changes[self._place])
            self._place += 1
        heard = until if hang is not None else at
        busy = self.told.requests > 0
        return replace(self.told, heard_at=heard, idle_since=heard if busy else self.told.idle_since)

    def _take(self, at: float, what: str) -> None:
        told = self.told
        requests = told.requests + {"begin": 1, "end": -1}.get(what, 0)
        since = None if not requests else at if not told.requests else told.requests_since
        self.told = replace(
            told,
            requests=requests,
            requests_since=since,
            websockets=told.websockets + {"open": 1, "close": -1}.get(what, 0),
            idle_since=told.idle_since if what == "close" else at,
            total=told.total + (what in ("begin", "open")),
        )


class Buttermilkd:
    """Suspends and resumes what runs: ``on_busy = "suspend"``."""

    name = "buttermilkd"

    def __init__(self, settings: IdleSettings | None = None) -> None:
        self._settings = settings or IdleSettings()

    def run(self, world: World) -> Ran:
        idle_since = -10_000.0
        server = Server(world, Reporter("api", 1, "w", "asgi", 0.0, STALE_AFTER, idle_since))
        run, recorder = Run(self._settings, "suspend"), Recorder(world)
        before, load = 0.0, Load(0.0, Measure(world.cpu_at(0.0)))
        for at in self._looks(world, server):
            reporter = server.report(at)
            share = world.cpu(before, at) if at - before >= TICK else None
            if share is not None:
                before, load = at, Load(at, Measure(share))
            sample = Sample(Web((reporter,)), load, FRIDAY + timedelta(seconds=at))
            run.see(Seen(sample, at))
            self._carry_out(recorder, at, reporter, run.work.runs)
        return recorder.end()

    @staticmethod
    def _carry_out(recorder: Recorder, at: float, reporter: Reporter, runs: bool) -> None:
        if runs and not recorder.runs:
            recorder.ran.started_in_flight += reporter.requests > 0
            recorder.ran.started_unseen += reporter.is_stale(at)
            recorder.start(at)
        elif not runs:
            recorder.stop(at + STOPPED_AFTER)

    @staticmethod
    def _looks(world: World, server: Server) -> Iterator[float]:
        """Each tick, and each time that the reporter tells something."""
        told = [*server.times(), *(burn.start for burn in world.burns), *(hang.start for hang in world.hangs)]
        events = iter(sorted(told))
        event = next(events, world.seconds)
        at = last_event = 0.0
        while at < world.seconds:
            yield at
            tick = at + (QUIET_TICK if at - last_event > SETTLED else TICK)
            if event <= tick:
                at = last_event = max(at, event)
                event = next(events, world.seconds)
            else:
                at = tick

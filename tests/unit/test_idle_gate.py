"""The gate, with what it sees moved by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import pytest

from buttermilkd.cgroups import Membership
from buttermilkd.config.settings import IdleSettings
from buttermilkd.idle.gate import FRESH, Gate, Look
from buttermilkd.idle.policy.observations import Load, Measure, Reporter, Web
from buttermilkd.idle.view import idle_view
from buttermilkd.journal import Kind, fields_in
from buttermilkd.testing import HandMovedClock, ScriptedMachine, settle_loop


def nothing() -> None:
    """What is called before a gate listens."""


class HandMovedActivity:
    """One reporter; the test tells what its users do."""

    def __init__(self, clock: HandMovedClock) -> None:
        self.on_change: Callable[[], None] = nothing
        self._clock = clock
        self._told: Reporter | None = None
        self.sweeps = 0

    def tell(self, *, requests: int = 0, idle: float = 0.0) -> None:
        now = self._clock.monotonic()
        self._told = Reporter(
            "api",
            812,
            "w1",
            "asgi",
            now,
            1e9,
            now - idle,
            requests=requests,
            requests_since=now if requests else None,
        )
        self.on_change()

    def observe(self) -> Web:
        return Web((self._told,) if self._told else ())

    def memberships(self) -> frozenset[Membership]:
        return frozenset()

    def sweep(self) -> None:
        self.sweeps += 1


@dataclass
class Scene:
    clock: HandMovedClock
    activity: HandMovedActivity
    machine: ScriptedMachine
    gate: Gate
    looks: list[Look]

    def rules(self, **settings: str) -> None:
        """From here on by these settings, as a file would hold them."""
        self.gate.reconfigure(IdleSettings(**settings), concurrency=3)

    @property
    def states(self) -> list[str]:
        """What it went through, without repeats."""
        return [state for state, _ in groupby(look.verdict.state for look in self.looks)]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    clock = HandMovedClock()
    activity, machine = HandMovedActivity(clock), ScriptedMachine(clock)
    looks: list[Look] = []
    gate = Gate(
        activity,
        machine,
        IdleSettings(),
        clock,
        concurrency=3,
        listeners=[looks.append],
    )
    gate.waiting = True
    running = asyncio.ensure_future(gate.run())
    await settle_loop()
    yield Scene(clock, activity, machine, gate, looks)
    assert not running.done(), "the gate must outlive whatever a test does"
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_it_opens_once_it_has_settled(scene: Scene) -> None:
    assert not scene.gate.is_open
    await scene.clock.advance(1)
    assert scene.gate.verdict.sentence == "unknown: started 1 s ago; waiting for web servers to report"
    await scene.clock.advance(1)
    assert scene.gate.is_open
    assert scene.gate.allowance() is None
    await asyncio.wait_for(scene.gate.opened(), 10)


async def test_what_keeps_it_closed_from_the_start_is_logged_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buttermilkd.idle.gate")
    scene.gate.hold("paused by ada")
    await scene.clock.advance(10)
    assert caplog.messages == ["held: paused by ada"]


async def test_a_doubt_that_remains_after_the_start_is_logged_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buttermilkd.idle.gate")
    scene.machine.load = Load(at=0.0, foreign=Measure(None, "a counter went backwards"))
    await scene.clock.advance(10)
    assert caplog.messages == ["unknown: use of the CPU is not known: a counter went backwards"]


async def test_a_gate_that_was_held_before_it_ran_says_so_once_it_has_settled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "buttermilkd.idle.gate")
    clock = HandMovedClock()
    gate = Gate(
        HandMovedActivity(clock),
        ScriptedMachine(clock),
        IdleSettings(),
        clock,
        concurrency=1,
        holds=["paused by ada"],
    )
    gate.reconsider()
    assert caplog.messages == []
    await clock.advance(2)
    gate.reconsider()
    gate.reconsider()
    assert caplog.messages == ["held: paused by ada"]


async def test_each_opening_and_closing_is_told_as_such(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "buttermilkd.idle.gate")
    await scene.clock.advance(10)
    scene.gate.hold("paused by ada")
    scene.gate.hold("paused by eve")
    scene.gate.release("paused by ada")
    scene.gate.release("paused by eve")
    kinds = [fields_in(record).get("MESSAGE_ID") for record in caplog.records]
    assert kinds == [Kind.GATE_OPENED, Kind.GATE_CLOSED, Kind.GATE_OPENED]


async def test_a_report_closes_it_before_anything_else_can_happen(scene: Scene) -> None:
    await scene.clock.advance(2)
    assert scene.gate.is_open
    scene.activity.tell(requests=1)
    assert not scene.gate.is_open
    assert scene.gate.allowance() == 0
    assert scene.gate.verdict.sentence == "busy: 1 request in flight for 0.0 s"
    await asyncio.wait_for(scene.gate.closed(), 10)


async def test_who_waits_for_it_goes_on_when_it_opens_and_when_it_closes(scene: Scene) -> None:
    order: list[str] = []

    async def follow() -> None:
        await scene.gate.opened()
        order.append("opened")
        await scene.gate.closed()
        order.append("closed")

    following = asyncio.ensure_future(follow())
    await scene.clock.advance(2)
    assert order == ["opened"]
    scene.activity.tell(requests=1)
    await asyncio.wait_for(following, 10)
    assert order == ["opened", "closed"]


async def test_it_opens_again_when_the_users_were_quiet_for_long_enough(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.activity.tell(requests=1)
    scene.activity.tell()
    await scene.clock.advance(119)
    scene.gate.reconsider()
    assert scene.gate.verdict.sentence == "cooling: last request 119 s ago; new jobs start in 1 s"
    await scene.clock.advance(1)
    assert scene.gate.is_open
    assert scene.states == ["unknown", "idle", "busy", "cooling", "idle"]


async def test_it_opens_at_the_moment_that_was_foreseen_and_not_at_the_next_tick(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.activity.tell(requests=1)
    await scene.clock.advance(0.5)
    scene.activity.tell()
    await scene.clock.advance(119.75)
    assert not scene.gate.is_open
    await scene.clock.advance(0.25)
    assert scene.gate.is_open


async def test_after_users_were_there_jobs_come_back_one_more_each_tick(scene: Scene) -> None:
    scene.activity.tell(requests=1)
    scene.activity.tell()
    await scene.clock.advance(120)
    allowed = [scene.gate.allowance()]
    for _ in range(3):
        heard = scene.gate.changed.ring_count
        await scene.clock.advance(1)
        allowed.append(scene.gate.allowance())
        assert (scene.gate.changed.ring_count > heard) == (allowed[-1] != allowed[-2])
    assert allowed == [1, 2, None, None]


async def test_a_tick_on_which_nothing_is_known_does_not_make_jobs_come_back_one_by_one(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.machine.load = Load(0, Measure(problem="a counter went backwards"))
    await scene.clock.advance(1)
    assert scene.gate.verdict.state == "unknown"
    scene.machine.load = Load(0, Measure(0.03))
    await scene.clock.advance(1)
    assert scene.gate.is_open
    assert scene.gate.allowance() is None


async def test_it_looks_less_often_while_nothing_waits_and_at_once_when_something_does(scene: Scene) -> None:
    scene.gate.waiting = False
    await scene.clock.advance(13)
    scene.machine.ticks.clear()
    await scene.clock.advance(20)
    assert scene.machine.ticks == [5.0] * 4
    await scene.clock.advance(2)
    assert len(scene.machine.ticks) == 4
    scene.gate.waiting = True
    await settle_loop()
    assert len(scene.machine.ticks) == 5
    await scene.clock.advance(3)
    assert scene.machine.ticks[5:] == [1.0] * 3


async def test_short_jobs_one_after_another_make_it_look_no_more_than_once_a_second(scene: Scene) -> None:
    await scene.clock.advance(13)
    scene.machine.ticks.clear()
    for _ in range(30):
        scene.gate.waiting = True
        await settle_loop()
        scene.gate.waiting = False
        await scene.clock.advance(0.1)
    assert len(scene.machine.ticks) in (2, 3)


async def test_a_decision_made_a_moment_ago_is_shown_as_it_is(scene: Scene) -> None:
    await scene.clock.advance(13)
    decided = len(scene.looks)
    for _ in range(100):
        scene.gate.refresh()
    await scene.clock.advance(FRESH / 2)
    scene.gate.refresh()
    assert len(scene.looks) == decided
    await scene.clock.advance(FRESH)
    scene.gate.refresh()
    assert len(scene.looks) == decided + 1


async def test_while_it_is_closed_and_nothing_runs_it_looks_less_often_too(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.activity.tell(requests=1)
    await scene.clock.advance(1)
    scene.machine.ticks.clear()
    await scene.clock.advance(20)
    assert scene.machine.ticks == [5.0] * 4


async def test_a_short_wait_that_begins_between_two_looks_is_not_slept_over(scene: Scene) -> None:
    scene.rules(quiet_for="1s")
    await scene.clock.advance(2)
    scene.activity.tell(requests=1)
    await scene.clock.advance(11.5)
    scene.activity.tell()
    await scene.clock.advance(1.9)
    assert not scene.gate.is_open
    await scene.clock.advance(0.1)
    assert scene.gate.is_open


async def test_work_that_arrives_while_it_looks_is_not_missed(scene: Scene) -> None:
    scene.gate.waiting = False
    await scene.clock.advance(1)
    scene.gate.waiting = True
    scene.gate.waiting = False
    scene.gate.waiting = True
    await settle_loop()
    scene.machine.ticks.clear()
    await scene.clock.advance(2)
    assert scene.machine.ticks == [1.0, 1.0]


async def test_a_clock_that_is_set_is_unknown_until_the_next_tick(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.clock.jump(3600)
    scene.activity.tell(idle=500)
    assert (
        scene.gate.verdict.sentence == "unknown: the clock went forward by 60 min (set by hand, or a sleep)"
    )
    scene.gate.reconsider()
    assert not scene.gate.is_open
    await scene.clock.advance(1)
    assert scene.gate.is_open
    scene.clock.jump(-86_400)
    await scene.clock.advance(1)
    assert scene.gate.verdict.sentence == "unknown: the clock went back by 24 h (set by hand, or a sleep)"
    await scene.clock.advance(1)
    assert scene.gate.is_open


async def test_a_hold_closes_it_at_once_and_its_release_opens_it(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.gate.hold("paused by ada")
    scene.gate.hold("maintenance")
    assert scene.gate.verdict.sentence == "held: paused by ada, maintenance"
    scene.gate.release("paused by ada")
    assert not scene.gate.is_open
    scene.gate.release()
    assert scene.gate.is_open
    assert scene.gate.allowance() is None


async def test_a_hold_from_before_the_start_holds() -> None:
    clock = HandMovedClock()
    gate = Gate(
        HandMovedActivity(clock),
        ScriptedMachine(clock),
        IdleSettings(),
        clock,
        concurrency=1,
        holds=["paused"],
    )
    assert gate.verdict.reasons[0] == "paused"
    assert gate.verdict.state == "held"


async def test_the_view_tells_every_signal_as_of_now(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.activity.tell(requests=1)
    scene.activity.tell(idle=41)
    view = idle_view(scene.gate.last, scene.clock)
    assert view["state"] == "cooling"
    assert not view["idle"]
    assert view["sentence"] == "cooling: last request 41 s ago; new jobs start in 79 s"
    assert view["reasons"] == ["last request 41 s ago"]
    now = datetime.fromisoformat(view["since"])
    assert view["start_at"] is not None
    assert (datetime.fromisoformat(view["start_at"]) - now).total_seconds() == 79
    assert view["resume_at"] is None
    signals = {signal["name"]: signal for signal in view["signals"]}
    assert signals["requests"] == {
        "name": "requests",
        "value": "none in flight, last 41 s ago",
        "busy_at": "one in flight",
        "clear_at": "quiet for 120 s",
        "state": "cooling",
        "reason": "last request 41 s ago",
        "timer": None,
    }
    assert signals["steal"]["state"] == "missing"
    assert signals["cpu"]["busy_at"] == "over 50 % for 10 s"
    assert signals["cpu"]["clear_at"] == "under 25 % for 30 s"
    assert signals["cpu"]["state"] == "clear"


async def test_silent_reporters_are_swept_on_each_tick(scene: Scene) -> None:
    sweeps = scene.activity.sweeps
    await scene.clock.advance(3)
    assert scene.activity.sweeps == sweeps + 3


def test_after_a_time_in_which_nobody_looked_nothing_is_known_and_nobody_is_swept() -> None:
    clock = HandMovedClock()
    activity = HandMovedActivity(clock)
    gate = Gate(activity, ScriptedMachine(clock), IdleSettings(), clock, concurrency=3)
    seen = []
    for seconds in (1, 1, 47, 1):
        clock._pass(seconds)
        gate._look()
        seen.append((gate.verdict.state, activity.sweeps))
    assert seen == [("unknown", 1), ("idle", 2), ("unknown", 2), ("idle", 3)]


def test_a_report_right_after_such_a_time_does_not_open_it() -> None:
    clock = HandMovedClock()
    activity = HandMovedActivity(clock)
    gate = Gate(activity, ScriptedMachine(clock), IdleSettings(), clock, concurrency=3)
    clock._pass(47)
    activity.tell(idle=500)
    assert gate.verdict.sentence == "unknown: nothing was observed for 47 s (overload, or a sleep)"
    activity.tell(idle=500)
    assert not gate.is_open
    clock._pass(1)
    gate._look()
    assert gate.is_open


async def test_other_settings_decide_at_once_on_what_was_seen(scene: Scene) -> None:
    await scene.clock.advance(2)
    assert scene.gate.is_open
    scene.rules(without_reporters="busy")
    assert not scene.gate.is_open
    scene.rules()
    await scene.clock.advance(1)
    assert scene.gate.is_open


async def test_a_wait_that_has_become_shorter_is_over_when_it_says(scene: Scene) -> None:
    await scene.clock.advance(2)
    scene.activity.tell()
    await scene.clock.advance(1)
    assert not scene.gate.is_open
    scene.rules(quiet_for="3s")
    await scene.clock.advance(6)
    assert scene.gate.is_open


async def test_a_number_of_jobs_that_has_shrunk_ends_the_slow_return(scene: Scene) -> None:
    scene.rules(quiet_for="1s")
    scene.activity.tell(requests=1)
    scene.activity.tell()
    await scene.clock.advance(4)
    scene.gate.reconfigure(IdleSettings(quiet_for="1s"), concurrency=1)
    assert scene.gate.allowance() in (None, 0)
    await scene.clock.advance(5)
    assert scene.gate.allowance() is None


async def test_it_says_when_it_has_looked_by_itself_and_not_when_it_was_told_something(scene: Scene) -> None:
    await scene.clock.advance(10)
    ticked_at = scene.gate.ticked_at
    assert scene.clock.monotonic() - ticked_at <= 1
    scene.clock._monotonic += 0.5
    scene.activity.tell()
    assert scene.gate.ticked_at == ticked_at

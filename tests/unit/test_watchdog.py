"""When systemd is told that the daemon lives: the decision, and the loop that carries it out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from buttermilkd.daemon.watchdog import Signs, Watchdog, ailment
from buttermilkd.testing import HandMovedClock, RecordingNotifier, settle_loop

PERIOD = 60.0
ALIVE = {"WATCHDOG": "1"}


@pytest.mark.parametrize(
    ("signs", "wrong"),
    [
        (Signs(0.0, writer_answered=True, policy_age=5.0), None),
        (Signs(14.9, writer_answered=True, policy_age=5.0), None),
        (Signs(15.0, writer_answered=True, policy_age=5.0), "the event loop came back 15.0 s late"),
        (Signs(0.0, writer_answered=False, policy_age=5.0), "the ledger's writer does not answer"),
        (Signs(0.0, writer_answered=True, policy_age=30.0), None),
        (
            Signs(0.0, writer_answered=True, policy_age=31.0),
            "the gate has not looked at the machine for 31 s",
        ),
    ],
)
def test_it_is_well_while_loop_writer_and_gate_are(signs: Signs, wrong: str | None) -> None:
    assert ailment(signs, PERIOD) == wrong


def test_a_gate_that_looks_each_five_seconds_is_well_however_short_the_period_is() -> None:
    assert ailment(Signs(0.0, writer_answered=True, policy_age=5.5), 2.0) is None


@pytest.fixture
def clock() -> HandMovedClock:
    return HandMovedClock()


class Scene:
    def __init__(self, clock: HandMovedClock) -> None:
        self.clock = clock
        self.notifier = RecordingNotifier(clock, PERIOD)
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.ticks = True
        self._ticked_at = clock.monotonic()
        self.watchdog = Watchdog(self.notifier, PERIOD, clock, writer=self._write, ticked_at=self._tick)

    async def _write(self) -> None:
        self.asked += 1
        await self.answers.wait()

    def _tick(self) -> float:
        if self.ticks:
            self._ticked_at = self.clock.monotonic()
        return self._ticked_at

    def pings(self) -> int:
        assert all(message == ALIVE for message in self.notifier.messages)
        return len(self.notifier.messages)


@pytest.fixture
async def scene(clock: HandMovedClock) -> AsyncIterator[Scene]:
    scene = Scene(clock)
    running = asyncio.ensure_future(scene.watchdog.run())
    await settle_loop()
    yield scene
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_it_is_told_at_once_and_then_after_each_half_of_the_period(scene: Scene) -> None:
    assert scene.pings() == 1
    await scene.clock.advance(29)
    assert scene.pings() == 1
    await scene.clock.advance(1)
    assert scene.pings() == 2
    await scene.clock.advance(300)
    assert scene.pings() == 12


async def test_a_writer_that_hangs_is_asked_once_and_silence_lasts_until_it_answers(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.answers.clear()
    await scene.clock.advance(30)  # the first question was answered before
    before, asked = scene.pings(), scene.asked
    await scene.clock.advance(90)
    assert (scene.pings(), scene.asked) == (before, asked)
    assert [record.message for record in caplog.records] == [
        "systemd is not told that all is well: the ledger's writer does not answer"
    ]
    scene.answers.set()
    await scene.clock.advance(3.75)
    assert scene.pings() == before + 1


async def test_a_gate_that_does_not_look_any_more_is_silence(scene: Scene) -> None:
    scene.ticks = False
    await scene.clock.advance(30)
    before = scene.pings()
    await scene.clock.advance(100)
    assert scene.pings() == before


class LateClock(HandMovedClock):
    """Wakes those who sleep later than they wanted, as a loop that something blocks does."""

    late = 0.0

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds + self.late)


async def test_a_loop_that_was_late_once_is_told_to_live_soon_after_and_not_half_a_period_later() -> None:
    clock = LateClock()
    scene = Scene(clock)
    clock.late = 20.0
    running = asyncio.ensure_future(scene.watchdog.run())
    await clock.advance(49)
    clock.late = 0.0
    await clock.advance(1)
    assert scene.pings() == 1
    await clock.advance(4)
    assert scene.pings() == 2
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running

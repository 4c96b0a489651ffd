"""What systemd is told of a start, of the verdict and of a stop, by a notifier that remembers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from buttermilkd.daemon.telling import Progress, StatusLine, extended
from buttermilkd.errors import StorageError
from buttermilkd.idle.gate import Look
from buttermilkd.idle.policy.observations import Web
from buttermilkd.testing import HandMovedClock, RecordingNotifier, settle_loop
from tests.unit.idle_watch import Watch, reporter


@pytest.fixture
def clock() -> HandMovedClock:
    return HandMovedClock()


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    running = asyncio.ensure_future(work)
    await settle_loop()
    yield
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.fixture
def notifier(clock: HandMovedClock) -> RecordingNotifier:
    return RecordingNotifier(clock)


class Machine:
    """Looks at a machine that is idle or not, and tells the status line."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self._watch = Watch()

    def look(self, *, busy: bool = False, later: float = 0.0) -> str:
        """The sentence of this look."""
        self._watch.now += later
        requests = (reporter(self._watch.now, requests=1),) if busy else ()
        verdict = self._watch.see(Web(requests))
        assert self._watch.sample is not None
        self._line.note(Look(self._watch.sample, self._watch.now, self._watch.actions[-1], verdict))
        return verdict.sentence


async def test_the_first_sentence_is_shown_at_once_and_the_same_one_never_again(
    clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    line = StatusLine(notifier, clock)
    machine = Machine(line)
    async with beside(line.run()):
        sentence = machine.look()
        await settle_loop()
        assert notifier.messages == [{"STATUS": sentence}]
        machine.look()
        await clock.advance(100)
        assert len(notifier.messages) == 1


async def test_other_numbers_are_shown_each_ten_seconds_and_news_within_one(
    clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    line = StatusLine(notifier, clock)
    machine = Machine(line)
    async with beside(line.run()):
        machine.look()
        await settle_loop()
        for _ in range(9):
            older = machine.look(later=60)
            await clock.advance(1)
        assert len(notifier.messages) == 1
        await clock.advance(1)
        assert notifier.messages[1:] == [{"STATUS": older}]
        busy = machine.look(busy=True)
        await settle_loop()
        assert len(notifier.messages) == 2
        await clock.advance(1)
        assert notifier.messages[2:] == [{"STATUS": busy}]


async def test_of_many_changes_within_a_second_the_last_is_shown(
    clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    line = StatusLine(notifier, clock)
    machine = Machine(line)
    async with beside(line.run()):
        machine.look()
        await settle_loop()
        for _ in range(50):
            machine.look(later=0.01)
            last = machine.look(busy=True)
        await clock.advance(1)
        assert notifier.messages[1:] == [{"STATUS": last}]


async def test_a_daemon_that_stops_shows_that_and_no_verdict_any_more(
    clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    line = StatusLine(notifier, clock)
    machine = Machine(line)
    async with beside(line.run()):
        machine.look()
        await settle_loop()
        machine.look(later=1)
        line.stop()
        machine.look(busy=True)
        await clock.advance(100)
        assert len(notifier.messages) == 1


# More time


EXTENDED = {"EXTEND_TIMEOUT_USEC": "15000000"}


@pytest.fixture
def long(
    clock: HandMovedClock, notifier: RecordingNotifier
) -> Callable[[Progress], Coroutine[Any, Any, str]]:
    async def work() -> str:
        await clock.sleep(20)
        return "done"

    return lambda progress: extended(work(), lambda: progress.count, notifier, clock)


async def test_what_gets_on_is_given_more_time_until_it_is_done(
    long: Callable[[Progress], Coroutine[Any, Any, str]], clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    progress = Progress()
    work = asyncio.ensure_future(long(progress))
    for count in range(1, 10):
        await settle_loop()
        progress.note()
        await clock.advance(2)
        assert notifier.messages == [EXTENDED] * count
    await clock.advance(2)
    assert await work == "done"
    await clock.advance(100)
    assert notifier.messages == [EXTENDED] * 9


async def test_what_does_not_get_on_is_not(
    long: Callable[[Progress], Coroutine[Any, Any, str]], clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    progress = Progress()
    work = asyncio.ensure_future(long(progress))
    await clock.advance(6)
    assert notifier.messages == []
    progress.note()
    await clock.advance(14)
    assert await work == "done"
    assert notifier.messages == [EXTENDED]


async def test_an_error_of_what_takes_long_stays_what_it_is(
    clock: HandMovedClock, notifier: RecordingNotifier
) -> None:
    async def fail() -> None:
        raise StorageError("cannot use the ledger: database disk image is malformed")

    with pytest.raises(StorageError, match="malformed"):
        await extended(fail(), int, notifier, clock)

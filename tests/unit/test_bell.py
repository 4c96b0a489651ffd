"""Bells, and waiting for the first of several things."""

import asyncio

import pytest

from buttermilkd.bell import Bell, first_of
from buttermilkd.testing import HandMovedClock, settle_loop


async def test_a_ring_wakes_all_who_wait_and_none_who_come_later() -> None:
    bell = Bell()
    early = [asyncio.ensure_future(bell.heard()) for _ in range(2)]
    await settle_loop()
    bell.ring()
    await asyncio.wait_for(asyncio.gather(*early), 5)
    late = asyncio.ensure_future(bell.heard())
    await settle_loop()
    assert not late.done()
    late.cancel()


async def test_a_ring_since_the_count_was_taken_is_not_missed() -> None:
    bell = Bell()
    seen = bell.ring_count
    bell.ring()
    await asyncio.wait_for(bell.heard(seen), 5)


class Beside:
    """Waited for beside a bell; says what became of it."""

    def __init__(self) -> None:
        self.end = asyncio.Event()
        self.became = "not begun"

    async def wait(self) -> None:
        self.became = "waits"
        try:
            await self.end.wait()
        except asyncio.CancelledError:
            self.became = "cancelled"
            raise
        self.became = "returned"


async def waiting_beside(bell: Bell, beside: Beside) -> "asyncio.Task[None]":
    waiting = asyncio.ensure_future(bell.heard_or(bell.ring_count, beside.wait()))
    await settle_loop()
    assert not waiting.done()
    return waiting


async def test_what_is_waited_for_beside_a_bell_ends_the_wait() -> None:
    bell, beside = Bell(), Beside()
    waiting = await waiting_beside(bell, beside)
    beside.end.set()
    await asyncio.wait_for(waiting, 5)
    assert beside.became == "returned"
    bell.ring()


async def test_a_ring_ends_the_wait_and_what_is_beside_it() -> None:
    bell, beside = Bell(), Beside()
    waiting = await waiting_beside(bell, beside)
    bell.ring()
    await asyncio.wait_for(waiting, 5)
    assert beside.became == "cancelled"


async def test_after_a_ring_that_was_missed_nothing_beside_it_begins() -> None:
    bell, beside = Bell(), Beside()
    bell.ring()
    await asyncio.wait_for(bell.heard_or(0, beside.wait()), 5)
    assert beside.became == "not begun"


async def test_cancelling_a_wait_beside_a_bell_cancels_both() -> None:
    bell, beside = Bell(), Beside()
    waiting = await waiting_beside(bell, beside)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert beside.became == "cancelled"
    bell.ring()


async def test_an_error_beside_a_bell_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("why")

    bell = Bell()
    with pytest.raises(ExceptionGroup) as caught:
        await bell.heard_or(bell.ring_count, fail())
    assert isinstance(caught.value.exceptions[0], ValueError)


async def test_the_first_to_return_ends_the_wait_and_the_others_are_cancelled() -> None:
    clock, bell = HandMovedClock(), Bell()
    waiting = asyncio.ensure_future(first_of([bell.heard(), clock.sleep(10.0)]))
    await clock.advance(10.0)
    await asyncio.wait_for(waiting, 5)
    bell.ring()


async def test_cancelling_the_wait_cancels_what_it_waits_for() -> None:
    bell = Bell()
    waiting = asyncio.ensure_future(first_of([bell.heard()]))
    await settle_loop()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_an_error_in_one_of_them_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("why")

    with pytest.raises(ExceptionGroup) as caught:
        await first_of([fail(), Bell().heard()])
    assert isinstance(caught.value.exceptions[0], ValueError)


async def test_a_hand_moved_clock_wakes_sleepers_in_order_and_jumps_only_on_the_wall() -> None:
    clock = HandMovedClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    start, wall = clock.monotonic(), clock.now()
    sleepers = [asyncio.ensure_future(sleeper("late", 20.0)), asyncio.ensure_future(sleeper("early", 5.0))]
    await clock.advance(30.0)
    await asyncio.gather(*sleepers)
    assert woken == [("early", start + 5.0), ("late", start + 20.0)]
    clock.jump(-86_400)
    assert (clock.now() - wall, clock.monotonic() - start) == (30.0 - 86_400, 30.0)

"""The CPUs' use by others, from counters that the tests move."""

import pytest

from buttermilkd.clock import SystemClock
from buttermilkd.idle.load.cpu import LoadSampler, machine_seconds
from buttermilkd.testing import HandMovedClock


class Machine:
    """Two CPUs whose counters are moved by hand."""

    def __init__(self) -> None:
        self.clock = HandMovedClock()
        self.used = 1_000.0
        self.own: float | None = None
        self.sampler = LoadSampler(self.clock, lambda: self.own, used=lambda: self.used, cpus=2)

    async def work(self, seconds: float, *, used: float, own: float | None = None) -> None:
        await self.clock.advance(seconds)
        self.used += used
        if own is not None:
            self.own = (self.own or 0.0) + own


async def test_the_first_look_only_sets_the_baseline() -> None:
    machine = Machine()
    sample = machine.sampler.sample(1)
    assert sample.foreign is None
    assert sample.problem == "not measured yet"


async def test_foreign_use_is_what_is_left_when_our_jobs_are_taken_away() -> None:
    machine = Machine()
    machine.sampler.sample(1)
    await machine.work(1, used=1.5, own=1.0)
    sample = machine.sampler.sample(1)
    assert (sample.foreign, sample.own) == (0.25, 0.5)


async def test_without_any_job_all_use_is_foreign() -> None:
    machine = Machine()
    machine.sampler.sample(1)
    await machine.work(1, used=1.2)
    assert machine.sampler.sample(1).foreign == pytest.approx(0.6)


async def test_an_estimate_that_is_a_little_too_high_is_no_use_by_others() -> None:
    machine = Machine()
    machine.sampler.sample(1)
    await machine.work(1, used=1.95, own=2.0)
    assert machine.sampler.sample(1).foreign == 0.0


@pytest.mark.parametrize(("used", "own"), [(-5.0, 0.0), (1.0, -0.5), (0.5, 1.5)])
async def test_a_counter_that_goes_backwards_says_nothing_once(used: float, own: float) -> None:
    machine = Machine()
    machine.own = 10.0
    machine.sampler.sample(1)
    await machine.work(1, used=used, own=own)
    sample = machine.sampler.sample(1)
    assert sample.foreign is None
    assert sample.problem == "a counter went backwards"
    await machine.work(1, used=0.5, own=0.0)
    assert machine.sampler.sample(1).foreign == 0.25


async def test_a_sample_that_comes_too_late_says_nothing() -> None:
    machine = Machine()
    machine.sampler.sample(1)
    await machine.work(3.5, used=0)
    assert machine.sampler.sample(1).problem == "measured after 4 s instead of 1 s"
    await machine.work(14, used=0)
    assert machine.sampler.sample(5).foreign == 0.0


async def test_a_look_too_soon_after_another_gives_the_same_sample() -> None:
    machine = Machine()
    machine.sampler.sample(1)
    await machine.work(1, used=1.0)
    sample = machine.sampler.sample(1)
    await machine.work(0.1, used=0.2)
    assert machine.sampler.sample(1) is sample


def test_the_machines_own_counters_grow() -> None:
    before = machine_seconds()
    sum(range(1_000_000))
    assert 0 < before <= machine_seconds()


def test_the_real_machine_can_be_sampled() -> None:
    sampler = LoadSampler(SystemClock(), lambda: None)
    assert sampler.sample(1).foreign is None

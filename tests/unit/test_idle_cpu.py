"""The CPUs' use by others, from counters that the tests move."""

import pytest

from buttermilkd.idle.load.cpu import CpuMeter, CpuUse, Times, machine_times


class Counters:
    """Two CPUs whose counters are moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0
        self.used = 1_000.0
        self.stolen = 10.0
        self.own: float | None = None
        self.web: float | None = None
        self.meter = CpuMeter(times=lambda: Times(self.used, self.stolen), cpus=2)

    def sample(self, tick: float = 1) -> CpuUse:
        return self.meter.sample(self.at, tick, self.own, self.web)

    def work(
        self, seconds: float, *, used: float = 0, own: float = 0, web: float = 0, stolen: float = 0
    ) -> None:
        self.at += seconds
        self.used += used
        self.stolen += stolen
        self.own = (self.own or 0.0) + own if own or self.own is not None else None
        self.web = (self.web or 0.0) + web if web or self.web is not None else None


@pytest.fixture
def counters() -> Counters:
    """A machine that was looked at once."""
    counters = Counters()
    counters.sample()
    return counters


def test_the_first_look_only_sets_the_baseline() -> None:
    use = Counters().sample()
    assert (use.foreign.value, use.foreign.problem) == (None, "not measured yet")


def test_foreign_use_is_what_is_left_when_our_jobs_are_taken_away(counters: Counters) -> None:
    counters.work(1, used=1.5, own=1.0)
    use = counters.sample()
    assert (use.foreign.value, use.own) == (0.25, 0.5)


def test_without_any_job_all_use_is_foreign(counters: Counters) -> None:
    counters.work(1, used=1.2)
    assert counters.sample().foreign.value == pytest.approx(0.6)


def test_an_estimate_that_is_a_little_too_high_is_no_use_by_others(counters: Counters) -> None:
    counters.work(1, used=1.95, own=2.0)
    assert counters.sample().foreign.value == 0.0


@pytest.mark.parametrize(("used", "own"), [(-5.0, 0.0), (1.0, -0.5), (0.5, 1.5)])
def test_a_counter_that_goes_backwards_says_nothing_once(used: float, own: float) -> None:
    counters = Counters()
    counters.own = 10.0
    counters.sample()
    counters.work(1, used=used, own=own)
    use = counters.sample()
    assert (use.foreign.value, use.foreign.problem) == (None, "a counter went backwards")
    counters.work(1, used=0.5)
    assert counters.sample().foreign.value == 0.25


def test_a_sample_that_comes_too_late_says_nothing(counters: Counters) -> None:
    counters.work(3.5)
    assert counters.sample().foreign.problem == "measured after 4 s instead of 1 s"
    counters.work(14)
    assert counters.sample(tick=5).foreign.value == 0.0


def test_a_look_too_soon_after_another_gives_the_same_sample(counters: Counters) -> None:
    counters.work(1, used=1.0)
    use = counters.sample()
    counters.work(0.1, used=0.2)
    assert counters.sample() is use


def test_what_the_host_gives_to_others_is_a_measure_of_its_own(counters: Counters) -> None:
    counters.work(1, used=0.2, stolen=0.5)
    use = counters.sample()
    assert use.foreign.value == pytest.approx(0.1)
    assert use.steal.value == 0.25


def test_what_web_servers_use_is_foreign_and_not_others(counters: Counters) -> None:
    counters.work(1, web=5.0)
    assert counters.sample().others.problem == "web servers came or went"
    counters.work(1, used=1.0, own=0.4, web=0.5)
    use = counters.sample()
    assert use.foreign.value == pytest.approx(0.3)
    assert use.others.value == pytest.approx(0.05)


def test_where_web_servers_cannot_be_told_apart_others_are_missing(counters: Counters) -> None:
    counters.work(1, used=1.0)
    assert counters.sample().others.missing == "what web servers use is not told apart"


def test_how_our_own_are_counted_is_said_where_it_is_an_estimate() -> None:
    meter = CpuMeter(times=lambda: Times(0, 0), cpus=1, method="estimated")
    meter.sample(0, 1, None, None)
    assert meter.sample(1, 1, None, None).foreign.method == "estimated"


def test_the_machines_own_counters_grow() -> None:
    before = machine_times()
    sum(range(1_000_000))
    after = machine_times()
    assert 0 < before.used <= after.used
    assert before.stolen <= after.stolen


def test_the_real_machine_can_be_sampled() -> None:
    assert CpuMeter().sample(0, 1, None, None).foreign.value is None

"""Waits that grow where people keep coming back."""

import pytest

from buttermilkd.idle.policy.backoff import Backoff
from buttermilkd.idle.policy.observations import Jobs
from buttermilkd.idle.policy.settings import Patience
from buttermilkd.idle.policy.verdict import Verdict
from tests.unit.idle_watch import RULES, Watch, in_flight, quiet, rules

HOUR = 3600.0


class Times:
    """Suspensions as time goes by, each after jobs ran for so long."""

    def __init__(self) -> None:
        self.backoff = Backoff()
        self.now = 0.0

    def suspend(self, *gaps: float, ran_for: float = 10.0) -> int:
        """Suspend once after each of these gaps; the factor afterwards."""
        for gap in gaps:
            self.pass_by(gap)
            self._step(ran_for)
        return self.backoff.factor

    def pass_by(self, seconds: float) -> int:
        """Nothing happens for a while; the factor afterwards."""
        for _ in range(round(seconds / 10)):
            self.now += 10
            self._step()
        return self.backoff.factor

    def _step(self, ran_for: float | None = None) -> None:
        wait = Patience.of(RULES, self.backoff.factor).quiet_for
        self.backoff = self.backoff.step(self.now, ran_for=ran_for, limit=6, wait=wait)


def test_six_suspensions_in_an_hour_change_nothing_and_the_seventh_doubles_the_waits() -> None:
    times = Times()
    assert times.suspend(*[100] * 6) == 1
    assert times.suspend(100) == 2


def test_suspensions_of_more_than_an_hour_ago_do_not_count() -> None:
    assert Times().suspend(*[700] * 100) == 1


def test_each_doubling_counts_anew() -> None:
    times = Times()
    times.suspend(*[100] * 7)
    assert times.suspend(*[100] * 6) == 2
    assert times.suspend(100) == 4


def test_what_comes_however_long_one_waits_lengthens_nothing() -> None:
    """A probe each eight minutes: jobs had been running for seven of them."""
    assert Times().suspend(*[480] * 50, ran_for=420) == 1


def test_half_of_them_is_not_most() -> None:
    times = Times()
    for _ in range(20):
        assert times.suspend(200, ran_for=150) == 1
        assert times.suspend(200, ran_for=10) == 1


def test_each_hour_without_any_halves_them_again() -> None:
    times = Times()
    times.suspend(*[100] * 14)
    assert times.pass_by(HOUR - 10) == 4
    assert times.pass_by(10) == 2
    assert times.pass_by(HOUR - 10) == 2
    assert times.pass_by(10) == 1
    assert times.pass_by(5 * HOUR) == 1


def test_so_does_an_hour_with_none_that_a_longer_wait_would_spare() -> None:
    times = Times()
    times.suspend(*[100] * 7)
    assert times.suspend(*[480] * 9, ran_for=300) == 1


def test_but_not_one_in_which_people_came_back_too_soon() -> None:
    times = Times()
    times.suspend(*[100] * 7)
    assert times.suspend(*[700] * 9, ran_for=60) == 2


def test_waits_are_lengthened_up_to_a_quarter_of_an_hour() -> None:
    assert Patience.of(RULES, 1) == Patience(60, 120, 300)
    assert Patience.of(RULES, 2) == Patience(120, 240, 300)
    assert Patience.of(RULES, 8) == Patience(480, 900, 900)
    assert Patience.of(RULES, 1024) == Patience(900, 900, 900)


def test_a_wait_that_is_configured_longer_stays_as_it_is() -> None:
    assert Patience.of(rules(quiet_for=3600.0, start_after=7200.0), 4) == Patience(3600, 7200, 7200)


def test_people_who_keep_coming_back_are_waited_for_longer_and_it_says_so() -> None:
    watch = Watch()
    jobs = Jobs(suspend=1)
    for _ in range(7):
        watch.see(in_flight(watch.now), jobs=jobs)
        left = watch.now
        for _ in range(61):
            watch.now += 1
            watch.see(quiet(watch.now, watch.now - left), jobs=jobs)
    assert watch.state.backoff.factor == 2

    def look() -> Verdict:
        return watch.see(quiet(watch.now, watch.now - left), jobs=jobs)

    assert (
        look().sentence
        == "cooling: last request 61 s ago; suspended jobs resume in 59 s, new ones start in 179 s "
        "(waits are 2 times as long, after 7 suspensions in the last hour)"
    )
    assert watch.reading("frequency") == "clear: 7 suspensions in the last hour: waits are 2 times as long"


@pytest.mark.parametrize(("kind", "period"), [("auto", 90), ("suspend", 90), ("requeue", 150)])
def test_all_the_same_what_running_jobs_do_about_them(kind: str, period: int) -> None:
    """In each case jobs run for half a minute between two visits."""
    watch = Watch()
    executing = True
    for _ in range(7):
        watch.see(in_flight(watch.now), jobs=Jobs(**{kind: executing}))
        left = watch.now
        executing = kind != "requeue"
        for _ in range(period):
            watch.now += 1
            watch.see(quiet(watch.now, watch.now - left), jobs=Jobs(**{kind: executing}))
            executing = executing or watch.actions[-1].start
    watch.see(in_flight(watch.now), jobs=Jobs(**{kind: executing}))
    assert watch.state.backoff.factor == 2


def test_a_suspended_job_that_is_cancelled_has_not_gone_on() -> None:
    watch = Watch()
    watch.see(in_flight(watch.now), jobs=Jobs(suspend=1))
    watch.now += 30
    watch.see(quiet(watch.now, 30))
    assert watch.state.running.suspend.runs_since is None


def test_where_nothing_runs_people_lengthen_nothing() -> None:
    watch = Watch()
    for _ in range(50):
        watch.now += 61
        watch.see(in_flight(watch.now))
        watch.now += 1
        watch.see(quiet(watch.now, 1))
    assert watch.state.backoff == Backoff()

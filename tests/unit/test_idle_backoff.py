"""Waits that grow where people keep coming back."""

from itertools import pairwise

from buttermilkd.idle.policy.backoff import Backoff
from buttermilkd.idle.policy.observations import Jobs
from buttermilkd.idle.policy.settings import Patience
from buttermilkd.idle.policy.verdict import Verdict
from tests.unit.idle_watch import RULES, Watch, in_flight, quiet, rules

HOUR = 3600.0


def after(*times: float, start: Backoff | None = None) -> Backoff:
    backoff = start or Backoff()
    for at in times:
        backoff = backoff.step(at, suspended=True, limit=6)
    return backoff


def test_six_suspensions_in_an_hour_change_nothing_and_the_seventh_doubles_the_waits() -> None:
    assert after(*range(0, 600, 100)).factor == 1
    assert after(*range(0, 700, 100)).factor == 2


def test_suspensions_of_more_than_an_hour_ago_do_not_count() -> None:
    assert after(*range(0, 70_000, 700)).factor == 1


def test_each_doubling_counts_anew() -> None:
    seventh = after(*range(0, 700, 100))
    assert after(*range(700, 1300, 100), start=seventh).factor == 2
    assert after(*range(700, 1400, 100), start=seventh).factor == 4


def test_each_hour_without_any_halves_them_again() -> None:
    backoff = after(*range(0, 1400, 100))
    assert backoff.factor == 4
    factors = []
    for at in range(1300, 20_000, 100):
        backoff = backoff.step(at, suspended=False, limit=6)
        factors.append((at, backoff.factor))
    changes = [at for (_, before), (at, now) in pairwise(factors) if now != before]
    assert changes == [1300 + HOUR, 1300 + 2 * HOUR]
    assert backoff.factor == 1


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


def test_where_nothing_runs_people_lengthen_nothing() -> None:
    watch = Watch()
    for _ in range(50):
        watch.now += 61
        watch.see(in_flight(watch.now))
        watch.now += 1
        watch.see(quiet(watch.now, 1))
    assert watch.state.backoff == Backoff()

"""Two thresholds and two timers."""

from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.idle.policy.latch import Latch, Thresholds

LIMITS = Thresholds(busy=0.5, busy_for=10, clear=0.25, clear_for=30)


def after(values: list[float | None], latch: Latch | None = None, start: int = 0) -> Latch:
    """The latch after one sample a second."""
    latch = latch or Latch()
    for at, value in enumerate(values, start):
        latch = latch.step(value, at, LIMITS)
    return latch


def test_what_is_high_for_long_enough_is_busy_since_it_went_high() -> None:
    assert not after([0.1, *[0.6] * 10]).is_busy
    assert after([0.1, *[0.6] * 11]) == Latch(is_busy=True, busy_since=1)


def test_a_dip_between_the_thresholds_starts_the_timer_again() -> None:
    assert not after([*[0.6] * 9, 0.4, *[0.6] * 9]).is_busy


def test_the_thresholds_themselves_are_within_bounds() -> None:
    assert not after([0.5] * 100).is_busy
    assert after([0.25] * 100, Latch(is_busy=True, busy_since=0)).is_busy


def test_what_is_busy_stays_so_until_it_was_low_for_long_enough() -> None:
    busy = Latch(is_busy=True, busy_since=0)
    assert after([0.3] * 1000, busy).is_busy
    assert after([0.2] * 30, busy).is_busy
    assert after([0.2] * 31, busy) == Latch()


def test_neither_timer_runs_through_a_sample_that_says_nothing() -> None:
    assert not after([*[0.6] * 6, None, *[0.6] * 6]).is_busy
    assert after([*[0.2] * 20, None, *[0.2] * 20], Latch(is_busy=True, busy_since=0)).is_busy


@given(st.lists(st.none() | st.floats(0, 1), max_size=60))
def test_seeing_a_sample_twice_changes_nothing(values: list[float | None]) -> None:
    once = twice = Latch()
    for at, value in enumerate(values):
        once = once.step(value, at, LIMITS)
        twice = twice.step(value, at, LIMITS).step(value, at, LIMITS)
    assert once == twice

"""The idleness decision: what holds whatever is seen."""

from dataclasses import replace
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.idle.policy.observations import Departure, Web
from tests.unit.idle_watch import RULES, Watch, reporter, rules

reporters = st.tuples(
    st.floats(0, 1000),
    st.integers(0, 3),
    st.integers(0, 3),
    st.floats(0, 40),
    st.booleans(),
    st.booleans(),
)


@st.composite
def webs(draw: st.DrawFn, now: float = 10_000.0) -> Web:
    told = tuple(
        reporter(
            now - silent,
            idle,
            requests=requests,
            requests_since=now - silent if requests else None,
            websockets=websockets,
            used=used or bool(requests or websockets),
            reported=reported or bool(requests or websockets or used),
        )
        for idle, requests, websockets, silent, used, reported in draw(st.lists(reporters, max_size=4))
    )
    gone = draw(
        st.none() | st.builds(Departure, st.just("api"), st.floats(9_000, now), st.just(1), st.just(2))
    )
    return Web(told, gone, draw(st.none() | st.floats(9_000, now)))


cpus = st.none() | st.floats(0, 1)
holds = st.lists(st.text(min_size=1), max_size=2).map(tuple)


@given(webs(), cpus, holds)
def test_it_is_never_idle_with_a_request_in_flight_or_on_a_stale_report(
    web: Web, cpu: float | None, held: tuple[str, ...]
) -> None:
    watch = Watch()
    verdict = watch.see(web, cpu=cpu, holds=held)
    if any(one.requests or one.is_stale(watch.now) or not one.reported for one in web.reporters):
        assert not verdict.idle


@given(webs(), cpus, holds)
def test_a_hold_always_wins(web: Web, cpu: float | None, held: tuple[str, ...]) -> None:
    verdict = Watch().see(web, cpu=cpu, holds=held)
    assert (verdict.state == "held") == bool(held)


@given(webs(), cpus, holds, st.none() | st.floats(4, 1e6), st.none() | st.floats(4, 1e6))
def test_every_verdict_has_its_reasons_and_one_sentence_made_of_them(
    web: Web, cpu: float | None, held: tuple[str, ...], gap: float | None, jump: float | None
) -> None:
    verdict = Watch().see(web, cpu=cpu, holds=held, gap=gap, jump=jump)
    assert verdict.reasons
    assert verdict.sentence.startswith(verdict.state)
    assert all(reason in verdict.sentence for reason in verdict.reasons)
    blocking = [reading for reading in verdict.readings if reading.level]
    assert all(reading.reason for reading in blocking)
    assert verdict.idle == (not blocking)


@given(webs(), st.sampled_from(["messages", "open"]))
def test_quiet_implies_idle_within_the_longest_wait(web: Web, mode: Literal["messages", "open"]) -> None:
    watch = Watch(rules(websockets=mode))
    quiet = tuple(
        replace(one, requests=0, websockets=0 if mode == "open" else one.websockets, reported=True)
        for one in web.reporters
    )
    watch.now += RULES.websocket_start_after if any(one.websockets for one in quiet) else RULES.start_after
    heard = tuple(replace(one, heard_at=watch.now) for one in quiet)
    assert watch.see(replace(web, reporters=heard)).idle


@given(webs())
def test_what_is_foreseen_comes_true(web: Web) -> None:
    watch = Watch()
    verdict = watch.see(web)
    if verdict.starts_at is None:
        return
    for now, idle in ((verdict.starts_at - 0.001, False), (verdict.starts_at + 0.001, True)):
        later = replace(web, reporters=tuple(replace(one, heard_at=now) for one in web.reporters))
        assert Watch(now=now).see(later).idle is idle


@given(st.lists(st.tuples(cpus, st.floats(0, 1), st.floats(0, 1)), max_size=80))
def test_the_use_of_cpu_by_our_own_jobs_never_changes_the_state(
    samples: list[tuple[float | None, float, float]],
) -> None:
    one, other = Watch(), Watch()
    for cpu, own, differently in samples:
        one.now += 1
        other.now += 1
        assert one.see(cpu=cpu, own=own).state == other.see(cpu=cpu, own=differently).state

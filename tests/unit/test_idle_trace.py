"""What the policy saw, written as lines and read again."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.idle.policy.observations import Departure, Jobs, Load, Measure, Protection, Sample, Web
from buttermilkd.idle.trace import Encoder, Seen, Start, UnreadableTraceError, read
from tests.unit.idle_watch import NOON, RULES, Watch, in_flight, quiet, reporter

BEGAN = 5_000.0
START = Start("host", RULES.written())


def sample(now: float, web: Web | None = None, **details: object) -> Sample:
    load = Load(now, Measure(0.03, method="estimated"), 0.5, io_pressure=Measure(missing="no PSI"))
    return replace(
        Sample(web or Web(), load, NOON + timedelta(seconds=now - BEGAN)),
        **details,  # type: ignore[arg-type]
    )


def written(samples: list[tuple[float, Sample]]) -> list[str]:
    encoder = Encoder(START, BEGAN)
    return [encoder.header, *(encoder.line(one, now) for now, one in samples)]


def test_what_is_read_is_what_was_written() -> None:
    now = BEGAN + 10
    busy = Web(
        (reporter(now, 3.5, websockets=2), reporter(now - 60, 5, requests=1, requests_since=now - 61)),
        Departure("docs", now - 12, 1, 2),
        now - 30,
    )
    held = sample(
        now,
        busy,
        holds=("paused by ada",),
        gap=47.0,
        jump=-3600.0,
        jobs=Jobs(1, 2, 3, 4),
        protection=Protection(proven=True, why="the jobs' group is idle"),
    )
    start, seen = read(written([(now, held)]))
    assert start == START
    assert isinstance(seen, Seen)
    assert seen.now == 10
    told = seen.sample
    assert (told.holds, told.gap, told.jump, told.jobs, told.protection) == (
        held.holds,
        held.gap,
        held.jump,
        held.jobs,
        held.protection,
    )
    assert told.local == held.local
    assert told.load == replace(held.load, at=10.0)
    assert [one.websockets for one in told.web.reporters] == [2, 0]
    assert told.web.reporters[0].idle_since == 6.5
    assert told.web.reporters[1].is_stale(10)
    assert told.web.departure == Departure("docs", -2, 1, 2)
    assert told.web.departed_active_at == -20


def test_a_line_tells_only_what_has_changed() -> None:
    lines = written([(BEGAN + n, sample(BEGAN + n, quiet(BEGAN + n, 100 + n))) for n in range(3)])
    assert json.loads(lines[2]) == {"t": 1.0, "looked": 1.0}
    assert json.loads(lines[3]) == {"t": 2.0, "looked": 2.0}


def test_wall_clock_time_is_told_again_when_it_jumps() -> None:
    jumped = sample(BEGAN + 1, local=NOON + timedelta(hours=3))
    lines = written([(BEGAN, sample(BEGAN)), (BEGAN + 1, jumped), (BEGAN + 2, replace(jumped))])
    seen = [one.sample.local for one in read(lines) if isinstance(one, Seen)]
    assert seen[1] == NOON + timedelta(hours=3)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.125, 1.0, 5.0]),
            st.booleans(),
            st.none() | st.integers(0, 100),
            st.integers(0, 100),
            st.booleans(),
        ),
        max_size=40,
    )
)
def test_a_replay_decides_as_the_daemon_did(
    looks: list[tuple[float, bool, int | None, int, bool]],
) -> None:
    live, recorded, now, active = Watch(now=BEGAN), [], BEGAN, BEGAN
    jobs = Jobs(suspend=1)
    for step, busy, cpu, steal, proven in looks:
        now += step
        live.now = now
        active = now if busy else active
        live.see(
            in_flight(now) if busy else quiet(now, now - active),
            cpu=None if cpu is None else cpu / 100,
            measures={"steal": steal / 100, "others": 0.01},
            jobs=jobs,
            protection=Protection(proven=proven, why="said so"),
        )
        assert live.sample is not None
        recorded.append((now, live.sample))
    again = Watch(now=0.0, state=replace(Watch().state, started=-BEGAN, since=9_280 - BEGAN))
    for one in read(written(recorded)):
        if isinstance(one, Seen):
            again.decide(one.sample, one.now)
    assert [one.sentence for one in again.verdicts] == [one.sentence for one in live.verdicts]
    assert again.actions == live.actions


# Files that are not as they should be


def test_a_last_line_that_was_cut_off_is_left_out() -> None:
    lines = written([(BEGAN, sample(BEGAN)), (BEGAN + 1, sample(BEGAN + 1))])
    assert len(list(read([*lines[:-1], lines[-1][:-5]]))) == 2


def test_a_second_run_in_one_file_begins_anew() -> None:
    one = written([(BEGAN + 7, sample(BEGAN + 7, in_flight(BEGAN + 7)))])
    other = written([(BEGAN + 1, sample(BEGAN + 1))])
    found = list(read([*one, *other]))
    assert [type(each) for each in found] == [Start, Seen, Start, Seen]
    last = found[-1]
    assert isinstance(last, Seen)
    assert last.now == 1
    assert last.sample.web == Web()


def broken() -> Iterator[tuple[list[str], str]]:
    good = written([(BEGAN, sample(BEGAN))])
    yield [], "it is empty"
    yield ["no JSON"], "it is no recording of buttermilkd --record (line 1 is not JSON)"
    yield ['{"t": 1}'], "line 1: no trace of buttermilkd begins like this"
    yield ['{"t": 1}', *good], "line 1: no trace of buttermilkd begins like this"
    yield [good[0].replace('"v": 1', '"v": 99')], "version 99"
    yield [*good, "garbage", good[1]], "line 3 is not JSON"
    yield ["5"], "it is no recording of buttermilkd --record (line 1 is not what is written there)"
    yield [good[0], '{"t": 1}', good[1]], "line 2 is not what is written there"
    yield ["[]", good[0]], "line 1"


@pytest.mark.parametrize(("lines", "why"), list(broken()))
def test_a_line_that_cannot_be_read_is_named(lines: list[str], why: str) -> None:
    with pytest.raises(UnreadableTraceError) as refused:
        list(read(lines))
    assert why in str(refused.value)


def test_no_use_at_all_is_told_as_such() -> None:
    """0 is a value, whatever else is told of it."""
    now = BEGAN + 1
    load = Load(now, Measure(0.0, method="estimated"), io_pressure=Measure(0.0, subject="web servers"))
    _, seen = read(written([(now, replace(sample(now), load=load))]))
    assert isinstance(seen, Seen)
    assert seen.sample.load == replace(load, at=1.0)


def test_a_run_begins_with_its_first_look() -> None:
    encoder = Encoder(START)
    lines = [encoder.header, *(encoder.line(sample(now), now) for now in (BEGAN, BEGAN + 2))]
    assert [one.now for one in read(lines) if isinstance(one, Seen)] == [0.0, 2.0]

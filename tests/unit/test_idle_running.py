"""The idleness decision: what becomes of running jobs when people arrive, and when they have gone."""

from collections.abc import Callable

import pytest

from buttermilkd.idle.policy.observations import Jobs, Measure, Protection, Web
from buttermilkd.idle.policy.running import Actions, Stance
from buttermilkd.idle.policy.verdict import Verdict
from tests.unit.idle_watch import NOON, PROVEN, Mornings, Watch, in_flight, quiet, reporter, rules

GO_ON, STOP = Stance.GO_ON, Stance.STOP
ONE_EACH = Jobs(auto=1, finish=1, suspend=1, requeue=1)
LITTLE = 0.01
"""Of CPU, used beside web servers and our jobs."""


def stances(actions: Actions) -> tuple[Stance, Stance, Stance]:
    return actions.auto, actions.suspend, actions.requeue


def until(watch: Watch, look: Callable[[], Verdict], wanted: Callable[[Actions], bool]) -> float:
    """Look each second until the actions are those wanted; the seconds that it took."""
    began = watch.now
    while True:
        watch.now += 1
        look()
        if wanted(watch.actions[-1]):
            return watch.now - began


def test_a_request_stops_running_jobs_at_once() -> None:
    watch = Watch()
    watch.see(in_flight(watch.now), jobs=ONE_EACH)
    assert stances(watch.actions[-1]) == (STOP, STOP, STOP)
    assert not watch.actions[-1].start


def test_so_does_one_that_began_and_ended_between_two_reports() -> None:
    watch = Watch()
    watch.see(quiet(watch.now, 0.2), jobs=ONE_EACH)
    assert stances(watch.actions[-1]) == (STOP, STOP, STOP)


def test_suspended_jobs_resume_when_it_was_quiet_and_new_ones_start_later() -> None:
    watch = Watch()
    watch.see(in_flight(watch.now), jobs=ONE_EACH)
    ended = watch.now

    def look() -> Verdict:
        return watch.see(quiet(watch.now, watch.now - ended), jobs=ONE_EACH)

    assert until(watch, look, lambda actions: actions.suspend is GO_ON) == 60
    assert watch.actions[-1].auto is GO_ON
    assert not watch.actions[-1].start
    assert until(watch, look, lambda actions: actions.start) == 60


def test_what_is_foreseen_for_suspended_jobs_comes_true() -> None:
    watch = Watch()
    watch.see(in_flight(watch.now), jobs=ONE_EACH)
    ended = watch.now
    watch.now += 10
    verdict = watch.see(quiet(watch.now, watch.now - ended), jobs=ONE_EACH)
    assert (verdict.resumes_at, verdict.starts_at) == (ended + 60, ended + 120)


def test_a_suspension_lasts_for_a_while_however_short_the_waits() -> None:
    watch = Watch(rules(quiet_for=1.0, start_after=2.0))
    watch.see(in_flight(watch.now), jobs=ONE_EACH)
    ended = watch.now

    def look() -> Verdict:
        return watch.see(quiet(watch.now, watch.now - ended), jobs=ONE_EACH)

    watch.now += 3
    assert look().sentence == "cooling: jobs suspended 3 s ago, for at least 20 s; jobs go on in 17 s"
    assert watch.actions[-1].requeue is GO_ON  # it is over with those
    assert until(watch, look, lambda actions: actions.suspend is GO_ON) == 17
    assert watch.actions[-1].start


def test_nothing_is_remembered_of_a_kind_that_does_not_run() -> None:
    watch = Watch(rules(quiet_for=1.0, start_after=2.0))
    watch.see(in_flight(watch.now), jobs=Jobs(finish=3))
    watch.now += 3
    assert watch.see(quiet(watch.now, 3)).idle


def test_protected_jobs_go_on_where_that_is_left_to_us() -> None:
    watch = Watch()
    watch.see(in_flight(watch.now), jobs=ONE_EACH, protection=PROVEN, measures={"others": LITTLE})
    assert stances(watch.actions[-1]) == (GO_ON, STOP, STOP)
    assert not watch.actions[-1].start


@pytest.mark.parametrize(
    "others",
    [Measure(0.2), Measure(problem="web servers came or went"), Measure(missing="not told apart")],
)
def test_but_not_beside_other_work_or_where_that_is_not_known(others: Measure) -> None:
    watch = Watch()
    for _ in range(4):
        watch.now += 1
        watch.see(in_flight(watch.now), jobs=Jobs(auto=1), protection=PROVEN, measures={"others": others})
    assert watch.actions[-1].auto is STOP


@pytest.mark.parametrize("measure", ["steal", "cpu_pressure", "io_pressure", "memory_pressure"])
def test_nor_under_pressure_of_any_other_kind(measure: str) -> None:
    watch = Watch()
    for _ in range(12):
        watch.now += 1
        watch.see(jobs=ONE_EACH, protection=PROVEN, measures={"others": LITTLE, measure: 0.5})
    assert stances(watch.actions[-1]) == (STOP, STOP, STOP)


def test_jobs_that_went_on_are_stopped_when_other_work_comes() -> None:
    watch = Watch()

    def look(others: float) -> Stance:
        watch.now += 1
        watch.see(in_flight(watch.now), jobs=Jobs(auto=1), protection=PROVEN, measures={"others": others})
        return watch.actions[-1].auto

    assert look(LITTLE) is GO_ON
    assert [look(0.2) for _ in range(3)] == [GO_ON, GO_ON, STOP]
    assert [look(LITTLE) for _ in range(29)] == [STOP] * 29
    assert [look(LITTLE) for _ in range(2)] == [STOP, GO_ON]


def test_a_silent_web_server_is_treated_as_one_with_users() -> None:
    watch = Watch()
    watch.see(Web((reporter(watch.now - 5, 500),)), jobs=ONE_EACH)
    assert stances(watch.actions[-1]) == (STOP, STOP, STOP)
    proven = Watch()
    proven.see(
        Web((reporter(proven.now - 5, 500),)), jobs=ONE_EACH, protection=PROVEN, measures={"others": LITTLE}
    )
    assert proven.actions[-1].auto is GO_ON


def test_a_web_server_that_crashes_with_something_open_stops_jobs() -> None:
    watch = Watch()
    gone = Web(departure=None, departed_active_at=watch.now - 1)
    watch.see(gone, jobs=ONE_EACH)
    assert stances(watch.actions[-1]) == (STOP, STOP, STOP)


@pytest.mark.parametrize("unknown", [{"cpu": None}, {"gap": 47.0}, {"jump": 3600.0}])
def test_what_is_not_known_for_a_moment_starts_nothing_and_stops_nothing(unknown: dict[str, float]) -> None:
    watch = Watch()
    watch.see(quiet(watch.now), jobs=ONE_EACH, **unknown)  # type: ignore[arg-type]
    assert not watch.actions[-1].start
    assert stances(watch.actions[-1]) == (GO_ON, GO_ON, GO_ON)


def test_and_resumes_nothing_either() -> None:
    watch = Watch()
    watch.states(11, lambda: watch.see(cpu=0.9, jobs=ONE_EACH))
    assert watch.actions[-1].suspend is STOP
    watch.now += 30
    watch.see(cpu=None, jobs=ONE_EACH)
    assert watch.actions[-1].suspend is STOP
    watch.now += 1
    watch.see(cpu=0.9, jobs=ONE_EACH)
    assert watch.state.backoff.recent == watch.state.backoff.recent[:1]


@pytest.mark.parametrize(
    ("protection", "others", "why"),
    [
        (Protection(proven=False, why="weight 100"), LITTLE, "weight 100"),
        (PROVEN, Measure(missing="not told apart"), "what else runs is not known: not told apart"),
        (PROVEN, 0.3, "others than web servers use 30 % of CPU"),
        (PROVEN, LITTLE, None),
    ],
)
def test_it_says_why_jobs_that_it_is_left_to_are_stopped(
    protection: Protection, others: float | Measure, why: str | None
) -> None:
    watch = Watch()
    for _ in range(4):
        watch.now += 1
        watch.see(in_flight(watch.now), jobs=ONE_EACH, protection=protection, measures={"others": others})
    assert watch.verdicts[-1].exposed == why
    assert (watch.actions[-1].auto is GO_ON) == (why is None)


def test_a_pause_starts_nothing_and_lets_what_runs_go_on() -> None:
    watch = Watch()
    watch.see(holds=("paused by ada",), jobs=ONE_EACH)
    assert watch.actions[-1] == Actions(start=False)
    ended = watch.now
    watch.see(in_flight(watch.now), holds=("paused by ada",), jobs=ONE_EACH)
    assert watch.actions[-1].suspend is STOP

    def look() -> Verdict:
        return watch.see(quiet(watch.now, watch.now - ended), holds=("paused by ada",), jobs=ONE_EACH)

    assert until(watch, look, lambda actions: actions.suspend is GO_ON) == 60


def test_outside_the_schedule_nothing_runs_even_where_it_is_protected() -> None:
    watch = Watch(rules(allow=(Mornings(),)))
    watch.see(local=NOON, jobs=ONE_EACH, protection=PROVEN, measures={"others": LITTLE})
    assert stances(watch.actions[-1]) == (STOP, STOP, STOP)
    watch.now += 60
    watch.see(local=NOON.replace(hour=11), jobs=ONE_EACH)
    assert stances(watch.actions[-1]) == (GO_ON, GO_ON, GO_ON)


def test_whether_memory_is_short_is_told() -> None:
    watch = Watch()
    watch.see(jobs=ONE_EACH, measures={"memory_available": 0.05})
    assert watch.actions[-1].memory_is_short
    watch.see(jobs=ONE_EACH, measures={"memory_available": 0.5})
    assert not watch.actions[-1].memory_is_short
    assert watch.actions[-1].suspend is STOP


def test_protection_without_proof_is_none() -> None:
    watch = Watch()
    unproven = Protection(proven=False, why="the jobs' group has weight 100")
    watch.see(in_flight(watch.now), jobs=Jobs(auto=1), protection=unproven, measures={"others": LITTLE})
    assert watch.actions[-1].auto is STOP

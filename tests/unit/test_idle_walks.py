"""The idleness decision: what holds on every way that the world may take, second by second."""

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from buttermilkd.idle.policy.observations import Jobs, Measure, Web
from buttermilkd.idle.policy.readings import Level
from buttermilkd.idle.policy.running import Actions, Stance
from buttermilkd.idle.policy.verdict import Verdict
from tests.unit.idle_watch import PROVEN, RULES, Watch, quiet, reporter

ONE_EACH = Jobs(1, 1, 1, 1)


@dataclass(frozen=True)
class Moment:
    """What may be seen in one second."""

    request: bool = False
    silent: bool = False
    cpu: float | None = 0.03
    steal: float = 0.0
    memory: float = 0.5
    gap: bool = False
    held: bool = False
    proven: bool = False
    others: float = 0.01


calm = st.just(Moment())
moments = st.builds(
    Moment,
    request=st.booleans(),
    silent=st.booleans(),
    cpu=st.none() | st.sampled_from([0.03, 0.3, 0.9]),
    steal=st.sampled_from([0.0, 0.07, 0.5]),
    memory=st.sampled_from([0.05, 0.12, 0.5]),
    gap=st.booleans(),
    held=st.booleans(),
    proven=st.booleans(),
    others=st.sampled_from([0.01, 0.07, 0.5]),
)
walks = st.lists(st.tuples(calm | moments, st.sampled_from([1, 2, 15, 40, 130])), max_size=12)


class Walk(Watch):
    """Goes through moments; jobs of each kind run whenever they may."""

    def take(self, moment: Moment, jobs: Jobs = ONE_EACH) -> tuple[Web, Verdict, Actions]:
        self.now += 1
        if moment.request:
            self.active_at = self.now
        heard = self.now - 10 if moment.silent else self.now
        one = reporter(heard, heard - self.active_at, requests=int(moment.request))
        web = Web((replace(one, requests_since=self.now if moment.request else None),))
        verdict = self.see(
            web,
            cpu=moment.cpu,
            gap=47.0 if moment.gap else None,
            holds=("paused",) if moment.held else (),
            jobs=jobs,
            protection=PROVEN if moment.proven else None,
            measures={
                "steal": moment.steal,
                "memory_available": moment.memory,
                "others": Measure(moment.others),
            },
        )
        return web, verdict, self.actions[-1]

    active_at: float = 0.0


def gone_through(walk: list[tuple[Moment, int]]) -> list[tuple[Moment, Web, Verdict, Actions, float]]:
    watch = Walk()
    return [(moment, *watch.take(moment), watch.now) for moment, seconds in walk for _ in range(seconds)]


@given(walks)
@settings(deadline=None)
def test_nothing_starts_with_a_request_in_flight_or_on_a_stale_report(walk: list[tuple[Moment, int]]) -> None:
    for moment, web, verdict, actions, now in gone_through(walk):
        assert actions.start == verdict.idle
        if moment.request or any(one.is_stale(now) for one in web.reporters):
            assert not actions.start


@given(walks)
@settings(deadline=None)
def test_new_jobs_start_only_where_running_ones_go_on(walk: list[tuple[Moment, int]]) -> None:
    for _, _, _, actions, _ in gone_through(walk):
        if actions.start:
            assert (actions.auto, actions.suspend, actions.requeue) == (Stance.GO_ON,) * 3


@given(walks)
@settings(deadline=None)
def test_a_request_stops_what_shall_be_suspended_at_once(walk: list[tuple[Moment, int]]) -> None:
    for moment, _, _, actions, _ in gone_through(walk):
        if moment.request:
            assert actions.suspend is Stance.STOP
            assert actions.requeue is Stance.STOP


@given(walks)
@settings(deadline=None)
def test_a_job_that_is_left_to_us_goes_on_beside_people_only_where_that_is_proven(
    walk: list[tuple[Moment, int]],
) -> None:
    for moment, _, _, actions, _ in gone_through(walk):
        if moment.request and not moment.proven:
            assert actions.auto is Stance.STOP


@given(walks)
@settings(deadline=None)
def test_a_suspension_lasts_for_its_least_time(walk: list[tuple[Moment, int]]) -> None:
    began: float | None = None
    for _, _, _, actions, now in gone_through(walk):
        if actions.suspend is Stance.STOP and began is None:
            began = now
        elif actions.suspend is Stance.GO_ON and began is not None:
            assert now - began >= RULES.suspend_min
            began = None


@given(walks)
@settings(deadline=None)
def test_every_transition_has_its_reason_and_a_hold_always_wins(walk: list[tuple[Moment, int]]) -> None:
    for moment, _, verdict, _, _ in gone_through(walk):
        assert verdict.reasons
        assert verdict.cause == "idle" or any(
            reading.signal.name == verdict.cause and reading.reason for reading in verdict.readings
        )
        assert (verdict.level is Level.HELD) == moment.held


@given(walks)
@settings(deadline=None)
def test_quiet_implies_a_start_within_its_wait(walk: list[tuple[Moment, int]]) -> None:
    watch = Walk()
    for moment, seconds in walk:
        for _ in range(seconds):
            watch.take(moment)
    factor = watch.state.backoff.factor
    wait = max(RULES.start_after, min(900.0, RULES.start_after * factor))
    longest = max(wait, RULES.steal_clear_for, RULES.memory_available_clear_for, RULES.foreign_cpu_clear_for)
    for _ in range(round(longest) + 2):
        watch.take(Moment())
    assert watch.actions[-1].start


@given(walks)
@settings(deadline=None)
def test_suspensions_are_no_more_than_their_least_time_and_the_wait_allow(
    walk: list[tuple[Moment, int]],
) -> None:
    looks = gone_through(walk)
    suspensions = sum(actions.suspending for _, _, _, actions, _ in looks)
    # Every kind may be stopped once in the time that a suspension lasts at least.
    assert suspensions <= 3 * (1 + len(looks) / RULES.suspend_min)


@given(walks, st.lists(st.floats(0, 1), min_size=1, max_size=5))
@settings(deadline=None)
def test_the_cpu_that_our_own_jobs_use_changes_nothing(
    walk: list[tuple[Moment, int]], shares: list[float]
) -> None:
    one, other = Watch(), Watch()
    for number, (moment, seconds) in enumerate(walk):
        for _ in range(seconds):
            one.now = other.now = one.now + 1
            for watch, own in ((one, 0.0), (other, shares[number % len(shares)])):
                watch.see(quiet(watch.now), cpu=moment.cpu, own=own, jobs=ONE_EACH)
            assert one.actions[-1] == other.actions[-1]
            assert one.verdicts[-1].state == other.verdicts[-1].state

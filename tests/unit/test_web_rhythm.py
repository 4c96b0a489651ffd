"""When a web server's process tells the daemon what: a pure decision, tried on whatever users do."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.reports import MAX_LINES_PER_SECOND
from buttermilkd.web.rhythm import BEAT, LONGEST_LOOK, SETTLED_AFTER, SPACING, Counts, Rhythm

STEP = 0.001
"""Seconds that the one who tells is late at most."""


class Users:
    """What they do, one thing after the other, and what is told of it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.counts = Counts(0, 0, 0, self.now)
        self.told: list[tuple[float, Counts]] = []
        self.looks: list[float] = []
        self._rhythm = Rhythm()
        self._wake_at = self.now
        self._at_begin = self._at_end = False
        self._look()

    def _look(self) -> None:
        self.looks.append(self.now)
        while (plan := self._rhythm.look(self.counts, self.now)).tell:
            self.told.append((self.now, self.counts))
            self._rhythm.told(self.counts, self.now)
        assert plan.wait > 0
        self._wake_at = self.now + plan.wait
        self._at_begin, self._at_end = plan.at_begin, plan.at_end

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self._wake_at <= until:
            self.now = max(self.now, self._wake_at)
            self._look()
        self.now = until

    def do(self, what: str) -> None:
        was, is_begin = self.counts, what != "end"
        match what:
            case "begin":
                self.counts = was._replace(requests=was.requests + 1, total=was.total + 1)
            case "end" if was.requests:
                self.counts = was._replace(requests=was.requests - 1, active_at=self.now)
            case "open":
                self.counts = was._replace(
                    websockets=was.websockets + 1, total=was.total + 1, active_at=self.now
                )
            case "close" if was.websockets:
                self.counts = was._replace(websockets=was.websockets - 1)
            case "message" if was.websockets:
                self.counts = was._replace(active_at=self.now)
            case _:
                return
        if (is_begin and self._at_begin) or (self._at_end and not self.counts.requests):
            self._look()


deeds = st.sampled_from(["begin", "end", "open", "close", "message"])
pauses = st.one_of(st.just(0.0), st.floats(0, 0.1), st.floats(0, 3))
lives = st.lists(st.tuples(pauses, deeds), max_size=80)


def lived(life: list[tuple[float, str]]) -> Users:
    users = Users()
    for pause, deed in life:
        users.wait(pause)
        users.do(deed)
    return users


@given(lives)
def test_no_more_lines_are_told_in_any_second_than_the_daemon_takes(life: list[tuple[float, str]]) -> None:
    times = [at for at, _ in lived(life).told]
    most = max(sum(at <= other < at + 1 for other in times) for at in times)
    assert most <= 1 / SPACING + 2 < MAX_LINES_PER_SECOND


@given(lives)
def test_something_is_told_with_each_beat(life: list[tuple[float, str]]) -> None:
    users = lived(life)
    users.wait(BEAT + STEP)
    times = [100.0, *(at for at, _ in users.told)]
    assert all(later - earlier <= BEAT + STEP for earlier, later in pairwise(times))
    assert users.now - times[-1] <= BEAT + STEP


@given(lives, st.sampled_from(["begin", "open"]))
def test_what_begins_after_quiet_is_told_at_once(life: list[tuple[float, str]], deed: str) -> None:
    users = lived(life)
    while users.counts.requests:
        users.do("end")
    users.wait(LONGEST_LOOK + 2 * SETTLED_AFTER + STEP)
    users.do(deed)
    assert users.told[-1] == (users.now, users.counts)


@given(lives)
def test_a_request_in_flight_is_told_before_anybody_could_notice(life: list[tuple[float, str]]) -> None:
    users = lived(life)
    users.do("begin")
    users.wait(SETTLED_AFTER + STEP)
    assert users.told[-1][1].requests > 0


@given(lives)
def test_the_end_is_told_when_things_have_settled(life: list[tuple[float, str]]) -> None:
    users = lived(life)
    while users.counts.requests:
        users.do("end")
    users.wait(LONGEST_LOOK + SETTLED_AFTER + STEP)
    assert users.told[-1][1] == users.counts


@given(st.lists(st.tuples(st.floats(0.5, 3), st.floats(0, 3)), max_size=5))
def test_the_end_of_a_request_alone_is_told_soon(requests: list[tuple[float, float]]) -> None:
    users = Users()
    for pause, lasts in requests:
        users.wait(pause)
        users.do("begin")
        users.wait(lasts)
        users.do("end")
        users.wait(2 * SETTLED_AFTER + STEP)
        assert users.told[-1][1] == users.counts


@given(lives)
def test_the_one_who_tells_is_woken_a_few_times_a_second_whatever_happens(
    life: list[tuple[float, str]],
) -> None:
    looks = lived(life).looks
    assert max(sum(at <= other < at + 1 for other in looks) for at in looks) <= 100


@given(st.integers(1, 500), st.floats(0.0001, 0.04))
def test_steady_traffic_costs_few_lines_and_few_looks(requests: int, pause: float) -> None:
    users = Users()
    users.wait(1.5)
    lines, looks = len(users.told), len(users.looks)
    began = users.now
    users.do("begin")
    for _ in range(requests):  # another one has begun whenever somebody looks
        users.wait(pause)
        users.do("begin")
        users.do("end")
    lasted = users.now - began
    assert len(users.told) - lines <= 3 + 2 * lasted / BEAT
    assert len(users.looks) - looks <= 6 + lasted / LONGEST_LOOK + 2 * lasted / BEAT

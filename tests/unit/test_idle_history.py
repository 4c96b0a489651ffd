"""What became of the machine's time, added up from looks."""

from dataclasses import dataclass, field

from buttermilkd.idle.gate import Look
from buttermilkd.idle.history import QUARTER, History, Slice, history_view, merged
from buttermilkd.idle.policy.running import Actions
from buttermilkd.testing import HandMovedClock
from tests.unit.idle_watch import Watch, in_flight, quiet

START = 1_700_000_100 // QUARTER * QUARTER


@dataclass
class Scene:
    """A history that is told of looks; whether jobs run is as the test says."""

    clock: HandMovedClock = field(default_factory=lambda: HandMovedClock(START))
    running: bool = False

    def __post_init__(self) -> None:
        self.history = History(self.clock, lambda: self.running)

    def look(self, *, busy: bool = False, suspending: bool = False) -> None:
        watch = Watch()
        verdict = watch.see(in_flight(watch.now) if busy else quiet(watch.now))
        assert watch.sample is not None
        actions = Actions(start=not busy, suspending=suspending)
        self.history.note(Look(watch.sample, self.clock.monotonic(), actions, verdict))


async def test_the_time_until_the_next_look_belongs_to_what_the_last_one_said() -> None:
    scene = Scene()
    scene.look()
    await scene.clock.advance(10)
    scene.look(busy=True)
    await scene.clock.advance(5)
    assert merged(scene.history.take()) == [
        Slice(START, "busy", "requests", 5.0),
        Slice(START, "idle", "idle", 10.0),
    ]


async def test_time_in_which_jobs_ran_is_harvested() -> None:
    scene = Scene(running=True)
    scene.look()
    await scene.clock.advance(10)
    scene.running = False
    scene.look()
    await scene.clock.advance(10)
    assert scene.history.take() == [Slice(START, "idle", "idle", 20.0, harvested=10.0)]


async def test_each_suspension_is_counted_where_it_happened() -> None:
    scene = Scene()
    scene.look(busy=True, suspending=True)
    scene.look(busy=True)
    assert scene.history.take() == [Slice(START, "busy", "requests", 0.0, suspensions=1)]


async def test_what_was_taken_is_not_told_again_and_what_comes_later_is() -> None:
    scene = Scene()
    scene.look()
    await scene.clock.advance(10)
    assert scene.history.pending() == scene.history.take()
    assert scene.history.pending() == []
    await scene.clock.advance(10)
    assert scene.history.take() == [Slice(START, "idle", "idle", 10.0)]


async def test_what_was_taken_and_could_not_be_kept_is_put_back() -> None:
    scene = Scene()
    scene.look(busy=True, suspending=True)
    await scene.clock.advance(10)
    taken = scene.history.take()
    await scene.clock.advance(5)
    scene.history.put_back(taken)
    assert scene.history.take() == [Slice(START, "busy", "requests", 15.0, suspensions=1)]


async def test_a_quarter_of_an_hour_is_a_slice() -> None:
    scene = Scene()
    for _ in range(2 * QUARTER):
        scene.look()
        await scene.clock.advance(1)
    assert scene.history.take() == [
        Slice(START, "idle", "idle", 900.0),
        Slice(START + QUARTER, "idle", "idle", 900.0),
    ]


def test_slices_of_one_quarter_are_merged() -> None:
    one = Slice(START, "busy", "cpu", 10.0, 2.0, 1)
    other = Slice(START, "busy", "cpu", 5.0, 1.0, 2)
    assert merged([one, other]) == [Slice(START, "busy", "cpu", 15.0, 3.0, 3)]


def test_shares_tell_what_was_harvested_apart_and_come_most_first() -> None:
    view = history_view(
        [
            Slice(START, "idle", "idle", 600.0, harvested=500.0),
            Slice(START, "busy", "requests", 300.0, suspensions=4),
            Slice(START + 8 * QUARTER, "busy", "requests", 100.0, suspensions=3),
        ],
        START,
        START + 3600,
    )
    assert view["harvested_share"] == 0.5
    assert [(one["state"], one["cause"], one["seconds"]) for one in view["shares"]] == [
        ("harvested", "harvested", 500.0),
        ("busy", "requests", 400.0),
        ("idle", "idle", 100.0),
    ]
    assert (view["suspensions"], view["suspensions_per_hour"], view["most_suspensions"]) == (7, 25.2, 4)


def test_a_history_of_nothing_is_empty() -> None:
    view = history_view([], 0, 0)
    assert (view["seconds"], view["harvested_share"], view["shares"], view["most_suspensions"]) == (
        0,
        0,
        [],
        0,
    )

"""How many messages are asked for, which are kept, and which job begins first."""

from buttermilkd.messages import JobRequest
from buttermilkd.queues.pubsub.shelf import AHEAD, Shelf
from buttermilkd.sharing import Arrival

NOW = 100.0


def arrival(
    number: int, *, flow: str = "f", batch: str = "b", priority: int = 0, at: float = 1.0, generation: int = 0
) -> Arrival:
    request = JobRequest(
        job_id=f"{batch}.{number}",
        batch_id=batch,
        number=number,
        flow=flow,
        record_id="r",
        parameters={},
        priority=priority,
        created_at=at,
        generation=generation,
    )
    return Arrival(request, f"{batch}-{number}-{flow}")


def ids(arrivals: list[Arrival]) -> list[str]:
    return [one.request.job_id for one in arrivals]


def opened(limit: int = 10, **rooms: int) -> Shelf:
    shelf = Shelf()
    shelf.open(rooms or {"f": 10}, limit)
    return shelf


def test_nothing_is_wanted_before_anything_may_begin() -> None:
    assert Shelf().wanted(NOW) == 0


def test_as_many_are_wanted_as_there_is_room_for_less_those_that_are_here() -> None:
    shelf = opened(3)
    assert shelf.wanted(NOW) == 3
    assert shelf.put([arrival(1)], NOW) == []
    assert shelf.wanted(NOW) == 2


def test_what_is_more_than_wanted_goes_back() -> None:
    shelf = opened(1)
    assert shelf.put([arrival(1), arrival(2)], NOW) == ["b-2-f"]


def test_everything_goes_back_when_nothing_may_begin_any_more_and_so_does_what_comes_late() -> None:
    shelf = opened()
    shelf.put([arrival(1), arrival(2)], NOW)
    assert shelf.close() == ["b-1-f", "b-2-f"]
    assert len(shelf) == 0
    assert shelf.wanted(NOW) == 0
    assert shelf.put([arrival(3)], NOW) == ["b-3-f"]


def test_nothing_more_is_wanted_once_all_places_are_taken_and_jobs_take_long() -> None:
    shelf = opened(2)
    shelf.put([arrival(1), arrival(2)], NOW)
    shelf.choose([])
    shelf.taken({"f": 2})
    shelf.ended(1, NOW)
    assert shelf.wanted(NOW) == 0


def test_a_quarter_of_a_seconds_work_is_pulled_ahead_where_jobs_are_short() -> None:
    shelf = opened(0)
    shelf.ended(400, NOW)
    assert shelf.wanted(NOW) == 400 * AHEAD
    assert shelf.wanted(NOW + 2) == 0


def test_jobs_begin_by_priority_then_by_age_of_the_batch_then_by_number() -> None:
    shelf = opened()
    shelf.put(
        [arrival(2), arrival(1), arrival(1, batch="old", at=0.5), arrival(1, batch="p", priority=1)], NOW
    )
    assert ids(shelf.choose([])) == ["p.1", "old.1", "b.1", "b.2"]


def test_those_of_a_batch_that_were_begun_before_come_first() -> None:
    shelf = opened()
    shelf.put([arrival(1), arrival(2, generation=1)], NOW)
    assert ids(shelf.choose([])) == ["b.2", "b.1"]


def test_no_flow_gets_more_than_its_room_nor_all_of_them_more_than_the_limit() -> None:
    shelf = opened(3, f=1, g=5)
    shelf.put([arrival(1), arrival(2), *(arrival(n, flow="g", batch="g") for n in (1, 2, 3))], NOW)
    assert ids(shelf.choose([])) == ["b.1", "g.1", "g.2"]


def test_nothing_of_a_paused_flow_begins() -> None:
    shelf = opened()
    shelf.put([arrival(1)], NOW)
    assert shelf.choose(["f"]) == []
    assert ids(shelf.choose([])) == ["b.1"]


def test_messages_of_flows_without_room_are_kept_up_to_a_limit() -> None:
    shelf = Shelf(most_blocked=3)
    shelf.open({"f": 1}, 10)
    assert shelf.put([arrival(n, flow="g") for n in range(1, 6)], NOW) == []
    assert [one.request.number for one in shelf.blocked(NOW)] == [4, 5]
    assert len(shelf) == 3
    assert shelf.wanted(NOW) == 10

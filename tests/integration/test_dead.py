"""Requeueing and dropping dead letters, on a real ledger and with a queue that can publish again."""

from buttermilkd.dead import DeadLetters, Republish
from buttermilkd.errors import UnavailableError
from buttermilkd.jobs import BatchSpec, Ending, Event, Outcome, Settlement, Status
from buttermilkd.ledger import Ledger, queries
from buttermilkd.ledger.dead import DeadPage
from buttermilkd.messages import DeadMessage, DeadOutcomesView

POISON = DeadMessage("m1", "it is not JSON", b"\xff{\x00", {"type": "job_request"})


def letters(ledger: Ledger, republish: Republish | None = None) -> DeadLetters:
    async def retry(job_id: str) -> None:
        await ledger.requeue_job(job_id, (Status.FAILED,))

    return DeadLetters(ledger=ledger, retry=retry, republish=republish)


async def failed_batch(ledger: Ledger, jobs: int) -> None:
    """Batch ``b``, all of whose jobs have failed."""
    spec = BatchSpec("b", "f", "0" * 12, ({},), jobs, 1000)
    await ledger.create(spec, (f"record {n}" for n in range(jobs)), None)
    taken = (await ledger.take({"f": jobs}, jobs)).taken
    await ledger.settle([Settlement(one, Event.FAIL, Outcome(Ending.FAILED, cause="x")) for one in taken])


async def listed(ledger: Ledger) -> list[str]:
    return [letter["id"] for letter in (await ledger.dead(DeadPage(100)))["dead"]]


def told(view: DeadOutcomesView) -> list[tuple[str, bool, str | None]]:
    return [(outcome["id"], outcome["done"], outcome["kind"]) for outcome in view["outcomes"]]


async def test_each_is_on_its_own_and_told_of_in_the_order_given(ledger: Ledger) -> None:
    await failed_batch(ledger, 3)
    await ledger.bury(POISON)
    dead = letters(ledger)

    assert told(await dead.requeue(["b.9", "b.2", "message-1"])) == [
        ("b.9", False, "not-found"),
        ("b.2", True, None),
        ("message-1", False, "conflict"),
    ]
    assert await listed(ledger) == ["message-1", "b.3", "b.1"]
    assert told(await dead.drop(["1", "b.2", "b.3"])) == [
        ("message-1", True, None),
        ("b.2", False, "not-found"),
        ("b.3", True, None),
    ]
    assert await listed(ledger) == ["b.1"]
    batch = await ledger.query(lambda db: queries.batch(db, "b", 0.0))
    assert (batch["pending"], batch["failed"]) == (1, 2)


async def test_the_same_letter_given_in_two_ways_is_dropped_once(ledger: Ledger) -> None:
    await ledger.bury(POISON)
    outcomes = told(await letters(ledger).drop(["1", "message-1"]))
    assert sorted(done for _, done, _ in outcomes) == [False, True]


async def test_a_message_is_not_requeued_where_the_queue_cannot_publish_and_it_says_why(
    ledger: Ledger,
) -> None:
    await ledger.bury(POISON)
    (outcome,) = (await letters(ledger).requeue(["message-1"]))["outcomes"]
    assert "the embedded queue has no topic to publish to" in (outcome["detail"] or "")
    assert "buttermilkctl dead show message-1" in (outcome["hint"] or "")
    assert await listed(ledger) == ["message-1"]


async def test_a_message_is_published_again_just_as_it_came_and_then_gone(ledger: Ledger) -> None:
    await ledger.bury(POISON)
    published: list[DeadMessage] = []

    async def republish(letter: DeadMessage) -> None:
        assert await listed(ledger) == ["message-1"]
        published.append(letter)

    outcomes = told(await letters(ledger, republish).requeue(["message-1", "1"]))

    assert published == [POISON]
    assert sorted(done for _, done, _ in outcomes) == [False, True]
    assert await listed(ledger) == []


async def test_a_message_that_could_not_be_published_is_kept(ledger: Ledger) -> None:
    await ledger.bury(POISON)

    async def republish(letter: DeadMessage) -> None:
        raise UnavailableError(f"cannot publish {letter.message_id}: no network", hint="wait")

    (outcome,) = (await letters(ledger, republish).requeue(["message-1"]))["outcomes"]
    assert (outcome["kind"], outcome["detail"], outcome["hint"]) == (
        "unavailable",
        "cannot publish m1: no network",
        "wait",
    )
    assert await listed(ledger) == ["message-1"]


async def test_many_jobs_are_requeued_at_once(ledger: Ledger) -> None:
    await failed_batch(ledger, 300)
    view = await letters(ledger).requeue([f"b.{n}" for n in range(1, 301)])
    assert all(outcome["done"] for outcome in view["outcomes"])
    assert await listed(ledger) == []

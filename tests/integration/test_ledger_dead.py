"""Dead letters in the ledger: failed jobs and unreadable messages, listed together, dropped and requeued."""

import sqlite3
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from buttermilkd.errors import ConflictError, InvalidRequestError, NotFoundError
from buttermilkd.jobs import BatchSpec, Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.ledger import Ledger, dead, queries
from buttermilkd.ledger.dead import DeadPage
from buttermilkd.ledger.ledger import FILE
from buttermilkd.ledger.schema import MIGRATIONS, migrate
from buttermilkd.messages import DeadMessage
from buttermilkd.testing import HandMovedClock

POISON = DeadMessage("m1", "it is not JSON", b"\xff{\x00", {"type": "job_request"}, 1_700_000_000.5)


async def create(ledger: Ledger, batch: str = "b", records: int = 3, flow: str = "f") -> list[Taken]:
    """A batch whose jobs have all been taken."""
    spec = BatchSpec(batch, flow, "0" * 12, ({"n": 1},), records, 1000)
    await ledger.create(spec, (f"record {n}" for n in range(1, records + 1)), None)
    return (await ledger.take({flow: records}, records)).taken


async def fail(ledger: Ledger, *jobs: Taken) -> None:
    outcome = Outcome(Ending.FAILED, error="exit status 1: why", cause="exit status 1")
    await ledger.settle([Settlement(job, Event.FAIL, outcome) for job in jobs])


async def listed(ledger: Ledger, **page: Any) -> list[str]:
    return [letter["id"] for letter in (await ledger.dead(DeadPage(**{"limit": 100, **page})))["dead"]]


async def kinds(ledger: Ledger) -> list[str]:
    return [event["kind"] for event in await ledger.query(lambda db: queries.events(db, 0, 10_000, None))]


async def test_a_job_that_failed_for_good_is_a_dead_letter(ledger: Ledger) -> None:
    one, two, three = await create(ledger)
    retried = Settlement(two, Event.RETRY, Outcome(Ending.FAILED, cause="x"), delay=60)
    await ledger.settle([retried, Settlement(three, Event.COMPLETE, Outcome(Ending.COMPLETED))])
    await fail(ledger, one)

    (letter,) = (await ledger.dead(DeadPage(10)))["dead"]

    assert (letter["id"], letter["kind"], letter["job_id"]) == ("b.1", "job", "b.1")
    assert (letter["batch_id"], letter["flow"], letter["record_id"]) == ("b", "f", "record 1")
    assert (letter["reason"], letter["error"]) == ("exit status 1", "exit status 1: why")
    assert (letter["attempt"], letter["parameters"], letter["message_id"]) == (1, {"n": 1}, None)
    assert await ledger.query(lambda db: dead.show(db, "b.1")) == letter


async def test_a_job_that_was_interrupted_too_often_is_one_too(ledger: Ledger) -> None:
    await create(ledger, records=1)
    await ledger.recover(0)
    assert await listed(ledger) == ["b.1"]


async def test_a_message_is_kept_just_as_it_came_and_only_once(ledger: Ledger) -> None:
    assert await ledger.bury(POISON) == "message-1"
    assert await ledger.bury(replace(POISON, reason="delivered again")) == "message-1"
    assert await ledger.bury(DeadMessage("m2", "half \ud800", b"")) == "message-2"

    assert await ledger.query(lambda db: dead.message(db, "message-1")) == POISON
    letter = await ledger.query(lambda db: dead.show(db, "message-1"))
    assert (letter["kind"], letter["reason"], letter["size"]) == ("message", "it is not JSON", 3)
    assert (letter["message_id"], letter["published_at"]) == ("m1", "2023-11-14T22:13:20.500Z")
    assert letter.get("attributes") == {"type": "job_request"}
    assert (await ledger.query(lambda db: dead.show(db, "message-2")))["reason"] == "half \\ud800"
    assert await kinds(ledger) == ["message.buried", "message.buried"]


async def test_a_dropped_message_is_gone_and_its_number_is_not_given_again(ledger: Ledger) -> None:
    await ledger.bury(POISON)
    assert await ledger.drop(["message-1", "message-7"]) == ["message-1"]
    assert await listed(ledger) == []
    with pytest.raises(NotFoundError, match="cannot find dead letter message-1"):
        await ledger.query(lambda db: dead.message(db, "message-1"))
    assert await ledger.bury(POISON) == "message-2"
    assert await kinds(ledger) == ["message.buried", "message.dropped", "message.buried"]


async def test_a_message_that_was_published_again_is_gone(ledger: Ledger) -> None:
    await ledger.bury(POISON)
    await ledger.republished("message-1")
    assert await listed(ledger) == []
    assert (await kinds(ledger))[-1] == "message.requeued"


async def test_a_dropped_job_stays_failed_and_is_listed_no_longer(ledger: Ledger) -> None:
    one, two, three = await create(ledger)
    await fail(ledger, one, two)
    await ledger.settle([Settlement(three, Event.COMPLETE, Outcome(Ending.COMPLETED))])

    assert await ledger.drop(["b.1", "b.3", "b.4", "none.1", "no id"]) == ["b.1"]
    assert await ledger.drop(["b.1"]) == []

    assert await listed(ledger) == ["b.2"]
    batch = await ledger.query(lambda db: queries.batch(db, "b", 0.0))
    assert (batch["status"], batch["failed"]) == ("failed", 2)
    with pytest.raises(NotFoundError, match="it was dropped") as caught:
        await ledger.query(lambda db: dead.resolve(db, "b.1"))
    assert "buttermilkctl retry b.1" in (caught.value.hint or "")


async def test_a_requeued_job_that_fails_again_is_listed_again_even_if_it_was_dropped(ledger: Ledger) -> None:
    await fail(ledger, *await create(ledger, records=1))
    await ledger.drop(["b.1"])
    await ledger.requeue_job("b.1", (Status.FAILED,))
    assert await listed(ledger) == []
    await fail(ledger, *(await ledger.take({"f": 1}, 1)).taken)
    assert await listed(ledger) == ["b.1"]


async def test_the_newest_come_first_and_pages_have_no_gap_or_repetition(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    jobs = await create(ledger, records=6)
    await fail(ledger, jobs[5], jobs[0])
    await ledger.bury(replace(POISON, message_id="at the same moment"))
    await ledger.bury(replace(POISON, message_id="and one more"))
    await clock.advance(1.3)
    await fail(ledger, jobs[2])
    await clock.advance(0.7)
    await ledger.bury(replace(POISON, message_id="later"))

    for limit in range(1, 8):
        found: list[str] = []
        cursor: str | None = None
        while cursor is not None or not found:
            page = await ledger.dead(DeadPage(limit, cursor))
            found += [letter["id"] for letter in page["dead"]]
            cursor = page["next"]
        assert found == ["message-3", "b.3", "message-2", "message-1", "b.6", "b.1"]
    assert await listed(ledger, flow="f") == ["b.3", "b.6", "b.1"]
    assert await listed(ledger, flow="another") == []


@pytest.mark.parametrize("cursor", ["", "5", "a_b_c", "1_2_3_4", "1_x_2"])
async def test_a_cursor_of_another_list_is_refused(ledger: Ledger, cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot go on from cursor"):
        await ledger.dead(DeadPage(10, cursor))


async def test_the_list_is_read_from_indices_without_sorting(ledger: Ledger) -> None:
    wanted = {"at": 1.0, "rank": 0, "key": 0, "flow": None, "limit": 10}
    for query, index in ((dead._JOBS, "jobs_dead"), (dead._MESSAGES, "dead_letters_at")):
        rows = await ledger.query(
            lambda db, query=query: db.execute(f"EXPLAIN QUERY PLAN {query}", wanted).fetchall()  # type: ignore[misc]
        )
        plan = " ".join(row["detail"] for row in rows)
        assert f"INDEX {index} (" in plan
        assert "TEMP B-TREE" not in plan


async def test_ids_may_be_shortened_while_they_are_unique(ledger: Ledger) -> None:
    for batch in ("batch-1a", "batch-1b"):
        await fail(ledger, *await create(ledger, batch, records=2))
    await ledger.bury(POISON)
    for text, meant in (("1", "message-1"), ("message-1", "message-1"), ("1a.2", "batch-1a.2")):
        assert await ledger.query(lambda db, text=text: dead.resolve(db, text)) == meant  # type: ignore[misc]
    with pytest.raises(ConflictError, match=r"batch-1a\.1, batch-1b\.1"):
        await ledger.query(lambda db: dead.resolve(db, "batch-1.1"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("message-2", "cannot find dead letter message-2"),
        ("message-", "cannot find dead letter message-"),
        ("b", "cannot find dead letter b"),
        ("b.1", "that job is running"),
        ("b.9", "cannot find job b.9"),
    ],
)
async def test_what_is_no_dead_letter_is_not_found(ledger: Ledger, text: str, words: str) -> None:
    await create(ledger, records=1)
    with pytest.raises(NotFoundError, match=words):
        await ledger.query(lambda db: dead.resolve(db, text))


@pytest.mark.parametrize("bounds", [{"most": 3}, {"most_bytes": 3 * len(POISON.data) + 1}])
def test_of_too_many_messages_the_oldest_are_dropped_with_an_event(
    tmp_path: Path, bounds: dict[str, int]
) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.row_factory = sqlite3.Row
        migrate(db, FILE)
        for n in range(5):
            dead.bury(db, replace(POISON, message_id=f"m{n}"), 1.0, **bounds)
        kept = [letter["id"] for letter in dead.letters(db, DeadPage(10))["dead"]]
        assert kept == ["message-5", "message-4", "message-3"]
        told = [event["kind"] for event in queries.events(db, 0, 100, None)]
        assert told.count("message.dropped") == 2
        large = replace(POISON, message_id="large", data=bytes(1000))
        assert dead.bury(db, large, 1.0, **bounds) == "message-6"
        assert dead.message(db, "message-6") == large


async def test_what_failed_before_an_update_is_listed_after_it(tmp_path: Path, clock: HandMovedClock) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:  # as the version before left it
        for script in MIGRATIONS[:3]:
            db.executescript(script)
        db.executescript("""
            PRAGMA user_version = 3;
            INSERT INTO batches (batch_id, flow, flow_version, variants, records, duplicates, priority, error_policy,
                                 owner_uid, first_job, next_job, total, pending, failed, phase, created_at)
            VALUES ('b', 'f', '', '[{}]', 2, 0, 0, 'continue', 0, 1, 3, 2, 0, 2, 'ended', 1);
            INSERT INTO jobs (id, batch, record_id, variant, status, attempt, ended_at)
            VALUES (1, 1, 'x', 0, 'failed', 1, 2), (2, 1, 'y', 0, 'failed', 1, 3);
        """)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        assert await listed(ledger) == ["b.2", "b.1"]
        assert await ledger.bury(POISON) == "message-1"

"""The ledger's promises: all or nothing, counters that agree with the jobs, and recovery."""

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

import pytest

from buttermilkd.errors import ConflictError, NotFoundError, StorageError
from buttermilkd.jobs import BatchSpec, Ending, Event, Outcome, Settlement, Status, Taken
from buttermilkd.ledger import Ledger, creation, history, queries, settling
from buttermilkd.ledger.creation import LATEST_ANSWERS, PORTION, Answer
from buttermilkd.ledger.ledger import FILE
from buttermilkd.ledger.queries import BatchFilter, JobPage
from buttermilkd.ledger.schema import MIGRATIONS
from buttermilkd.messages import BatchView
from buttermilkd.testing import HandMovedClock


def spec(batch: str = "b", records: int = 3, **more: object) -> BatchSpec:
    return BatchSpec(batch, "f", "0" * 12, ({},), records, 1000, **more)  # type: ignore[arg-type]


def numbered(count: int) -> Iterator[str]:
    return (f"record {n}" for n in range(1, count + 1))


async def view(ledger: Ledger, batch: str = "b") -> BatchView:
    return await ledger.query(lambda db: queries.batch(db, batch, 0.0))


async def take(ledger: Ledger, limit: int = 100) -> list[Taken]:
    return (await ledger.take({"f": limit}, limit)).taken


def completed(taken: Taken) -> Settlement:
    return Settlement(taken, Event.COMPLETE, Outcome(Ending.COMPLETED, result='"fine"', log=b"hello\n"))


def failed(taken: Taken, cause: str = "exit status 1") -> Settlement:
    return Settlement(taken, Event.FAIL, Outcome(Ending.FAILED, error=f"{cause}: why", cause=cause))


async def counters_agree(ledger: Ledger) -> bool:
    """Whether each batch's counters are what counting its jobs gives."""

    def compare(db: sqlite3.Connection) -> bool:
        for row in db.execute("SELECT * FROM batches").fetchall():
            counted = dict(
                db.execute(
                    "SELECT status, count(*) FROM jobs WHERE batch = ? GROUP BY status", (row["key"],)
                ).fetchall()
            )
            if any(row[status] != counted.get(status, 0) for status in Status):
                return False
        return True

    return await ledger.query(compare)


async def test_a_created_batch_can_be_asked_for(ledger: Ledger) -> None:
    await ledger.create(spec(seed=17, priority=2, duplicates=1), numbered(3), None)
    found = await view(ledger)
    assert (found["status"], found["total"], found["pending"]) == ("pending", 3, 3)
    assert (found["seed"], found["priority"], found["duplicates"], found["owner_uid"]) == (17, 2, 1, 1000)


async def test_variants_of_a_record_are_neighbours(ledger: Ledger) -> None:
    two = BatchSpec("b", "f", "0" * 12, ({"model": "small"}, {"model": "large"}), 2, 1000)
    await ledger.create(two, numbered(2), None)
    page = await ledger.query(lambda db: queries.jobs(db, "b", JobPage(10), "host"))
    assert [(job["job_id"], job["record_id"], job["parameters"]["model"]) for job in page["jobs"]] == [
        ("b.1", "record 1", "small"),
        ("b.2", "record 1", "large"),
        ("b.3", "record 2", "small"),
        ("b.4", "record 2", "large"),
    ]


async def test_a_batch_whose_records_cannot_be_read_to_their_end_leaves_nothing(ledger: Ledger) -> None:
    def broken() -> Iterator[str]:
        yield from numbered(PORTION + 5)
        raise OSError("the stream broke")

    with pytest.raises(OSError, match="the stream broke"):
        await ledger.create(spec(records=PORTION * 2), broken(), None)
    with pytest.raises(NotFoundError):
        await view(ledger)
    assert await ledger.query(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()[0]) == 0
    await ledger.create(spec(), numbered(3), None)
    assert await counters_agree(ledger)


async def test_a_batch_that_was_being_written_when_the_daemon_died_is_not_there_afterwards(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ledger.create(spec("kept"), numbered(3), None)
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as db:  # what a kill between two portions leaves
        db.execute("UPDATE batches SET phase = 'staged' WHERE batch_id = 'kept'")
    db.close()
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ledger.recover(10)
        assert await take(ledger) == []
        assert await ledger.query(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()[0]) == 0


@pytest.mark.parametrize("records", [3, PORTION + 1])
async def test_who_waits_for_work_can_take_it_in_the_commit_that_creates_it(
    ledger: Ledger, clock: HandMovedClock, records: int
) -> None:
    called = asyncio.ensure_future(ledger.work.heard())
    creating = asyncio.ensure_future(ledger.create(spec(records=records), numbered(records), None))
    await called
    assert not creating.done()
    taking = asyncio.ensure_future(take(ledger, 2))
    await asyncio.sleep(0)
    clock.jump(5)
    assert [one.job.job_id for one in await taking] == ["b.1", "b.2"]
    await creating
    seen = await view(ledger)
    assert seen["started_at"] is not None
    assert seen["created_at"] <= seen["started_at"]


async def test_cancelling_a_create_leaves_nothing(ledger: Ledger) -> None:
    creating = asyncio.ensure_future(ledger.create(spec(records=PORTION * 20), numbered(PORTION * 20), None))
    while not await ledger.query(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()[0]):
        pass
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    assert await ledger.query(lambda db: db.execute("SELECT count(*) FROM jobs").fetchone()[0]) == 0


async def test_an_id_is_given_once(ledger: Ledger) -> None:
    await ledger.create(spec(), numbered(3), None)
    with pytest.raises(ConflictError, match="a batch with this id exists"):
        await ledger.create(spec(), numbered(3), None)


async def test_what_ended_jobs_left_can_be_asked_for(ledger: Ledger) -> None:
    await ledger.create(spec(), numbered(3), None)
    one, two, three = await take(ledger)
    await ledger.settle([completed(one), failed(two), failed(three, "ValueError: bad")])
    found = await view(ledger)
    assert (found["status"], found["completed"], found["failed"]) == ("failed", 1, 2)
    assert {cause["cause"]: cause["jobs"] for cause in found.get("causes", [])} == {
        "exit status 1": 1,
        "ValueError: bad": 1,
    }
    assert (await ledger.query(lambda db: queries.job(db, "b.1", "here")))["result"] == "fine"
    assert await ledger.query(lambda db: queries.log(db, "b.1")) == b"hello\n"
    events = await ledger.query(lambda db: queries.events(db, 0, 10, "b"))
    kinds = [event["kind"] for event in events]
    assert kinds == ["batch.created", "batch.started", "job.failed", "job.failed", "batch.ended"]


@pytest.mark.parametrize("count", [3, settling.MANY + 2])
async def test_of_ends_that_are_recorded_together_those_of_jobs_that_have_ended_already_are_not(
    ledger: Ledger, count: int
) -> None:
    await ledger.create(spec(records=count), numbered(count), None)
    taken = await take(ledger)
    await ledger.settle([failed(taken[1])])
    await ledger.settle([*map(completed, taken), completed(taken[0])])
    now = await view(ledger)
    assert (now["completed"], now["failed"], now["running"]) == (count - 1, 1, 0)
    assert await counters_agree(ledger)


async def test_any_text_that_a_job_says_of_itself_can_be_recorded(ledger: Ledger) -> None:
    half = BatchSpec("b", "f", "0" * 12, ({"name": "\ud800"},), 1, 1000)
    await ledger.create(half, numbered(1), None)
    (one,) = await take(ledger)
    assert one.job.parameters == {"name": "\ud800"}
    await ledger.settle([failed(one, "ValueError: \ud800\0")])
    assert (await view(ledger)).get("causes") == [{"cause": "ValueError: \\ud800\0", "jobs": 1}]


async def test_a_result_with_half_of_a_surrogate_pair_is_kept_as_json_has_it(ledger: Ledger) -> None:
    await ledger.create(spec(records=1), numbered(1), None)
    (taken,) = await take(ledger)
    await ledger.settle([Settlement(taken, Event.COMPLETE, Outcome(Ending.COMPLETED, result='"\ud800"'))])
    rows, _ = await ledger.query(lambda db: queries.results(db, "b", JobPage(10, 0)))
    assert [row["result"] for row in rows] == ["\ud800"]


async def test_what_runs_when_a_daemon_dies_is_pending_again_at_once_and_has_used_no_attempt(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        await ledger.create(spec(), numbered(3), None)
        await take(ledger, 2)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        recovered = await ledger.recover(10)
        assert [job.job_id for job in recovered.interrupted] == ["b.1", "b.2"]
        assert recovered.failed == []
        again = await take(ledger)
        assert [(one.job.job_id, one.job.attempt) for one in again] == [("b.1", 1), ("b.2", 1), ("b.3", 1)]
        assert (await ledger.query(lambda db: queries.job(db, "b.1", "here")))["interruptions"] == 1
        assert await counters_agree(ledger)


async def test_a_job_that_was_interrupted_too_often_fails(ledger: Ledger) -> None:
    await ledger.create(spec(records=1), numbered(1), None)
    for _ in range(2):
        await take(ledger)
        assert len((await ledger.recover(2)).interrupted) == 1
    await take(ledger)
    assert [job.record_id for job in (await ledger.recover(2)).failed] == ["record 1"]
    job = await ledger.query(lambda db: queries.job(db, "b.1", "here"))
    assert (job["status"], job["cause"], job["interruptions"]) == ("failed", "interrupted 3 times", 3)
    assert (await view(ledger))["status"] == "failed"


async def test_cancelling_drops_what_waits_and_leaves_what_runs_to_be_settled(ledger: Ledger) -> None:
    count = PORTION + 50
    await ledger.create(spec(records=count), numbered(count), None)
    running = await take(ledger, 4)
    retried = Settlement(running[0], Event.RETRY, Outcome(Ending.FAILED, cause="x"), delay=60)
    await ledger.settle([retried, completed(running[1])])
    key, ended = await ledger.begin_cancel("b")
    assert ended == 1
    assert await take(ledger) == []
    assert await ledger.finish_cancel(key) == count - 3
    assert (await view(ledger))["status"] == "running"
    cancel = Outcome(Ending.CANCELLED)
    await ledger.settle([Settlement(one, Event.CANCEL, cancel) for one in running[2:]])
    found = await view(ledger)
    assert (found["status"], found["completed"], found["cancelled"]) == ("cancelled", 1, count - 1)
    assert await counters_agree(ledger)


async def test_a_cancel_is_refused_with_the_reason_once_the_batch_has_ended(ledger: Ledger) -> None:
    await ledger.create(spec(records=1), numbered(1), None)
    await ledger.settle([completed(one) for one in await take(ledger)])
    with pytest.raises(ConflictError, match=r"it has ended \(1 completed, 0 failed, 0 cancelled\)"):
        await ledger.begin_cancel("b")
    with pytest.raises(NotFoundError):
        await ledger.begin_cancel("none")


async def test_a_cancel_that_a_dead_daemon_began_is_finished_by_the_next(ledger: Ledger) -> None:
    await ledger.create(spec(), numbered(3), None)
    await ledger.begin_cancel("b")
    await ledger.recover(10)
    assert (await view(ledger))["status"] == "cancelled"


async def test_a_failure_stops_a_batch_whose_error_policy_says_so(ledger: Ledger) -> None:
    await ledger.create(spec(records=5, error_policy="stop"), numbered(5), None)
    one, two = await take(ledger, 2)
    rung = ledger.stops.ring_count
    await ledger.settle([failed(one)])
    assert await take(ledger) == []
    assert ledger.stops.ring_count == rung + 1
    await ledger.finish_stops()
    assert (await view(ledger))["cancelled"] == 3
    retry = Settlement(two, Event.RETRY, Outcome(Ending.FAILED, cause="x"), delay=60)
    await ledger.settle([retry])
    await ledger.finish_stops()
    found = await view(ledger)
    assert (found["status"], found["failed"], found["cancelled"]) == ("failed", 1, 4)


async def test_failed_and_cancelled_jobs_run_again_with_all_of_their_attempts(ledger: Ledger) -> None:
    await ledger.create(spec(), numbered(3), None)
    one, two, _ = await take(ledger, 2) + [None]
    assert one is not None
    assert two is not None
    await ledger.settle([completed(one), failed(two)])
    key, _ = await ledger.begin_cancel("b")
    await ledger.finish_cancel(key)
    assert await ledger.requeue_batch("b", (Status.FAILED,)) == 1
    assert await ledger.requeue_batch("b", (Status.FAILED, Status.CANCELLED)) == 1
    again = await take(ledger)
    assert [(job.job.job_id, job.job.attempt) for job in again] == [("b.2", 1), ("b.3", 1)]
    await ledger.settle([completed(job) for job in again])
    assert (await view(ledger))["status"] == "completed"
    assert await counters_agree(ledger)


async def test_a_cancel_counts_its_own_batch_alone_and_reaches_past_jobs_cancelled_one_by_one(
    ledger: Ledger,
) -> None:
    count = PORTION + 5
    await ledger.create(spec("other"), numbered(3), None)
    await ledger.create(spec(records=count), numbered(count), None)
    for n in range(1, 6):
        await ledger.cancel_job(f"b.{n}")
    other, _ = await ledger.begin_cancel("other")
    key, ended = await ledger.begin_cancel("b")
    assert (ended, await ledger.finish_cancel(key), await ledger.finish_cancel(other)) == (5, PORTION, 3)
    job = await ledger.query(lambda db: queries.job(db, f"b.{count}", "here"))
    assert (job["status"], job["error"]) == ("cancelled", "the batch was cancelled")
    assert await counters_agree(ledger)


async def test_what_a_requeued_job_printed_before_is_forgotten(ledger: Ledger) -> None:
    await ledger.create(spec(records=1), numbered(1), None)
    (one,) = await take(ledger)
    noisy = Outcome(Ending.FAILED, cause="x", log=b"old\n")
    await ledger.settle([Settlement(one, Event.FAIL, noisy)])
    assert await ledger.query(lambda db: queries.logs(db, "b", 0, 9)) == [(1, b"old\n")]
    await ledger.requeue_batch("b", (Status.FAILED,))
    (again,) = await take(ledger)
    quiet = Settlement(again, Event.COMPLETE, Outcome(Ending.COMPLETED))
    await ledger.settle([quiet])
    assert await ledger.query(lambda db: queries.log(db, "b.1")) == b""
    assert await ledger.query(lambda db: queries.logs(db, "b", 0, 9)) == []


async def test_nothing_of_a_batch_that_is_being_cancelled_is_requeued(ledger: Ledger) -> None:
    await ledger.create(spec(), numbered(3), None)
    await ledger.cancel_job("b.1")
    await ledger.begin_cancel("b")
    with pytest.raises(ConflictError, match="it is being cancelled"):
        await ledger.requeue_job("b.1", (Status.CANCELLED,))


async def test_one_job_can_be_cancelled_and_requeued(ledger: Ledger) -> None:
    await ledger.create(spec(), numbered(3), None)
    assert await ledger.cancel_job("b.2") is True
    assert await ledger.cancel_job("b.2") is False
    assert [one.job.job_id for one in await take(ledger)] == ["b.1", "b.3"]
    assert await ledger.requeue_job("b.2", (Status.CANCELLED,)) == 1
    assert [one.job.job_id for one in await take(ledger)] == ["b.2"]
    assert await counters_agree(ledger)


async def test_pauses_outlive_the_daemon(tmp_path: Path, clock: HandMovedClock) -> None:
    async with AsyncExitStack() as stack:
        await (await Ledger.open(tmp_path, clock, stack)).hold("*", 0)
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(tmp_path, clock, stack)
        assert ledger.holds == {"*"}
        await ledger.create(spec(), numbered(3), None)
        assert await take(ledger) == []
        await ledger.release_hold("*")
        assert len(await take(ledger)) == 3


async def test_the_answer_to_a_request_is_kept_with_what_it_did(ledger: Ledger) -> None:
    answer = Answer("key", 1000, "POST /v1/batches abc", 201, "{}")
    await ledger.create(spec(), numbered(3), answer)
    assert await ledger.query(lambda db: queries.answer(db, "key", 1000)) == (
        "POST /v1/batches abc",
        201,
        "{}",
    )
    assert await ledger.query(lambda db: queries.answer(db, "key", 0)) is None


async def test_a_clock_that_jumps_by_days_forgets_no_answer(ledger: Ledger, clock: HandMovedClock) -> None:
    await ledger.keep_answer(Answer("before", 1000, "POST /v1/batches abc", 201, "{}"))
    clock.jump(3 * 86_400.0)
    await ledger.keep_answer(Answer("after", 1000, "POST /v1/batches def", 201, "{}"))
    assert await ledger.query(lambda db: queries.answer(db, "before", 1000)) is not None


async def test_old_answers_are_forgotten_once_there_are_many_later_ones(
    ledger: Ledger, clock: HandMovedClock
) -> None:
    def keep(db: sqlite3.Connection, key: str) -> None:
        creation.keep_answer(db, Answer(key, 1000, "POST", 201, "{}"), clock.now())

    await ledger.write(lambda db: keep(db, "old"))
    for n in range(LATEST_ANSWERS):
        ledger.write(partial(keep, key=str(n)))
    assert await ledger.query(lambda db: queries.answer(db, "old", 1000)) is not None
    await clock.advance(86_401)
    await ledger.write(lambda db: keep(db, "new"))
    assert await ledger.query(lambda db: queries.answer(db, "old", 1000)) is None
    assert await ledger.query(lambda db: queries.answer(db, "1", 1000)) is not None


async def test_lists_are_paged_without_gap_or_repetition(ledger: Ledger) -> None:
    for n in range(5):
        await ledger.create(spec(f"b{n}"), numbered(3), None)
    await ledger.settle([completed(one) for one in await take(ledger, 3)])
    active = await ledger.query(lambda db: queries.batches(db, BatchFilter(), 3, None, 0.0))
    assert [batch["batch_id"] for batch in active["batches"]] == ["b4", "b3", "b2"]
    rest = await ledger.query(lambda db: queries.batches(db, BatchFilter(), 3, int(active["next"] or 0), 0.0))
    assert ([batch["batch_id"] for batch in rest["batches"]], rest["next"]) == (["b1"], None)
    ended = await ledger.query(lambda db: queries.batches(db, BatchFilter(Status.COMPLETED), 3, None, 0.0))
    assert [batch["batch_id"] for batch in ended["batches"]] == ["b0"]
    first = await ledger.query(lambda db: queries.jobs(db, "b1", JobPage(2), "here"))
    second = await ledger.query(
        lambda db: queries.jobs(db, "b1", JobPage(2, int(first["next"] or 0)), "here")
    )
    assert [job["job_id"] for job in first["jobs"] + second["jobs"]] == ["b1.1", "b1.2", "b1.3"]


async def test_an_id_may_be_shortened_while_it_is_unique(ledger: Ledger) -> None:
    for name in ("batch-1a2b3c4d", "batch-1affffff", "batch-22222222"):
        await ledger.create(spec(name), numbered(3), None)
    for text, meant in (
        ("batch-2", "batch-22222222"),
        ("22", "batch-22222222"),
        ("1a2b.2", "batch-1a2b3c4d.2"),
    ):
        assert await ledger.query(lambda db, text=text: queries.resolve(db, text)) == meant  # type: ignore[misc]
    with pytest.raises(ConflictError, match="batch-1a2b3c4d, batch-1affffff"):
        await ledger.query(lambda db: queries.resolve(db, "1a"))
    with pytest.raises(NotFoundError):
        await ledger.query(lambda db: queries.resolve(db, "batch-22222222.4"))


async def test_a_ledger_of_a_newer_version_is_refused_untouched(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    async with AsyncExitStack() as stack:
        with pytest.raises(StorageError, match="newer version"):
            await Ledger.open(tmp_path, clock, stack)


async def test_a_file_that_is_no_ledger_is_refused(tmp_path: Path, clock: HandMovedClock) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"these are no pages of a database" * 100)
    async with AsyncExitStack() as stack:
        with pytest.raises(StorageError, match="not a database") as caught:
            await Ledger.open(tmp_path, clock, stack)
        assert "doctor --repair" in (caught.value.hint or "")


async def test_a_ledger_of_the_first_version_is_brought_up_to_date(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.executescript(f"{MIGRATIONS[0]};PRAGMA user_version = 1;")
        db.execute("INSERT INTO jobs (id, batch, record_id, variant) VALUES (1, 1, 'r', 0)")
        db.commit()
    async with AsyncExitStack() as stack:
        opened = await Ledger.open(tmp_path, clock, stack)
        rows = await opened.query(
            lambda db: db.execute("SELECT record_id, disturbances FROM jobs").fetchall()
        )
        assert [tuple(row) for row in rows] == [("r", 0)]
        assert await opened.query(lambda db: history.between(db, 0, clock.now())) == []


async def test_a_long_migration_gives_signs_that_it_gets_on_until_recovery_is_through(
    tmp_path: Path, clock: HandMovedClock
) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.executescript(f"{';'.join(MIGRATIONS[:3])};PRAGMA user_version = 3;")
        with db:
            db.execute(
                """WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 400000)
                   INSERT INTO jobs (batch, record_id, variant) SELECT 1, 'r', 0 FROM n"""
            )
    signs: list[str] = []
    async with AsyncExitStack() as stack:
        ledger = await Ledger.open(
            tmp_path, clock, stack, worked=lambda: signs.append(threading.current_thread().name)
        )
        assert signs
        assert threading.main_thread().name not in signs
        await ledger.recover(10)
        seen = len(signs)
        await ledger.query(lambda db: db.execute("SELECT count(*) FROM jobs a, jobs b LIMIT 0").fetchall())
        await ledger.write(lambda db: db.execute("UPDATE jobs SET variant = 1").rowcount)
        assert len(signs) == seen


async def test_the_writer_answers_whether_or_not_it_can_write(tmp_path: Path, ledger: Ledger) -> None:
    await ledger.answers()
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as foreign:
        await ledger.write(lambda db: db.execute("PRAGMA busy_timeout = 1").fetchall())
        foreign.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked"):
            await ledger.write(lambda _: None)
        await ledger.answers()

"""Log records reach a real socket that speaks the journal's protocol: whole, in order, and without anybody waiting."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from logging_journald import JournaldLogHandler

from buttermilkd.host.journal.handler import JournalHandler
from buttermilkd.host.journal.sender import MOST_BYTES, MOST_ENTRIES, NativeTransport, Sender
from buttermilkd.jobs import Job
from buttermilkd.journal import Kind, about
from tests.journal_receiver import Received, Receiver

JOB = Job("batch-1.3", "batch-1", "summarise", "Übung\n1", {}, attempt=2)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path / "socket") as receiver:
        yield receiver


class Log:
    """A logger whose records go to a receiver, and its sender."""

    def __init__(self, path: Path) -> None:
        self.sender = Sender(NativeTransport(path), "server-1")
        self.sender.start()
        self.logger = logging.Logger("buttermilkd.tests", logging.DEBUG)  # noqa: LOG001 - known to this test alone
        self.logger.addHandler(JournalHandler(self.sender))


@pytest.fixture
def log(receiver: Receiver) -> Iterator[Log]:
    log = Log(receiver.path)
    yield log
    log.sender.close(patience=0.0)
    while not receiver.nothing_is_left():
        receiver.next()
    log.sender.close(patience=10.0)


def is_last(entry: Received) -> bool:
    return entry["MESSAGE"] == "the last"


def test_a_record_has_the_fields_of_what_it_is_about(log: Log, receiver: Receiver) -> None:
    log.logger.warning("%s failed", JOB.job_id, extra=about(JOB, Kind.JOB_FAILED, peer_uid=1000))
    entry = receiver.next()
    assert entry.pop("CODE_FILE") == __file__
    assert int(entry.pop("CODE_LINE")) > 1
    assert entry == {
        "MESSAGE": "batch-1.3 failed",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "buttermilkd",
        "SYSLOG_FACILITY": "3",
        "LOGGER": "buttermilkd.tests",
        "CODE_FUNC": "test_a_record_has_the_fields_of_what_it_is_about",
        "HOST": "server-1",
        "MESSAGE_ID": Kind.JOB_FAILED,
        "BATCH_ID": "batch-1",
        "JOB_ID": "batch-1.3",
        "RECORD_ID": "Übung\n1",
        "FLOW": "summarise",
        "ATTEMPT": "2",
        "PEER_UID": "1000",
    }


def test_an_id_alone_tells_whether_a_record_is_about_a_batch_or_a_job(log: Log, receiver: Receiver) -> None:
    log.logger.info("a batch", extra=about("batch-1"))
    log.logger.info("a job", extra=about("batch-1.3", host="server-2"))
    log.logger.info("neither")
    batch, job, neither = receiver.next(), receiver.next(), receiver.next()
    assert (batch["BATCH_ID"], "JOB_ID" in batch) == ("batch-1", False)
    assert (job["BATCH_ID"], job["JOB_ID"], job["HOST"]) == ("batch-1", "batch-1.3", "server-2")
    assert not {"BATCH_ID", "JOB_ID", "MESSAGE_ID"} & neither.keys()


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, "7"),
        (logging.INFO, "6"),
        (25, "6"),
        (logging.WARNING, "4"),
        (logging.ERROR, "3"),
        (logging.CRITICAL, "2"),
        (60, "2"),
    ],
)
def test_every_level_has_a_priority_and_none_is_an_emergency(
    log: Log, receiver: Receiver, level: int, priority: str
) -> None:
    log.logger.log(level, "said")
    assert receiver.next()["PRIORITY"] == priority


@pytest.mark.parametrize(
    "text", ["", "two\nlines\n", "=", "Grüße 🥛", "a\0b", "A=b\nC=d", "100 %", " ", "half \ud83e of a pair"]
)
def test_any_text_comes_through_as_it_was(log: Log, receiver: Receiver, text: str) -> None:
    log.logger.info("%s", text)
    assert receiver.next()["MESSAGE"] == text.replace("\ud83e", "\\ud83e")


def test_a_traceback_is_in_the_entry_of_its_record(log: Log, receiver: Receiver) -> None:
    try:
        int("ä\nb")
    except ValueError:
        log.logger.exception("cannot do it")
    lines = receiver.next()["MESSAGE"].splitlines()
    assert lines[:2] == ["cannot do it", "Traceback (most recent call last):"]
    assert lines[-1] == r"ValueError: invalid literal for int() with base 10: 'ä\nb'"
    assert receiver.nothing_is_left()


def test_what_is_too_large_for_a_datagram_comes_by_a_sealed_file(log: Log, receiver: Receiver) -> None:
    text = "ü" * 500_000 + "\nend"
    log.logger.info("%s", text, extra=about(JOB))
    entry = receiver.next()
    assert (entry["MESSAGE"], entry["JOB_ID"]) == (text, JOB.job_id)
    assert receiver.by_memfd == 1


def test_a_flood_that_the_queue_holds_loses_nothing_while_nobody_reads(log: Log, receiver: Receiver) -> None:
    for number in range(MOST_ENTRIES - 1):
        log.logger.info("%d", number)
    log.logger.info("the last")
    told = [entry["MESSAGE"] for entry in receiver.until(is_last)]
    assert told == [*map(str, range(MOST_ENTRIES - 1)), "the last"]
    assert log.sender.lost == 0


def test_what_a_larger_flood_loses_is_counted_and_told(log: Log, receiver: Receiver) -> None:
    sent = 3 * MOST_ENTRIES
    for number in range(sent):
        log.logger.info("%d", number)
    entries = receiver.until(lambda entry: entry.get("MESSAGE_ID") == Kind.RECORDS_LOST)
    (*_, told), lost = entries, log.sender.lost
    assert lost > 0
    assert (told["LOST"], told["PRIORITY"]) == (str(lost), "4")
    assert f"{lost:,} log records were lost" in told["MESSAGE"]
    log.logger.info("the last")
    entries += receiver.until(is_last)
    numbers = [int(entry["MESSAGE"]) for entry in entries if entry["MESSAGE"].isdigit()]
    assert len(numbers) + lost == sent
    assert numbers == sorted(numbers)


def test_a_flood_of_large_records_holds_no_more_memory_than_is_allowed(log: Log, receiver: Receiver) -> None:
    size = MOST_BYTES // 16
    for _ in range(64):
        log.logger.info("%s", "x" * size)
    assert 64 - 16 - 12 <= log.sender.lost < 64  # beside what the queue holds, what the kernel does
    entries = receiver.until(lambda entry: entry.get("MESSAGE_ID") == Kind.RECORDS_LOST)
    assert int(entries[-1]["LOST"]) == log.sender.lost


def test_a_journal_that_is_started_again_is_found(log: Log, receiver: Receiver) -> None:
    log.logger.info("before")
    assert receiver.next()["MESSAGE"] == "before"
    receiver.close()
    log.logger.info("meanwhile")
    with Receiver(receiver.path) as again:
        log.logger.info("afterwards")
        assert [again.next()["MESSAGE"], again.next()["MESSAGE"]] == ["meanwhile", "afterwards"]
    assert log.sender.lost == 0


def test_what_is_queued_at_the_end_is_sent_before_it(log: Log, receiver: Receiver) -> None:
    # More than the kernel holds, so that some of it is still queued when the end begins.
    for number in range(500):
        log.logger.info("%d", number)
    log.sender.close(patience=0.0)
    assert [receiver.next()["MESSAGE"] for _ in range(500)] == list(map(str, range(500)))
    log.sender.close(patience=10.0)
    assert receiver.nothing_is_left()


def test_the_end_does_not_wait_for_a_journal_that_hangs(log: Log, receiver: Receiver) -> None:
    for number in range(500):
        log.logger.info("%d", number)
    log.sender.close(patience=0.05)
    assert [receiver.next()["MESSAGE"] for _ in range(500)] == list(map(str, range(500)))


def test_the_end_does_not_wait_for_a_journal_that_is_gone(tmp_path: Path) -> None:
    log = Log(tmp_path / "missing")
    log.logger.info("said to nobody")
    log.sender.close(patience=10.0)
    assert log.sender.lost == 1


def test_the_librarys_own_handler_would_rename_fields_and_raise_an_alarm(
    log: Log, receiver: Receiver
) -> None:
    """Why there is one of ours: where this fails, the library has mended its own."""
    theirs = JournaldLogHandler(identifier="buttermilkd", socket_path=receiver.path)
    log.logger.handlers = [theirs]
    log.logger.critical("dying", extra={"JOB_ID": "batch-1.3"})
    log.logger.critical("dead")
    dying, dead = receiver.next(), receiver.next()
    theirs.transport.socket.close()
    assert dying["PRIORITY"] == "0"
    assert "JOB_ID" not in dying
    assert dying["EXTRA_JOB_ID"] == "batch-1.3"
    assert dying["MESSAGE_ID"] != dead["MESSAGE_ID"]

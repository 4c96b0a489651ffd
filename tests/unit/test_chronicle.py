"""The log tells what becomes of each job, with the fields by which it is found, and is not drowned by many that fail."""

import logging
from collections.abc import Iterator

import pytest

from buttermilkd.chronicle import BURST, Chronicle
from buttermilkd.jobs import Ending, Event, Job, Outcome, Settlement, Taken
from buttermilkd.journal import Kind, fields_in
from buttermilkd.testing import HandMovedClock

JOB = Job("batch-1.2", "batch-1", "flow", "r", {}, attempt=3)
FAILED = Outcome(Ending.FAILED, error="exit status 1: long story", cause="exit status 1: short")


def settlement(event: Event, outcome: Outcome = FAILED, delay: float = 0.0) -> Settlement:
    return Settlement(Taken(JOB, 1), event, outcome, delay)


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def told() -> Iterator[list[logging.LogRecord]]:
    """All records, in detail."""
    logger, kept = logging.getLogger("buttermilkd.chronicle"), Kept()
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield kept.records
    logger.removeHandler(kept)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.mark.parametrize(
    ("event", "level", "kind", "text"),
    [
        (Event.COMPLETE, logging.DEBUG, Kind.JOB_COMPLETED, "batch-1.2 has completed"),
        (
            Event.FAIL,
            logging.WARNING,
            Kind.JOB_FAILED,
            "batch-1.2 failed, attempt 3: exit status 1: short; it is a dead letter now",
        ),
        (
            Event.RETRY,
            logging.INFO,
            Kind.JOB_RETRIED,
            "batch-1.2 failed, attempt 3: exit status 1: short; it is tried again in 20 s",
        ),
        (
            Event.DISTURB,
            logging.INFO,
            Kind.JOB_RETRIED,
            "batch-1.2 failed, attempt 3: exit status 1: short; it had been suspended, so this does not count; it is tried again in 20 s",
        ),
        (
            Event.INTERRUPT,
            logging.INFO,
            Kind.JOB_INTERRUPTED,
            "batch-1.2 was interrupted: exit status 1: short; it is pending again, and this costs no attempt",
        ),
        (
            Event.GIVE_BACK,
            logging.DEBUG,
            Kind.JOB_GIVEN_BACK,
            "batch-1.2 is given back, and costs no attempt",
        ),
        (Event.CANCEL, logging.INFO, Kind.JOB_CANCELLED, "batch-1.2 was cancelled"),
    ],
)
def test_each_end_is_told_with_its_kind_and_its_job(
    told: list[logging.LogRecord], event: Event, level: int, kind: Kind, text: str
) -> None:
    Chronicle(HandMovedClock()).settled([settlement(event, delay=20.0)])
    (record,) = told
    assert (record.getMessage(), record.levelno) == (text, level)
    assert fields_in(record) == {
        "MESSAGE_ID": kind,
        "BATCH_ID": "batch-1",
        "JOB_ID": "batch-1.2",
        "RECORD_ID": "r",
        "FLOW": "flow",
        "ATTEMPT": "3",
    }


async def test_many_failures_are_told_as_one_number_which_counts_each(told: list[logging.LogRecord]) -> None:
    clock = HandMovedClock()
    chronicle = Chronicle(clock)
    chronicle.settled([settlement(Event.FAIL)] * (int(BURST) + 5))
    assert len(told) == BURST
    chronicle.settled([settlement(Event.FAIL)])
    assert len(told) == BURST
    await clock.advance(1.0)
    chronicle.settled([settlement(Event.COMPLETE)])
    *_, completed, more = told
    assert completed.getMessage() == "batch-1.2 has completed"
    assert more.getMessage().startswith("6 more jobs have failed")
    assert fields_in(more) == {"MESSAGE_ID": Kind.FAILURES_CUT}


def test_what_was_not_told_is_told_at_the_end(told: list[logging.LogRecord]) -> None:
    chronicle = Chronicle(HandMovedClock())
    chronicle.settled([settlement(Event.RETRY)] * (int(BURST) + 1))
    chronicle.finish()
    chronicle.finish()
    assert [fields_in(record)["MESSAGE_ID"] for record in told].count(Kind.FAILURES_CUT) == 1

"""The machine's clock is set by a day while the real daemon works: nothing stalls, nothing storms, no age is negative."""

import json
import re
from datetime import datetime
from pathlib import Path

from tests.acceptance.program import Daemon, until
from tests.parts import need

FLOWS = """
[flows.again]
command = ["sh", "-c", 'echo >> begun; [ -e "once-$BUTTERMILK_RECORD_ID" ] && exit 0; touch "once-$BUTTERMILK_RECORD_ID"; exit 1']
backoff = "500ms"
max_backoff = "500ms"

[flows.wait]
command = ["sh", "-c", 'while [ ! -e go ]; do sleep 0.02; done']
"""
DAY = 86_400


def under_a_clock_that_can_be_set(daemon: Daemon) -> Path:
    """The file that says how far the wall clock of the daemon is off; the other clock goes on as it is."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    need(found, "faketime's library (the Debian package libfaketime)")
    file = daemon.folder / "clock"
    file.write_text("+0")
    daemon.variables = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return file


def test_a_clock_that_is_set_by_a_day_stalls_no_retry_and_begins_nothing_too_often(daemon: Daemon) -> None:
    clock = under_a_clock_that_can_be_set(daemon)
    daemon.write(FLOWS)
    daemon.start()
    for number, seconds in enumerate((-DAY, 0)):  # back a day, and forward again
        go = daemon.folder / "go"
        running = daemon.client.create("wait", records=["x"]).batch_id
        daemon.running(1)
        again = daemon.client.create("again", records=[str(number)]).batch_id
        until(lambda: put_off(daemon, again), "the first attempt's failure")  # noqa: B023
        set_to(daemon, clock, seconds)
        assert daemon.ended(again)["completed"] == 1
        go.touch()
        assert daemon.ended(running)["completed"] == 1
        go.unlink()
        assert len((daemon.folder / "begun").read_text().splitlines()) == 2 * (number + 1)
        for batch in (again, running):
            assert_that_times_are_in_order(daemon, batch)
        told = json.dumps([daemon.client.idle(), daemon.client.status()])
        assert not re.findall(r'"[a-z_]*(?:seconds|age|for|_ms)": -', told)
        assert not re.findall(r"-\d+(?:\.\d+)? (?:s|min|h|d)\b", told + daemon.ctl("status").stdout)


def put_off(daemon: Daemon, batch: str) -> bool:
    return any(event["kind"] == "job.retried" for event in daemon.client.events(batch=batch))


def set_to(daemon: Daemon, clock: Path, seconds: int) -> None:
    """Set the clock so far off the right one, and return once the daemon has seen it."""
    fresh = clock.with_suffix(".new")
    fresh.write_text(f"{seconds:+}")
    before = newest_event(daemon)
    fresh.rename(clock)
    until(
        lambda: abs((newest_event(daemon) - before).total_seconds()) > DAY / 2, "a clock that is another one"
    )


def newest_event(daemon: Daemon) -> datetime:
    """When something happened just now, by the daemon's clock."""
    daemon.client.pause("wait")
    daemon.client.resume("wait")
    return datetime.fromisoformat(list(daemon.client.events())[-1]["at"])


def assert_that_times_are_in_order(daemon: Daemon, batch: str) -> None:
    view, (job,) = daemon.client.batch(batch), daemon.jobs(batch)
    assert view["started_at"] is not None
    assert view["ended_at"] is not None
    assert view["created_at"] <= view["started_at"] <= view["ended_at"]
    assert job["started_at"] <= job["ended_at"]

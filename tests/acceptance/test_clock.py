"""The machine's clock is set by a day while the real daemon works: nothing stalls, nothing storms, no age is negative."""

import json
import re
from datetime import datetime
from pathlib import Path

import pytest

from tests.acceptance.program import Daemon, until
from tests.parts import need

FLOWS = """
[flows.again]
command = ["sh", "-c", 'echo >> begun; [ -e "once-$BUTTERMILK_RECORD_ID" ] && exit 0; touch "once-$BUTTERMILK_RECORD_ID"; exit 1']
backoff = "1s"
max_backoff = "1s"

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
    daemon.more = {
        "LD_PRELOAD": str(found[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    return file


@pytest.mark.parametrize("seconds", [-DAY, DAY], ids=["back", "forward"])
def test_a_clock_that_is_set_by_a_day_stalls_no_retry_and_begins_nothing_too_often(
    seconds: int, daemon: Daemon
) -> None:
    clock = under_a_clock_that_can_be_set(daemon)
    daemon.write(FLOWS)
    daemon.start()
    running = daemon.client.create("wait", records=["x"]).batch_id
    daemon.running(1)
    before = daemon.client.status()["started_at"]
    again = daemon.client.create("again", records=["a"]).batch_id
    until(lambda: daemon.client.job(f"{again}.1")["due_at"], "the first attempt's failure")
    fresh = daemon.folder / "clock.new"
    fresh.write_text(f"{seconds:+}")
    fresh.rename(clock)
    until(lambda: _hours(daemon, before) * seconds > 0, "a clock that is another one")

    assert daemon.ended(again)["completed"] == 1
    (daemon.folder / "go").touch()
    assert daemon.ended(running)["completed"] == 1
    assert len((daemon.folder / "begun").read_text().splitlines()) == 2
    for batch in (again, running):
        view, (job,) = daemon.client.batch(batch), daemon.jobs(batch)
        assert view["started_at"] is not None
        assert view["ended_at"] is not None
        assert view["created_at"] <= view["started_at"] <= view["ended_at"]
        assert job["started_at"] <= job["ended_at"]
    told = json.dumps([daemon.client.idle(), daemon.client.status()])
    assert not re.findall(r'"[a-z_]*(?:seconds|age|for|_ms)": -', told)
    assert not re.findall(r"-\d+(?:\.\d+)? (?:s|min|h|d)\b", told + daemon.ctl("status").stdout)
    assert daemon.stop() == 0


def _hours(daemon: Daemon, before: str) -> int:
    """By how many hours the newest event's day is another one than the start's."""
    daemon.client.pause("wait")
    newest = list(daemon.client.events())[-1]["at"]
    return round((datetime.fromisoformat(newest) - datetime.fromisoformat(before)).total_seconds() / 3600)

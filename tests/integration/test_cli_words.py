"""The words in which ``buttermilkctl`` tells of numbers, suspensions and waits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.stand_in import CREATED, STATUS, Answer, batch, job
from tests.integration.terminal import BATCH, Terminal, opened


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        yield terminal


def test_one_of_anything_is_told_in_the_singular(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/batches", {**CREATED, "jobs": 1, "records": 1, "duplicates": 1})
    created = terminal.run("create", "summarise", "-r", "a")
    assert "created batch-1a2b3c4d: 1 job of summarise (1 record x 2 variants)" in created.stdout
    assert "dropped 1 record that was given more than once" in created.stderr

    reporter = {**STATUS["reporters"][0], "requests": 1, "websockets": 1}  # type: ignore[index]
    terminal.daemon.on("GET /v1/status", {**STATUS, "reporters": [reporter]})
    assert "1 request in flight, 1 websocket, last active" in terminal.run("status").stdout

    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch(total=1, duplicates=1))
    shown = terminal.run("status", BATCH).stdout
    assert "of 1 job has ended" in shown
    assert "1 record was given more than once" in shown

    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", job(interruptions=1, deferrals=2))
    assert "attempt 4 (1 interruption, 2 deferrals)" in terminal.run("status", f"{BATCH}.7").stdout

    terminal.daemon.on(f"POST /v1/batches/{BATCH}/retry", {"id": BATCH, "requeued": 1})
    assert "1 job queued again" in terminal.run("retry", BATCH).stdout


def test_a_table_cuts_what_is_huge_and_json_has_all_of_it(terminal: Terminal) -> None:
    huge = job(record_id="r" * 3_000_000, parameters={"text": "p" * 3_000_000}, cause="c" * 3_000_000)
    terminal.daemon.on(f"GET /v1/batches/{BATCH}/jobs", {"jobs": [huge], "next": None})
    assert len(terminal.run("jobs", BATCH).stdout) < 5_000
    assert terminal.json("jobs", BATCH)["jobs"] == [huge]
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", huge | {"result": "s" * 3_000_000})
    assert len(terminal.run("status", f"{BATCH}.7").stdout) < 5_000


def test_who_asks_for_a_log_that_is_on_another_host_is_told_on_which(terminal: Terminal) -> None:
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7/log", Answer([], content_type="text/plain"))
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", job(host=STATUS["host"]))
    terminal.daemon.on("GET /v1/status", STATUS)
    assert terminal.run("logs", f"{BATCH}.7").returncode == 0
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", job(host="elsewhere"))
    ended = terminal.run("logs", f"{BATCH}.7")
    assert ended.returncode != 0
    assert f"cannot show what {BATCH}.7 printed: it ran on elsewhere, and its log is there" in ended.stderr


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_help_says_that_a_flow_may_be_left_out(terminal: Terminal, command: str) -> None:
    assert f"{command} [OPTIONS] [FLOW]" in terminal.run(command, "--help").stdout


def ago(seconds: float) -> str:
    """An API time so long ago."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()  # noqa: TID251 - as the command sees it


def test_a_job_that_stands_still_is_told_apart_from_one_that_works(terminal: Terminal) -> None:
    works = job(status="running", started_at=ago(7200), ended_at=None, error=None, cause=None)
    still = job(
        job_id=f"{BATCH}.8",
        status="running",
        started_at=ago(7200),
        suspended_at=ago(3600),
        ended_at=None,
        error=None,
        cause=None,
    )
    terminal.daemon.on(f"GET /v1/batches/{BATCH}/jobs", {"jobs": [works, still, job()], "next": None})
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", works)
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.8", still)

    _, *rows = terminal.run("jobs", BATCH).stdout.splitlines()
    assert [row.split("  ")[1].strip() for row in rows] == ["running", "running (suspended)", "failed"]
    assert ["for 2 h 0 min" in row for row in rows] == [True, True, False]
    assert "\x1b[36mrunning (suspended)" in terminal.run("jobs", BATCH, "--color", "always").stdout

    shown = terminal.run("status", f"{BATCH}.8").stdout
    assert "running (suspended)" in shown
    assert "started 2 h 0 min ago on study-1" in shown
    assert "suspended 1 h 0 min ago" in shown
    assert "suspended" not in terminal.run("status", f"{BATCH}.7").stdout


def test_nothing_is_said_to_have_taken_time_before_it_is_over(terminal: Terminal) -> None:
    waits = job(status="pending", started_at=ago(7200), ended_at=None, error=None, cause=None)
    terminal.daemon.on(f"GET /v1/batches/{BATCH}/jobs", {"jobs": [waits], "next": None})
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", waits)
    assert "2 h" not in terminal.run("jobs", BATCH).stdout
    assert "took" not in terminal.run("status", f"{BATCH}.7").stdout
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", job())
    assert ", took 1 min on study-1" in terminal.run("status", f"{BATCH}.7").stdout

"""The words in which ``buttermilkctl`` tells of numbers, suspensions and waits."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand_in import CREATED, STATUS, batch, job
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


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_help_says_that_a_flow_may_be_left_out(terminal: Terminal, command: str) -> None:
    assert f"{command} [OPTIONS] [FLOW]" in terminal.run(command, "--help").stdout

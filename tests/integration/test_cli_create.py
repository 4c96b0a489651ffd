"""Creating a batch and waiting for its end on the command line."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand_in import CREATED, Answer, Hang, batch, ended_batch, problem
from tests.integration.terminal import BATCH, Terminal, opened


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        yield terminal


def test_create_posts_what_was_asked_for_and_says_how_to_go_on(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/batches", Answer(CREATED, 201))

    done = terminal.run(
        *["create", "summarise", "-r", "a", "-r", "b", "-p", "model=small", "-p", "model=large", "-p", "n=3"],
        *["--seed", "17", "--shuffle", "--limit", "9", "--priority", "-2", "--concurrency", "4"],
        *["--on-error", "stop", "--id", "mine"],
    )

    assert done.stdout == f"created {BATCH}: 1,000 jobs of summarise (500 records x 2 variants)\n"
    assert "dropped 3 records that were given more than once" in done.stderr
    assert f"follow it: buttermilkctl status {BATCH} --follow" in done.stderr
    assert terminal.daemon.requests[0].document == {
        "flow": "summarise",
        "records": ["a", "b"],
        "parameters": {"model": ["small", "large"], "n": 3},
        "batch_id": "mine",
        "shuffle": True,
        "seed": 17,
        "limit": 9,
        "priority": -2,
        "concurrency": 4,
        "error_policy": "stop",
        "dry_run": False,
    }
    assert terminal.json("create", "summarise", "--dry-run") == CREATED
    assert terminal.daemon.requests[1].document["records"] is None


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["--records", "-"], "a\r\nb\n", ["a", "b"]),
        (["--records", "-", "--format", "csv", "--field", "key"], "n,key\n1,a\n2,b\n", ["a", "b"]),
        (["--records", "-", "--format", "jsonl", "-r", "first"], '"a"\n', ["first", "a"]),
        (["--records", "r.csv"], "", ["x", "y"]),
        (["--records", "*.csv"], "", ["r.csv"]),
    ],
)
def test_create_streams_records_from_files_and_standard_input(
    terminal: Terminal, arguments: list[str], stdin: str, expected: list[str]
) -> None:
    (terminal.folder / "r.csv").write_text("name\nx\ny\n")
    terminal.daemon.on("POST /v1/batches", Answer(CREATED, 201))

    assert terminal.json("create", "f", *arguments, stdin=stdin)["jobs"] == 1000
    lines = terminal.daemon.requests[0].body.splitlines()
    assert [json.loads(line) for line in lines[1:]] == expected


def test_waiting_shows_progress_in_lines_and_the_end(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/batches", CREATED)
    route = f"GET /v1/batches/{BATCH}"
    terminal.daemon.on(route, batch(waiting_for="1 request in flight"), batch(), batch(), ended_batch())

    done = terminal.run("create", "summarise", "--wait")

    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"{BATCH} completed: 1,000 completed"
    progress = [line for line in done.stderr.splitlines() if line.startswith(f"{BATCH}: ")]
    assert progress == [
        f"{BATCH}: 400 of 1,000 (40 %); 598 pending, 2 running, 390 completed, 10 failed; waiting: 1 request in flight",
        f"{BATCH}: 400 of 1,000 (40 %); 598 pending, 2 running, 390 completed, 10 failed; about 10 min left",
        f"{BATCH}: 1,000 of 1,000 (100 %); 1,000 completed",
    ]
    assert "\r" not in done.stderr


def test_waiting_ends_with_6_when_a_job_failed_and_with_1_when_it_was_cancelled(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/batches", CREATED)
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", ended_batch(status="failed", failed=1))
    answer = terminal.json("create", "summarise", "--wait", code=6)
    assert answer == {**CREATED, "batch": ended_batch(status="failed", failed=1)}

    terminal.daemon.on(
        f"GET /v1/batches/{BATCH}", ended_batch(status="cancelled", completed=0, cancelled=1000)
    )
    assert terminal.run("create", "summarise", "--wait").returncode == 1


def test_waiting_too_long_ends_with_7_and_still_says_what_was_created(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/batches", CREATED)
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch())

    done = terminal.run("create", "summarise", "--wait", "--timeout", "10ms", "--json")

    assert done.returncode == 7
    assert json.loads(done.stdout)["batch"]["status"] == "running"
    assert "cannot wait any longer" in done.stderr


def test_following_a_batch_outlives_a_restart_of_the_daemon(terminal: Terminal) -> None:
    gone = problem(503, "unavailable", "cannot answer: the daemon is stopping")
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch(), gone, ended_batch())

    assert "completed" in terminal.run("status", BATCH, "--follow").stdout


def test_an_interrupt_while_waiting_is_exit_code_130(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/batches", CREATED)
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch(), Hang())
    with terminal.running("create", "f", "--wait", stderr=subprocess.PIPE, text=True) as process:
        terminal.daemon.hanging.wait()
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate()

    assert process.returncode == 130
    assert f"it goes on; to stop it: buttermilkctl cancel {BATCH}" in messages
    assert "Traceback" not in messages

"""What the commands ask and print, against a stand-in for the daemon."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand_in import FLOW, STATUS, Answer, batch, job, problem
from tests.integration.terminal import BATCH, Terminal, opened

HEAVY = {"pydantic", "aiohttp", "psutil", "rich", "asyncio", "sqlite3"}


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        yield terminal


def test_status_tells_what_the_daemon_does_and_why_not_more(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/status", STATUS)

    done = terminal.run("status")

    assert done.returncode == 0
    assert "busy: 2 websockets open, last message 3 s ago" in done.stdout
    assert "paused: classify" in done.stdout
    assert "batch-1a2b3c4d.8  summarise  evil\\x1b[2J\\nname" in done.stdout
    assert "web server api (pid 700): 0 requests in flight, 2 websockets" in done.stdout
    assert "\x1b" not in done.stdout
    assert "the daemon 0.0.1" in done.stderr
    assert terminal.json("status") == STATUS


def test_status_imports_nothing_heavy(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/status", STATUS)
    command = [sys.executable, "-X", "importtime", "-m", "buttermilkd.cli", "status"]

    done = subprocess.run(command, env=terminal.environ, capture_output=True, text=True, check=True)

    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert {"click", "http", "buttermilkd"} <= imported
    assert imported & HEAVY == set()


def test_status_of_a_batch_and_of_a_job(terminal: Terminal) -> None:
    causes = [{"cause": "exit status 3: no such model", "jobs": 10}]
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch(waiting_for="2 websockets open", causes=causes))
    terminal.daemon.on(f"GET /v1/jobs/{BATCH}.7", job())

    shown = terminal.run("status", BATCH)
    assert (
        "400 of 1,000 jobs have ended (40 %): 598 pending, 2 running, 390 completed, 10 failed"
        in shown.stdout
    )
    assert "waiting: 2 websockets open" in shown.stdout
    assert "10 failed: exit status 3: no such model" in shown.stdout
    assert f"buttermilkctl jobs {BATCH} --status failed" in shown.stderr
    assert terminal.json("status", BATCH)["eta_seconds"] == 600

    shown = terminal.run("status", f"{BATCH}.7")
    assert "record: records/7.txt" in shown.stdout
    assert "attempt 4 (1 interruption)" in shown.stdout
    assert "took 1 min on study-1" in shown.stdout
    assert terminal.json("status", f"{BATCH}.7") == job()


def test_common_options_may_stand_on_either_side_of_the_command(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/status", STATUS)
    socket = str(terminal.daemon.socket)
    nowhere = str(terminal.folder / "none.sock")

    for arguments in (["--socket", socket, "--json", "status"], ["status", "--json", "--socket", socket]):
        done = terminal.run(*arguments, BUTTERMILKD_CONTROL_SOCKET=nowhere)
        assert json.loads(done.stdout)["pid"] == 811
    done = terminal.run("--socket", nowhere, "status", "--socket", socket)
    assert done.returncode == 0


def test_the_configuration_says_where_the_socket_is(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/status", STATUS)
    config = terminal.folder / "b.toml"
    config.write_text(f'[daemon]\nruntime_dir = "{terminal.folder}"\n')

    assert terminal.run("status", "--config", str(config), BUTTERMILKD_CONTROL_SOCKET="").returncode == 0
    config.write_text("[daemon\n")
    done = terminal.run("status", "--config", str(config), BUTTERMILKD_CONTROL_SOCKET="")
    assert done.returncode == 78
    assert "b.toml:1" in done.stderr


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (
            problem(
                404, "not-found", "cannot find batch 'x': there is none", hint="buttermilkctl list --all"
            ),
            5,
        ),
        (problem(403, "not-permitted", "cannot look: not yours", hint="join the group"), 4),
        (problem(409, "conflict", "cannot resolve 'x': ambiguous", hint="write more of it"), 1),
        (problem(422, "misconfigured", "cannot run: no such program", hint="install it"), 78),
    ],
)
def test_an_error_is_two_lines_and_an_exit_code(terminal: Terminal, answer: Answer, code: int) -> None:
    terminal.daemon.on("GET /v1/batches/x", answer)

    done = terminal.run("status", "x", "--json")

    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr == f"error: {answer.body['detail']}\nhint: {answer.body['hint']}\n"


def test_a_daemon_that_is_not_running_is_exit_code_3(terminal: Terminal) -> None:
    done = terminal.run("--socket", "none.sock", "status")

    assert done.returncode == 3
    assert done.stderr.startswith(
        "error: cannot reach buttermilkd: none.sock: there is no such socket\nhint: "
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["stat"], "there is no command 'stat'; did you mean \"status\"?"),
        (["create"], "Missing argument 'FLOW'"),
        (["status", "--folow"], "--follow"),
        (["status", "--follow"], "--follow takes the id of a batch"),
        (["create", "f", "-p", "x"], "'x' is no parameter; write KEY=VALUE"),
        (["create", "f", "--timeout", "3s"], "--timeout goes with --wait"),
        (["create", "f", "--wait", "--timeout", "3"], "'3' is no duration"),
        (["create", "f", "--field", "x"], "--format and --field go with --records"),
        (["create", "f", "-r", ""], "cannot use the record id at the records given, record 1: it is empty"),
        (["create", "f", "--records", "none.txt"], "cannot read records from none.txt: No such file"),
        (["idle", "--watch", "--json"], "--watch never ends"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(terminal: Terminal, arguments: list[str], expected: str) -> None:
    done = terminal.run(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot")
    assert expected in done.stderr
    assert terminal.daemon.requests == []


def test_without_a_command_the_commands_are_listed(terminal: Terminal) -> None:
    done = terminal.run()

    assert done.returncode == 2
    for name in ("create", "list", "status", "jobs", "cancel", "retry", "results", "logs", "doctor"):
        assert f"\n  {name} " in done.stdout + done.stderr


def test_list_shows_the_active_batches_and_follows_pages(terminal: Terminal) -> None:
    route = "GET /v1/batches"
    pages = [{"batches": [batch(batch_id=f"b-{number}")], "next": str(number)} for number in range(3)]
    terminal.daemon.on(route, *pages)

    done = terminal.run("list", "--limit", "2", "--flow", "summarise")

    assert done.stdout.splitlines()[0].split() == [
        "BATCH",
        "FLOW",
        "STATUS",
        "DONE",
        "JOBS",
        "FAILED",
        "CREATED",
        "LEFT",
    ]
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["b-0", "b-1"]
    assert "there are more: --limit 20" in done.stderr
    assert [request.query for request in terminal.daemon.requests] == [
        {"flow": "summarise", "limit": "2"},
        {"flow": "summarise", "limit": "1", "cursor": "0"},
    ]

    terminal.daemon.on(route, {"batches": [], "next": None})
    assert "no active batches; --all" in terminal.run("list").stderr
    assert terminal.json("list", "--status", "failed") == {"batches": [], "next": None}
    assert terminal.daemon.requests[-1].query["all"] == "1"


def test_jobs_shows_what_failed_and_why(terminal: Terminal) -> None:
    terminal.daemon.on(f"GET /v1/batches/{BATCH}/jobs", {"jobs": [job()], "next": None})

    shown = terminal.run("jobs", BATCH, "--status", "failed").stdout

    assert shown.splitlines()[1].split("  ")[0] == f"{BATCH}.7"
    assert "model=small" in shown
    assert "exit status 3: no such model" in shown
    assert terminal.json("jobs", BATCH) == {"jobs": [job()], "next": None}


def test_cancel_and_retry_go_on_past_an_id_that_is_wrong(terminal: Terminal) -> None:
    receipt = {
        "id": BATCH,
        "dropped": 5,
        "stopped": 1,
        "killed": 0,
        "ended": 2,
        "summary": "5 dropped, 1 stopped",
    }
    terminal.daemon.on(f"POST /v1/batches/{BATCH}/cancel", receipt)
    terminal.daemon.on(f"POST /v1/jobs/{BATCH}.1/retry", {"id": f"{BATCH}.1", "requeued": 1})

    done = terminal.run("cancel", "wrong", BATCH, "--now")
    assert done.returncode == 5
    assert done.stdout == f"cancelled {BATCH}: 5 dropped, 1 stopped\n"
    assert "cannot find" in done.stderr
    assert terminal.daemon.requests[1].document == {"now": True}
    assert terminal.json("cancel", BATCH) == receipt
    assert terminal.json("cancel", BATCH, BATCH) == [receipt, receipt]
    assert terminal.json("retry", f"{BATCH}.1")["requeued"] == 1


def test_results_are_lines_a_table_or_one_document(terminal: Terminal) -> None:
    common = {"parameters": {}, "status": "completed", "attempt": 1, "started_at": None, "ended_at": None}
    found = [
        {"job_id": "b.1", "record_id": "é,\n", "result": {"n": 1}, "error": None, **common},
        {"job_id": "b.2", "record_id": "x", "result": "\ud800", "error": "e", **common},
    ]
    lines = [f"{json.dumps(result)}\n".encode() for result in found]
    terminal.daemon.on(f"GET /v1/batches/{BATCH}/results", Answer(lines))

    printed = terminal.run("results", BATCH).stdout
    assert [json.loads(line) for line in printed.splitlines()] == found
    assert "é" in printed
    rows = list(
        csv.DictReader(io.StringIO(terminal.run("results", BATCH, "--format", "csv").stdout, newline=""))
    )
    assert [row["record_id"] for row in rows] == ["é,\n", "x"]
    assert rows[0]["result"] == '{"n": 1}'
    assert terminal.json("results", BATCH) == {"results": found}

    terminal.daemon.on(f"GET /v1/batches/{BATCH}/results", Answer([]))
    assert terminal.json("results", BATCH) == {"results": []}


def test_logs_are_printed_as_they_are(terminal: Terminal) -> None:
    terminal.daemon.on(
        f"GET /v1/batches/{BATCH}/log", Answer([b"b.1 | one\n", "b.2 | zw\u00f6lf\n".encode()])
    )

    assert terminal.run("logs", BATCH, "--follow").stdout == "b.1 | one\nb.2 | zw\u00f6lf\n"
    assert terminal.daemon.requests[0].query == {"follow": "1"}
    assert terminal.json("logs", BATCH)["log"] == "b.1 | one\nb.2 | zw\u00f6lf\n"


def test_pause_resume_and_flows(terminal: Terminal) -> None:
    terminal.daemon.on("POST /v1/pause", {"paused": ["*"]})
    terminal.daemon.on("POST /v1/resume", {"paused": []})
    terminal.daemon.on(
        "GET /v1/flows", {"flows": [FLOW, {**FLOW, "can_run": False, "problem": "no such program"}]}
    )

    assert terminal.run("pause").stdout == "paused every flow\n"
    assert terminal.run("resume", "summarise").stdout == "resumed summarise\n"
    assert [request.document["flow"] for request in terminal.daemon.requests] == [None, "summarise"]
    assert "no: no such program" in terminal.run("flows").stdout

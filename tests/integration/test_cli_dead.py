"""``buttermilkctl dead``: what it asks and prints, against a stand-in for the daemon."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stand_in import Answer, Request, dead_job, dead_message
from tests.integration.terminal import BATCH, Terminal, opened


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        yield terminal


def outcome(letter_id: str, kind: str | None = None) -> dict[str, Any]:
    why = None if kind is None else f"cannot requeue {letter_id}: because"
    hint = None if kind is None else "do this"
    return {"id": letter_id, "done": kind is None, "kind": kind, "detail": why, "hint": hint}


def test_list_shows_jobs_and_messages_together(terminal: Terminal) -> None:
    found = {"dead": [dead_message(), dead_job()], "next": None}
    terminal.daemon.on("GET /v1/dead", found)

    done = terminal.run("dead", "list", "--flow", "summarise", "--limit", "5")

    header, message, job = done.stdout.splitlines()
    assert header.split() == ["LETTER", "FLOW", "RECORD", "PARAMETERS", "ATTEMPT", "DEAD", "WHY"]
    assert message.startswith("message-3 ")
    assert message.endswith("it is not JSON: \\x1b[2J")
    assert job.startswith(f"{BATCH}.7  summarise  records/7.txt  model=small ")
    assert job.endswith("exit status 3: no such model")
    assert "buttermilkctl dead requeue" in done.stderr
    assert terminal.daemon.requests[0].query == {"flow": "summarise", "limit": "5"}
    assert terminal.json("dead", "list") == found


def test_list_says_where_there_are_none_or_more(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/dead", {"dead": [], "next": None})
    assert terminal.run("dead", "list").stderr == "no dead letters\n"
    assert terminal.run("dead", "list", "--flow", "f").stderr == "no dead letters of f\n"
    terminal.daemon.on("GET /v1/dead", {"dead": [dead_job()], "next": "c"})
    assert "there are more: --limit 10" in terminal.run("dead", "list", "--limit", "1").stderr
    assert terminal.json("dead", "list", "--limit", "1")["next"] == "c"


def test_a_job_is_shown_with_its_error(terminal: Terminal) -> None:
    terminal.daemon.on(f"GET /v1/dead/{BATCH}.7", dead_job())

    done = terminal.run("dead", "show", f"{BATCH}.7")

    assert "record: records/7.txt" in done.stdout
    assert "attempt 4" in done.stdout
    assert "error: exit status 3: no such model\\nat line 1" in done.stdout
    assert f"buttermilkctl logs {BATCH}.7" in done.stderr
    assert terminal.json("dead", "show", f"{BATCH}.7") == dead_job()
    raw = terminal.run("dead", "show", f"{BATCH}.7", "--raw")
    assert (raw.returncode, raw.stdout) == (2, "")
    assert "it is a job, and no message" in raw.stderr


def test_a_message_cannot_steer_the_terminal(terminal: Terminal) -> None:
    data = b'{"a":\r\n\xff\x00\x1b[2J\xe2\x80\xae\xc3\xa9'
    terminal.daemon.on("GET /v1/dead/message-3", dead_message(data, attributes={"x\x1b": "y\n"}))

    done = terminal.run("dead", "show", "message-3")

    assert "reason: it is not JSON: \\x1b[2J" in done.stdout
    assert "message id: 1234" in done.stdout
    assert "attribute x\\x1b: y\\n" in done.stdout
    _, _, shown = done.stdout.partition("  18 bytes:\n")
    assert shown == '    {"a":\\r\n    \\xff\\x00\\x1b[2J\\u202eé\n'
    assert terminal.json("dead", "show", "message-3")["message_id"] == "1234"


def test_raw_writes_a_messages_bytes_and_nothing_else(terminal: Terminal) -> None:
    data = bytes(range(256)) * 100
    terminal.daemon.on("GET /v1/dead/message-3", dead_message(data))

    command = terminal.command("dead", "show", "message-3", "--raw")
    done = subprocess.run(command, env=terminal.environ, capture_output=True, check=True)

    assert (done.stdout, done.stderr) == (data, b"")
    shown = terminal.run("dead", "show", "message-3")
    assert len(shown.stdout) < 20_000
    assert "all of it: buttermilkctl dead show message-3 --raw" in shown.stderr
    assert terminal.run("dead", "show", "message-3", "--raw", "--json").returncode == 2


def test_requeue_goes_on_past_one_that_cannot_be_requeued(terminal: Terminal) -> None:
    outcomes = [outcome("message-3", "conflict"), outcome("message-4"), outcome(f"{BATCH}.7")]
    terminal.daemon.on("POST /v1/dead/requeue", {"outcomes": outcomes})

    done = terminal.run("dead", "requeue", "3", "message-4", "1a2b.7")

    assert done.returncode == 1
    assert done.stdout == f"message-4: published again\n{BATCH}.7: queued again\n"
    assert done.stderr == "error: cannot requeue message-3: because\nhint: do this\n"
    assert terminal.daemon.requests[0].document == {"ids": ["3", "message-4", "1a2b.7"]}
    assert terminal.json("dead", "requeue", "3", "4", code=1) == {"outcomes": outcomes}


def test_drop_has_the_exit_code_of_the_first_that_is_not_there(terminal: Terminal) -> None:
    outcomes = [outcome("b.1"), outcome("b.2", "not-found"), outcome("b.3", "conflict")]
    terminal.daemon.on("POST /v1/dead/drop", {"outcomes": outcomes})

    done = terminal.run("dead", "drop", "b.1", "b.2", "b.3")

    assert (done.returncode, done.stdout) == (5, "dropped b.1\n")
    assert done.stderr.count("error: ") == 2


def test_any_number_of_letters_is_named_in_requests_of_a_thousand(terminal: Terminal) -> None:
    def answer(request: Request) -> Answer:
        return Answer({"outcomes": [outcome(one) for one in request.document["ids"]]})

    terminal.daemon.on("POST /v1/dead/drop", answer)
    ids = [f"b.{n}" for n in range(1, 1102)]

    assert terminal.run("dead", "drop", *ids).stdout.splitlines() == [f"dropped {one}" for one in ids]
    assert [len(request.document["ids"]) for request in terminal.daemon.requests] == [1000, 101]


@pytest.mark.parametrize("arguments", [("dead",), ("dead", "requeue"), ("dead", "drop"), ("dead", "show")])
def test_a_command_line_without_what_it_needs_is_exit_code_2(
    terminal: Terminal, arguments: tuple[str, ...]
) -> None:
    assert terminal.run(*arguments).returncode == 2
    assert terminal.daemon.requests == []


def test_a_shell_completes_ids_of_dead_letters(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/dead", {"dead": [dead_message(), dead_job()], "next": None})
    asked = {"COMP_CWORD": "3", "_BUTTERMILKCTL_COMPLETE": "bash_complete"}
    for words, found in (("dead show mes", "plain,message-3"), ("dead drop batch-1", f"plain,{BATCH}.7")):
        done = terminal.run(**asked, COMP_WORDS=f"buttermilkctl {words}")
        assert done.stdout.split() == [found]

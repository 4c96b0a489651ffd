"""The command line among shells, terminals, pipes and older scripts."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stand_in import CREATED, FLOW, IDLE, STATUS, Answer, Hang, batch, ended_batch
from tests.integration.terminal import BATCH, Terminal, opened


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        yield terminal


def test_a_reader_that_has_seen_enough_is_no_error_to_speak_of(terminal: Terminal) -> None:
    line = json.dumps({"job_id": "x" * 1000}).encode() + b"\n"
    terminal.daemon.on(f"GET /v1/batches/{BATCH}/results", Answer([line] * 2000))
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with terminal.running("results", BATCH, **piped) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""


def test_on_a_terminal_tables_are_coloured_and_progress_is_live(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/batches", {"batches": [batch()], "next": None})
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch(waiting_for="2 websockets open"), ended_batch())

    assert "\x1b[36mrunning\x1b[0m" in terminal.typed("list")
    assert "\x1b[3" not in terminal.typed("list", "--color", "never")
    assert "\x1b[3" not in terminal.typed("list", NO_COLOR="1")
    live = terminal.typed("status", BATCH, "--follow")
    assert "40 %" in live
    assert "waiting: 2 websockets open" in live
    assert "100 %" in live
    assert re.search(r"\x1b\[\?25l.*\x1b\[\?25h", live, re.DOTALL), "the cursor is hidden and shown again"


def test_colour_can_be_forced_off_a_terminal(terminal: Terminal) -> None:
    done = terminal.run("--color", "always", "--socket", "none.sock", "status")

    assert done.stderr.startswith("\x1b[31m\x1b[1merror:\x1b[0m ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_calls_back_for_ids_and_flows(terminal: Terminal, shell: str) -> None:
    terminal.daemon.on("GET /v1/resolve", {"matches": [BATCH]})
    terminal.daemon.on("GET /v1/flows", {"flows": [FLOW]})

    script = terminal.run("completion", shell).stdout
    assert "_BUTTERMILKCTL_COMPLETE" in script
    assert f"{shell}_complete" in script

    asking = {"_BUTTERMILKCTL_COMPLETE": "bash_complete"}
    answer = terminal.run(COMP_WORDS="buttermilkctl status ba", COMP_CWORD="2", **asking)
    assert answer.stdout == f"plain,{BATCH}\n"
    answer = terminal.run(COMP_WORDS="buttermilkctl create su", COMP_CWORD="2", **asking)
    assert answer.stdout == "plain,summarise\n"


@pytest.mark.parametrize("reply", [Hang(), Answer(b"nonsense"), Answer({}), Answer({}, 500)])
def test_completion_fails_in_silence(terminal: Terminal, reply: Any) -> None:
    terminal.daemon.on("GET /v1/resolve", reply)

    done = terminal.run(
        _BUTTERMILKCTL_COMPLETE="bash_complete", COMP_WORDS="buttermilkctl status ba", COMP_CWORD="2"
    )

    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_doctor_names_what_is_wrong_and_the_mend(terminal: Terminal) -> None:
    terminal.daemon.on("GET /v1/status", STATUS)
    refused = {**IDLE["signals"][0], "name": "reporters", "state": "unknown", "reason": "one was refused"}
    terminal.daemon.on("GET /v1/idle", {**IDLE, "signals": [refused]})
    terminal.daemon.on(
        "GET /v1/flows", {"flows": [FLOW, {**FLOW, "name": "bad", "can_run": False, "problem": "gone"}]}
    )

    answer = terminal.json("doctor", code=1)

    checks = {check["subject"]: check for check in answer["checks"]}
    assert {name for name, check in checks.items() if not check["ok"]} == {
        "version",
        "web servers",
        "flow bad",
    }
    assert checks["web servers"]["detail"] == "one was refused"
    assert "systemctl restart buttermilkd" in checks["version"]["mend"]
    shown = terminal.run("doctor").stdout.splitlines()
    assert [line.split()[0] for line in shown].count("problem") == 3


def test_the_doctor_finds_a_daemon_that_is_gone_and_a_configuration_that_is_wrong(terminal: Terminal) -> None:
    (terminal.folder / "b.toml").write_text("[daemon]\nconcurency = 3\n")

    shown = terminal.run("--config", "b.toml", "--socket", "none.sock", "doctor").stdout

    assert re.search(r"problem configuration: .*b\.toml:2: daemon\.concurency: .*concurrency", shown)
    assert "problem daemon: cannot reach buttermilkd: none.sock" in shown


def test_the_older_command_line_is_understood(terminal: Terminal) -> None:
    (terminal.folder / "b.toml").write_text("")
    terminal.daemon.on("POST /v1/batches", CREATED)
    terminal.daemon.on("GET /v1/batches", {"batches": [batch()], "next": None})
    terminal.daemon.on(f"GET /v1/batches/{BATCH}", batch())
    receipt = {
        "id": BATCH,
        "dropped": 5,
        "stopped": 1,
        "killed": 0,
        "ended": 2,
        "summary": "5 dropped, 1 stopped",
    }
    terminal.daemon.on(f"POST /v1/batches/{BATCH}/cancel", receipt)

    def old(*overrides: str) -> str:
        done = terminal.run("-c", "b.toml", *overrides, module="buttermilkd.batch_cli")
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert f"created {BATCH}: 1,000 jobs" in old("flow=summarise", "run.batch.max_records=7")
    assert terminal.daemon.requests[0].document["limit"] == 7
    assert old("run.batch.command=list") == f"- {BATCH}: summarise - 40% - running\n"
    assert "Progress: 40% (400/1000)" in old("run.batch.command=status", f"run.batch.batch_id={BATCH}")
    assert "5 dropped" in old("run.batch.command=cancel", f"run.batch.batch_id={BATCH}")


def test_the_older_command_line_says_what_it_lacks(terminal: Terminal) -> None:
    for overrides, expected in (
        ([], "write flow=NAME"),
        (["run.batch.command=status"], "needs run.batch.batch_id"),
    ):
        done = terminal.run(*overrides, module="buttermilkd.batch_cli")
        assert done.returncode == 2
        assert expected in done.stderr

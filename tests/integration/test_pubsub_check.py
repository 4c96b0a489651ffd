"""``buttermilkd --check-queue``, and the doctor that runs it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator import Emulator
from tests.integration.terminal import Terminal, opened


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as one:
        (tmp_path / "b.toml").write_text(
            f'queue = "pubsub"\n[pubsub]\nproject = "test-{tmp_path.name[-12:].replace("_", "x")}"\n'
            '[flows.x]\ncommand = ["true"]\n'
        )
        yield one


def check_queue(terminal: Terminal, **environ: str) -> "subprocess.CompletedProcess[str]":
    return terminal.run("--config", "b.toml", "--check-queue", module="buttermilkd", **environ)


def test_the_daemon_prints_a_line_for_each_finding(terminal: Terminal, shared_emulator: Emulator) -> None:
    done = check_queue(terminal, **shared_emulator.environ)

    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert findings[0]["subject"] == "pubsub"
    assert all(set(one) == {"subject", "ok", "detail", "mend"} for one in findings)


def test_without_credentials_the_daemon_says_what_to_do(terminal: Terminal) -> None:
    done = check_queue(terminal, GOOGLE_APPLICATION_CREDENTIALS="/nowhere.json", PUBSUB_EMULATOR_HOST="")

    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("error: cannot use Pub/Sub: there are no credentials")
    assert "hint: gcloud auth application-default login" in done.stderr


def test_a_local_queue_needs_no_check(terminal: Terminal) -> None:
    (terminal.folder / "b.toml").write_text("")

    done = check_queue(terminal)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_doctor_shows_what_the_daemon_finds(terminal: Terminal, shared_emulator: Emulator) -> None:
    arguments = ("--config", "b.toml", "--socket", "none.sock", "doctor")
    shown = terminal.run(*arguments, **shared_emulator.environ).stdout
    assert "problem topic jobs: does not exist; gcloud pubsub topics create jobs" in shown
    assert "ok      round trip: a message came back" in shown

    shown = terminal.run(
        *arguments, GOOGLE_APPLICATION_CREDENTIALS="/nowhere.json", PUBSUB_EMULATOR_HOST=""
    ).stdout
    assert "problem pubsub: cannot use Pub/Sub: there are no credentials" in shown
    assert "; gcloud auth application-default login" in shown

    (terminal.folder / "b.toml").write_text("")
    assert "pubsub" not in terminal.run(*arguments).stdout
    assert sys.executable in terminal.run(*arguments).stdout

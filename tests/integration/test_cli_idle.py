"""``buttermilkctl idle``, as it looks on a terminal and elsewhere."""

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stand_in import HISTORY, IDLE, HangUp
from tests.integration.terminal import Terminal, opened


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        terminal.daemon.on("GET /v1/idle", IDLE)
        terminal.daemon.on("GET /v1/idle/history", HISTORY)
        yield terminal


def test_it_shows_the_verdict_its_times_its_means_and_every_signal(terminal: Terminal) -> None:
    shown = terminal.run("idle").stdout
    assert "busy: other processes use 62 % of CPU" in shown
    assert "suspended jobs resume in" in shown
    assert "new jobs start in" in shown
    assert "running jobs: 2 suspended (on_busy = suspend), 1 going on (on_busy = finish)" in shown
    assert "idle priority protects web servers: not proven: the jobs' group has weight 100" in shown
    assert "jobs are suspended by signals, since no group is delegated" in shown
    assert "62 % (back for 12 s of 30 s)  over 50 % for 10 s" in shown
    assert "io pressure  missing  this kernel does not tell it" in shown


def test_for_programs_it_is_one_document(terminal: Terminal) -> None:
    assert terminal.json("idle") == IDLE
    assert terminal.json("idle", "--history") == HISTORY


def test_on_a_terminal_it_is_a_table_in_colour(terminal: Terminal) -> None:
    shown = terminal.typed("idle")
    assert "\x1b[" in shown
    assert "over 50 % for 10 s" in shown


def test_history_is_a_timeline_with_its_legend_and_sums(terminal: Terminal) -> None:
    shown = terminal.run("idle", "--history", "--days", "2").stdout
    assert terminal.daemon.requests[-1].query == {"days": "2"}
    assert "█ jobs ran" in shown
    assert "R requests" in shown
    assert shown.splitlines()[-1] == "harvested 50.0 % of 30 min; 3 suspensions"


def test_where_blocks_cannot_be_written_it_does_without_them(terminal: Terminal) -> None:
    shown = terminal.run("idle", "--history", PYTHONIOENCODING="ascii").stdout
    assert "# jobs ran" in shown


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--watch", "--json"], "--watch never ends"),
        (["--watch", "--history"], "take one"),
        (["--set", "idle.quiet_for=1s"], "--set belongs to --replay"),
        (["--replay", "x", "--watch"], "take one"),
        (["--days", "3"], "--days belongs to --history"),
        (["--history", "--days", "99"], "99 is not in the range"),
    ],
)
def test_what_makes_no_sense_together_is_refused(terminal: Terminal, arguments: list[str], why: str) -> None:
    refused = terminal.run("idle", *arguments)
    assert refused.returncode == 2
    assert why in refused.stderr


def test_watching_prints_a_line_for_each_change_and_stays_when_the_daemon_restarts(
    terminal: Terminal,
) -> None:
    piped = {"stdout": subprocess.PIPE, "text": True, "environ": {"PYTHONUNBUFFERED": "1"}}
    with terminal.running("idle", "--watch", **piped) as watching:
        assert watching.stdout is not None
        assert "busy: other processes use 62 % of CPU" in watching.stdout.readline()
        terminal.daemon.on("GET /v1/idle", {**IDLE, "sentence": "busy: other processes use 70 % of CPU"})
        terminal.daemon.on(
            "GET /v1/idle", {**IDLE, "state": "idle", "cause": "idle", "sentence": "idle for 0.0 s"}
        )
        assert watching.stdout.readline().endswith("idle for 0.0 s\n")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 130


def test_watching_says_at_once_that_the_daemon_does_not_answer_and_goes_on_when_it_is_back(
    terminal: Terminal,
) -> None:
    piped = {"stdout": subprocess.PIPE, "text": True, "environ": {"PYTHONUNBUFFERED": "1"}}
    with terminal.running("idle", "--watch", **piped) as watching:
        assert watching.stdout is not None
        assert "62 % of CPU" in watching.stdout.readline()
        terminal.daemon.on("GET /v1/idle", HangUp(), HangUp(), IDLE)
        assert re.fullmatch(
            r"\d\d:\d\d:\d\d the daemon does not answer; waiting for it\n", watching.stdout.readline()
        )
        assert "62 % of CPU" in watching.stdout.readline()


def test_watching_on_a_terminal_dims_what_a_daemon_said_that_does_not_answer(terminal: Terminal) -> None:
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with terminal.running("idle", "--watch", environ={"COLUMNS": "120"}, **streams) as watching:
        os.close(theirs)
        read_until(ours, b"62 %")
        terminal.daemon.on("GET /v1/idle", HangUp())
        read_until(ours, b"the daemon does not answer; waiting for it")
        seen = read_until(ours, b"62 %")
        assert b"\x1b[2m" in seen
        terminal.daemon.on("GET /v1/idle", {**IDLE, "sentence": "idle for 3 min: no request so far"})
        read_until(ours, b"idle for 3 min")
        watching.send_signal(signal.SIGINT)
        drain(ours)
        assert watching.wait(30) == 130


def test_watching_where_no_daemon_runs_says_so_and_ends(terminal: Terminal) -> None:
    done = terminal.run("idle", "--watch", "--socket", str(terminal.folder / "none.sock"))
    assert done.returncode == 3
    assert "there is no such socket" in done.stderr


def test_watching_on_a_terminal_redraws_in_its_place(terminal: Terminal) -> None:
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with terminal.running("idle", "--watch", environ={"COLUMNS": "120"}, **streams) as watching:
        os.close(theirs)
        seen = read_until(ours, b"62 %")
        terminal.daemon.on("GET /v1/idle", {**IDLE, "sentence": "idle for 3 min: no request so far"})
        seen = read_until(ours, b"idle for 3 min")
        assert b"\x1b[1A" in seen  # up a line, to draw over it
        watching.send_signal(signal.SIGINT)
        drain(ours)
        assert watching.wait(30) == 130


def read_until(fd: int, text: bytes) -> bytes:
    seen = b""
    while text not in seen:
        seen += os.read(fd, 65536)
    return seen


def drain(fd: int) -> None:
    try:
        while os.read(fd, 65536):
            pass
    except OSError:
        """Its end, as Linux tells it of a terminal."""
    os.close(fd)


def test_a_daemon_that_knows_nothing_yet_says_so(terminal: Terminal) -> None:
    nothing: dict[str, Any] = {**HISTORY, "slices": [], "shares": []}
    terminal.daemon.on("GET /v1/idle/history", nothing)
    assert "nothing is known yet" in terminal.run("idle", "--history").stdout

"""Where a program's log goes is decided by where its standard error leads."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from buttermilkd.journal import Kind
from tests.journal_receiver import Receiver

PROGRAM = """
import logging, os, sys
from pathlib import Path
from buttermilkd.host.logs import logging_to
from buttermilkd.journal import Kind, about
status = os.fstat(2)
environ = dict(os.environ)
if "matching" in sys.argv:
    environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
elif "inherited" in sys.argv:
    environ["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino + 1}"
with logging_to(level="info", host="h", environ=environ, socket=Path(sys.argv[1])) as journal:
    log = logging.getLogger("buttermilkd.here")
    log.debug("in detail")
    log.info("said", extra=about("batch-1.2", Kind.JOB_FAILED))
    log.error("two\\nlines")
log.warning("afterwards")
print("journal" if journal else "stream")
"""


def run(socket: Path, *arguments: str) -> tuple[str, str]:
    """What the program says on standard output and standard error, which is a pipe."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(socket), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip(), done.stderr


def shown_on_a_terminal(socket: Path, environ: dict[str, str]) -> str:
    screen, terminal = pty.openpty()
    try:
        command = [sys.executable, "-c", PROGRAM, str(socket)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=terminal, env=environ, check=True)
        return os.read(screen, 65536).decode()
    finally:
        os.close(screen)
        os.close(terminal)


def test_into_the_journal_where_systemd_has_connected_standard_error_to_it(tmp_path: Path) -> None:
    with Receiver(tmp_path / "socket") as receiver:
        where, errors = run(receiver.path, "matching")
        said, lines = receiver.next(), receiver.next()
    assert where == "journal"
    assert (said["MESSAGE"], said["JOB_ID"], said["MESSAGE_ID"]) == ("said", "batch-1.2", Kind.JOB_FAILED)
    assert (lines["MESSAGE"], lines["PRIORITY"]) == ("two\nlines", "3")
    assert errors == "<4>buttermilkd.here: afterwards\n"


def test_with_priorities_on_the_stream_where_the_journals_socket_is_missing(tmp_path: Path) -> None:
    where, errors = run(tmp_path / "missing", "matching")
    assert where == "stream"
    assert errors.splitlines() == [
        "<6>buttermilkd.here: said",
        "<3>buttermilkd.here: two",
        "<3>lines",
        "<4>buttermilkd.here: afterwards",
    ]


@pytest.mark.parametrize("how", ["inherited", "not told"])
def test_plainly_where_standard_error_leads_elsewhere(tmp_path: Path, how: str) -> None:
    with Receiver(tmp_path / "socket") as receiver:
        where, errors = run(receiver.path, how)
        assert receiver.nothing_is_left()
    assert where == "stream"
    first, second, *_ = errors.splitlines()
    assert first.split(" ", 1)[1] == "INFO    buttermilkd.here: said"
    assert second.split(" ", 1)[1] == "ERROR   buttermilkd.here: two"
    assert "\033" not in errors


@pytest.mark.parametrize(
    ("variables", "colourful"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
    ],
)
def test_in_colours_on_a_terminal_that_has_them_unless_somebody_wants_none(
    tmp_path: Path, variables: dict[str, str], colourful: bool
) -> None:
    environ = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    shown = shown_on_a_terminal(tmp_path / "missing", {**environ, **variables})
    assert ("\033[31m" in shown) is colourful
    assert "buttermilkd.here: said" in shown

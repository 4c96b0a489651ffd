"""``buttermilkctl service`` as those meet it who installed with pip, as far as it needs no systemd."""

import configparser
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.terminal import Terminal, opened

BOOTED = Path("/run/systemd/system")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    with opened(tmp_path) as terminal:
        yield terminal


def test_all_units_are_printed_each_under_the_path_that_it_would_have(terminal: Terminal) -> None:
    shown = terminal.run("service", "print").stdout

    assert "# /etc/systemd/system/buttermilkd.service\n" in shown
    assert "# /etc/systemd/system/buttermilkd.socket\n" in shown
    users = terminal.run("service", "print", "--user").stdout
    assert f"# {terminal.folder}/.config/systemd/user/buttermilkd.service\n" in users


def test_one_unit_is_printed_as_it_would_be_written(terminal: Terminal) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, allow_no_value=True)
    unit.read_string(terminal.run("service", "print", "buttermilkd.service").stdout)

    program = Path(unit["Service"]["ExecStart"])
    assert program.name == "buttermilkd"
    assert os.access(program, os.X_OK)
    assert (
        terminal.json("service", "print", "google-key")["units"]["google-key"].count("LoadCredential=") == 1
    )


def test_a_unit_that_there_is_not_is_refused_with_those_that_there_are(terminal: Terminal) -> None:
    done = terminal.run("service", "print", "nosuch.service")

    assert done.returncode == 5
    assert "error: cannot print nosuch.service: there is no such unit" in done.stderr
    assert "buttermilkd.socket" in done.stderr


def test_a_dry_run_writes_nothing_and_can_be_read_by_a_program(terminal: Terminal) -> None:
    answer = terminal.json("service", "install", "--user", "--dry-run")

    steps = {step["subject"]: step["verb"] for step in answer["steps"]}
    assert steps[f"{terminal.folder}/.config/systemd/user/buttermilkd.service"] == "write"
    assert steps[f"{terminal.folder}/.local/share/man/man8/buttermilkd.8"] == "write"
    assert steps["systemctl --user daemon-reload"] == "run"
    assert "systemctl --user enable --now buttermilkd" in answer["next"]
    assert not (terminal.folder / ".config").exists()
    assert terminal.json("service", "uninstall", "--user", "--dry-run")["next"] == []


def test_without_systemd_nothing_is_written_and_it_is_said_why(terminal: Terminal) -> None:
    if BOOTED.exists():
        pytest.skip("systemd runs this machine")
    for verb in ("install", "uninstall"):
        done = terminal.run("service", verb, "--user")
        assert done.returncode == 1
        assert "error: cannot install services: systemd does not run this machine" in done.stderr
    assert not (terminal.folder / ".config").exists()

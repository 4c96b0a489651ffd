"""The man pages say all that ``--help`` and the commented configuration say, and say it in clean roff."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from buttermilkd.__main__ import main as daemon
from buttermilkd.cli.program import program
from buttermilkd.installation.plans import PAGES as INSTALLED
from buttermilkd.manual.pages import PAGES
from buttermilkd.manual.roff import escaped
from tests.parts import need
from tests.unit.test_conf_files import keys_of_models

WIDE = "500"
"""Columns: so wide that no line is broken."""


def shown(page: str, folder: Path) -> str:
    """The page as a reader sees it, without what makes it bold."""
    file = folder / page
    file.write_text(PAGES[page](), encoding="ascii")
    need(shutil.which("man"), "man")
    environ = {"MANWIDTH": WIDE, "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin", "MAN_KEEP_FORMATTING": ""}
    command = ["man", "--warnings", "--encoding=UTF-8", "--local-file", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return re.sub(r".\x08", "", done.stdout)


def commands(command: click.Command, path: str = "") -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield f"{path}{name}", inner
            yield from commands(inner, f"{path}{name} ")


def options(command: click.Command) -> Iterator[str]:
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from (*parameter.opts, *parameter.secondary_opts)


def test_what_is_installed_are_the_pages_that_there_are() -> None:
    assert set(INSTALLED) == set(PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_ascii_and_has_the_sections_that_readers_look_for(page: str, tmp_path: Path) -> None:
    text = shown(page, tmp_path)
    wanted = ["NAME", "DESCRIPTION", "FILES", "SEE ALSO"]
    if not page.endswith(".5"):
        wanted += ["SYNOPSIS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT"]
    assert set(wanted) <= set(re.findall(r"^([A-Z ]+)$", text, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_clean_to_the_formatters_that_are_here(page: str, tmp_path: Path) -> None:
    file = tmp_path / page
    file.write_text(PAGES[page]())
    linters = (["groff", "-ww", "-z", "-man"], ["mandoc", "-T", "lint", "-W", "warning"])
    present = [linter for linter in linters if shutil.which(linter[0])]
    need(present, "groff or mandoc")
    for linter in present:
        done = subprocess.run([*linter, str(file)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_command_and_every_option_of_buttermilkctl_is_explained(tmp_path: Path) -> None:
    text = shown("buttermilkctl.1", tmp_path)
    headings = re.findall(r"^   (\S.*)$", text, re.MULTILINE)
    for path, command in commands(program):
        assert [line for line in headings if line == path or line.startswith(f"{path} ")], path
        for option in options(command):
            assert re.search(rf"^ +(?:\S+, )*{option}\b|, {option}\b|/ {option}\b", text, re.MULTILINE), (
                option
            )
        for word in (command.help or "").replace("\b", "").split():
            assert word.replace("``", "") in text, (path, word)


def test_every_option_of_buttermilkd_is_explained(tmp_path: Path) -> None:
    text = shown("buttermilkd.8", tmp_path)
    found = set(options(daemon)) | {"-h", "--help"}
    assert found
    assert [option for option in found if not re.search(rf"(?:^ +|, ){option}\b", text, re.MULTILINE)] == []


def test_every_key_of_the_configuration_is_explained(tmp_path: Path) -> None:
    text = shown("buttermilkd.toml.5", tmp_path)
    assert set(re.findall(r"^ {7}([a-z_]+) = ", text, re.MULTILINE)) >= {
        key.rpartition(".")[2] for key in keys_of_models() if key not in ("activity.nginx", "activity.ports")
    }
    assert "[activity.nginx]" in text
    assert "[activity.ports]" in text


def test_each_key_has_words_of_its_own_or_follows_one_that_has(tmp_path: Path) -> None:
    text = shown("buttermilkd.toml.5", tmp_path)
    entries = re.findall(r"^ {7}([a-z_]+) = .*\n {14}\S", text, re.MULTILINE)
    alone = set(re.findall(r"^ {7}([a-z_]+) = ", text, re.MULTILINE)) - set(entries)
    # One sentence explains the four of a measure.
    assert {key for key in alone if not re.search(r"_(busy|busy_for|clear|clear_for)$", key)} == set()


@pytest.mark.parametrize("text", [".start", "'quoted", "a\\b", "-x --yes", "…", "`x`", '"', "^~"])
def test_any_text_means_itself(text: str, tmp_path: Path) -> None:
    need(shutil.which("man"), "man")
    file = tmp_path / "x.1"
    file.write_text(f".TH X 1\n.SH NAME\nx\n.SH TEXT\n{escaped(text)}\n", encoding="ascii")
    command = ["man", "--warnings", "--local-file", str(file)]
    environ = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False)
    assert done.stderr == ""
    assert text in [line.strip() for line in re.sub(r".\x08", "", done.stdout).splitlines()]


def test_the_program_prints_a_page_and_refuses_what_is_none() -> None:
    command = [sys.executable, "-m", "buttermilkd.manual"]
    good = subprocess.run([*command, "buttermilkd.8"], capture_output=True, text=True, check=True)
    assert good.stdout == PAGES["buttermilkd.8"]()
    bad = subprocess.run([*command, "other.1"], capture_output=True, text=True, check=False)
    assert bad.returncode == 1
    assert "usage: python -m buttermilkd.manual" in bad.stderr

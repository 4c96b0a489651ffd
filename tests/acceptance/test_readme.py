"""The README's commands, run one after the other as a reader would, in a folder with the README's own files."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buttermilkd.config.load import load
from tests.acceptance.program import IDLE_AT_ONCE, Daemon

README = (Path(__file__).parents[2] / "README.md").read_text()

PRELUDE = """
set -u
trap 'kill %1 && wait %1' EXIT
run() {
    printf '$ %s\\n' "$1"
    eval "$1" || { status=$?; printf 'exit status %s\\n' "$status"; exit "$status"; }
}
until_ready() { for _ in {1..300}; do [[ -S run/control.sock ]] && return; sleep 0.1; done; return 1; }
"""


def blocks(language: str) -> list[str]:
    """The contents of the README's fenced blocks in this language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    lines = "".join(blocks("console")).splitlines()
    found = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    # A reader without curl can do without it as well.
    return (
        found if shutil.which("curl") else [command for command in found if not command.startswith("curl ")]
    )


def session() -> str:
    """All commands as one program for a shell, which ends at the first that fails."""
    steps = [
        f"{command.removesuffix(' &')} >daemon.log 2>&1 &\nuntil_ready"
        if command.endswith(" &")
        else f"run {shlex.quote(command)}"
        for command in commands()
    ]
    return PRELUDE + "\n".join(steps) + "\n"


@pytest.mark.timeout(120)
def test_every_command_of_the_readme_succeeds(daemon: Daemon) -> None:
    daemon.config.write_text(blocks("toml")[0] + IDLE_AT_ONCE)
    for source in blocks("python"):
        name = source.partition("\n")[0].removeprefix("# ")
        (daemon.folder / name).write_text(source)
    programs = f"{sys.prefix}/bin:{os.environ['PATH']}"

    finished = subprocess.run(
        ["bash", "-c", session()],
        cwd=daemon.folder,
        env=daemon.environment | {"PATH": programs, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    unseen = [command for command in commands() if f"$ {command}\n" not in finished.stdout]
    assert unseen == ["buttermilkd --record trace.jsonl &"]


@pytest.mark.parametrize("text", blocks("toml"))
def test_every_configuration_of_the_readme_is_good(text: str, tmp_path: Path) -> None:
    file = tmp_path / "buttermilkd.toml"
    file.write_text(text)

    assert load(file, {"HOME": str(tmp_path)}).daemon.concurrency == 2


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)

    assert links
    assert [link for link in links if not (Path(__file__).parents[2] / link).is_file()] == []

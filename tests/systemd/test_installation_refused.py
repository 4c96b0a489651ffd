"""Where an installation cannot be: the scripts say why, how to mend it, and have done nothing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.parts import need
from tests.systemd.system import CHECKOUT

INSTALL = str(CHECKOUT / "scripts/install")
UNINSTALL = str(CHECKOUT / "scripts/uninstall")


def refusal(command: Sequence[str], **environ: str) -> list[str]:
    """The two lines of a command that must fail."""
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environ}, check=False, cwd="/"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def interpreter(folder: Path, text: str) -> Path:
    program = folder / "python3"
    program.write_text(text)
    program.chmod(0o755)
    return program


def test_who_is_not_root_is_told_so() -> None:
    # Nobody by name, who still reads what these tests may read.
    nobody = ["unshare", "--user"] if os.geteuid() == 0 else []
    need(subprocess.run([*nobody, "true"], check=False).returncode == 0, "user namespaces")
    error, hint = refusal([*nobody, INSTALL, "--python", "/usr/bin/python3"])
    assert error == "error: cannot install: not root"
    assert hint.startswith(f"hint: sudo {INSTALL}")
    assert refusal([*nobody, UNINSTALL])[0] == "error: cannot uninstall: not root"


@pytest.mark.needs_root
def test_a_machine_that_systemd_does_not_run_is_told_of() -> None:
    need(os.geteuid() == 0, "root, to hide systemd")
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$0" "$@"']
    need(subprocess.run([*hidden, "true"], check=False).returncode == 0, "mount namespaces")
    error, hint = refusal([*hidden, INSTALL, "--python", "/usr/bin/python3"])
    assert error == "error: cannot install: systemd does not run this machine"
    assert hint.startswith("hint: ")


def test_an_interpreter_that_is_too_old_or_none_is_told_of(tmp_path: Path) -> None:
    old = interpreter(tmp_path, "#!/bin/sh\nexit 1\n")
    assert (
        refusal([INSTALL, "--python", str(old)])[0]
        == f"error: cannot install: {old} is no Python 3.11 or later"
    )
    bash = shutil.which("bash")
    assert bash is not None
    # A machine that has none at all: the tools that the script needs are there, and no interpreter.
    for tool in ("bash", "dirname", "env", "id"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    error, hint = refusal([bash, INSTALL], PATH=str(tmp_path))
    assert error == "error: cannot install: no Python 3.11 or later was found"
    assert "apt-get install python3" in hint


def test_an_interpreter_that_services_cannot_see_is_told_of(tmp_path: Path) -> None:
    hidden = interpreter(tmp_path, f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    need(
        str(Path(sys.executable).resolve()).startswith(("/root", "/home", "/tmp")),
        "an interpreter that is hidden",
    )
    error, hint = refusal([INSTALL, "--dry-run", "--python", str(hidden)])
    assert "which is hidden from services" in error
    assert hint == "hint: name one for all users, such as --python /usr/bin/python3"


@pytest.mark.parametrize("script", [INSTALL, UNINSTALL])
def test_an_option_that_there_is_not_is_told_of(script: str) -> None:
    name = Path(script).name
    assert refusal([script, "--bogus"]) == [
        f"error: cannot {name}: there is no option --bogus",
        f"hint: scripts/{name} --help",
    ]


@pytest.mark.parametrize("script", [INSTALL, UNINSTALL])
def test_help_shows_every_option(script: str) -> None:
    text = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert f"sudo scripts/{Path(script).name} [" in text
    assert "\n  --dry-run" in text
    assert "set -euo" not in text

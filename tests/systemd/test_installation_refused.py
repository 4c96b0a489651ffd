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


def interpreter(folder: Path, text: str, name: str = "python3") -> Path:
    program = folder / name
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


def test_a_damaged_installation_is_removed_by_any_interpreter_that_is_new_enough(tmp_path: Path) -> None:
    interpreter(tmp_path, "#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.11").symlink_to(
        interpreter(tmp_path, f'#!/bin/sh\nexec {sys.executable} "$@"\n', "newer")
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    # Nothing is installed here, as after the loss of its programs.
    need(not Path("/opt/buttermilkd").exists(), "a machine without an installation of its own")
    done = subprocess.run(
        [UNINSTALL, "--dry-run"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_without_such_an_interpreter_it_is_told_what_to_do(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash is not None
    for tool in ("bash", "dirname", "env", "id"):
        (tmp_path / tool).symlink_to(str(shutil.which(tool)))
    error, hint = refusal([bash, UNINSTALL, "--dry-run"], PATH=str(tmp_path))
    assert error == "error: cannot uninstall: no Python 3.11 or later was found"
    assert "apt-get install python3" in hint


MADE = r"""
source <(sed -e '/^read_options "\$@"$/,$d' -e '/^cd /d' -e "s|^readonly base=.*|readonly base=$2|" "$1")
python=$2/python pubsub=yes
pip() { [[ $1 == install ]] || : >"$environment/wheel/buttermilkd-1-py3-none-any.whl"; }
mv() { [[ $2 != "$stop_at" ]] || exit 9; command mv "$@"; }
stop_at=$3
make_environment
"""
"""Runs the script's own step, which makes an environment, up to the moment at which it is put into use."""
PYTHON = r"""#!/bin/sh
[ "$2" != venv ] || { mkdir -p "$3/bin" "$3/wheel" && printf '#!/bin/sh\n' >"$3/bin/buttermilkd" && chmod +x "$3/bin/buttermilkd"; }
"""


def test_a_version_that_is_in_use_remembers_from_its_first_moment_that_it_is_to_have_pubsub(
    tmp_path: Path,
) -> None:
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    current = tmp_path / "current"

    def made(stop_at: str) -> int:
        words = ["bash", "-c", MADE, "bash", INSTALL, str(tmp_path), stop_at]
        return subprocess.run(words, capture_output=True, check=False).returncode

    assert made(stop_at=str(tmp_path / ".current")) == 9
    (environment,) = tmp_path.glob("env.*")
    assert not current.exists()
    assert (environment / ".with-pubsub").exists()
    assert made(stop_at="") == 0
    assert (current / ".with-pubsub").exists()

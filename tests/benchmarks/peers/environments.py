"""Environments of the other queues, below .cache, made when they are missing."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.benchmarks.peers.catalogue import ENVIRONMENTS
from tests.benchmarks.table import say

ROOT = Path(__file__).parents[3]
_FOLDER = ROOT / ".cache" / "peers"
_PATIENCE = 300.0


class UnavailableError(Exception):
    """A reference cannot be run here; the message says why."""


@cache
def programs(name: str) -> Path:
    """The folder of programs in this environment.

    Raises:
        UnavailableError: it is missing and could not be made.
    """
    folder = _FOLDER / name
    stamp = folder / ".made-of"
    made_of = "\n".join([str(folder), sys.version, *ENVIRONMENTS[name]])
    if not stamp.exists() or stamp.read_text() != made_of:
        say(f"# making an environment: {' '.join(ENVIRONMENTS[name])}")
        _run(sys.executable, "-m", "venv", "--clear", str(folder))
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        _run(*pip, *ENVIRONMENTS[name])
        stamp.write_text(made_of)
    return folder / "bin"


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.CalledProcessError as error:
        why = (error.stderr or error.stdout).strip().rpartition("\n")[2]
        raise UnavailableError(f"its environment cannot be made: {why}") from error
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(f"its environment was not made within {_PATIENCE:.0f} s") from error


def version(name: str, package: str) -> str:
    """Of a package in this environment."""
    command = f"from importlib.metadata import version; print(version({package!r}))"
    return subprocess.run(
        [programs(name) / "python", "-c", command], check=True, capture_output=True, text=True
    ).stdout.strip()

"""Everything that an installation takes from a registry of packages, in a folder: a box has no network."""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

from tests.parts import need
from tests.systemd.system import CHECKOUT

_BUILDS = ("hatchling>=1.27",)
"""What the project itself is built with."""
_PATIENCE = 600


def wheels() -> Path:
    """The folder, filled once for each state of ``pyproject.toml`` and each interpreter."""
    text = (CHECKOUT / "pyproject.toml").read_bytes()
    stamp = hashlib.sha256(text + sys.version.encode()).hexdigest()[:16]
    folder = CHECKOUT / ".cache" / f"wheels-{stamp}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / ".whole"
        if not done.exists():
            need(_collected(folder), "a registry of Python packages, or pip")
            # Of the project itself, each test builds what the checkout holds at that time.
            for own in folder.glob("buttermilkd-*.whl"):
                own.unlink()
            done.touch()
    return folder


def _collected(folder: Path) -> bool:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--wheel-dir",
        str(folder),
        str(CHECKOUT),
        *_BUILDS,
    ]
    return subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False).returncode == 0

"""A systemd of the tests' own, in a box that ``systemd-box`` boots and takes away again."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.parts import need
from tests.systemd.patience import PATIENCE
from tests.systemd.system import Systemd, places

TOOL = str(Path(__file__).with_name("systemd-box"))
_READY = 'chmod a+x "$@" && echo ready && exec cat'
"""Everybody may then pass to the interpreter and the checkout; the end of the box's input is the box's end."""
_CANNOT = 125
"""The exit status by which ``systemd-box`` says that this machine gives it no box."""


@contextmanager
def booted(*options: str) -> Iterator[Systemd]:
    """One in a box, for as long as this lasts. ``options`` are those of ``systemd-box run``."""
    need(os.geteuid() == 0, "root, which alone may boot a systemd in a box")
    binds = [word for place in places() for word in ("--bind-ro", str(place))]
    passable = {str(folder) for place in places() for folder in place.parents} - {"/"}
    command = [TOOL, "run", *options, *binds, "--", "sh", "-c", _READY, "sh", *sorted(passable)]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, cwd="/"
        ) as box,
    ):
        assert box.stdin is not None
        assert box.stdout is not None
        if box.stdout.readline() != "ready\n":
            status = box.wait(PATIENCE)
            errors.seek(0)
            problem = errors.read().strip()
            need(status != _CANNOT, f"a systemd in a box, which scripts/packages installs ({problem})")
            pytest.fail(problem)
        try:
            init = Path(f"/run/systemd-box.{box.pid}/pid").read_text().strip()
            yield Systemd((TOOL, "enter", str(box.pid)), Path(f"/proc/{init}/root"))
        finally:
            box.stdin.close()
            box.wait(PATIENCE)

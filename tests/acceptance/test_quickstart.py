"""``scripts/quickstart``, in the environment that runs the tests: nothing is installed."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buttermilkd.examples import modules
from tests.acceptance.program import processes_with, until

QUICKSTART = Path(__file__).parents[2] / "scripts" / "quickstart"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the script makes its own folder. Not tmp_path: a Unix socket's path may have no more than 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="buttermilkd-"))
    yield folder
    until(lambda: not processes_with(str(folder)), "the end of every process of the quickstart")
    shutil.rmtree(folder)


def start(folder: Path) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUTTERMILKD_")}
    return subprocess.Popen(
        [QUICKSTART],
        env=kept | {"BUTTERMILKD_ENVIRONMENT": sys.prefix, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.mark.timeout(180)
def test_the_quickstart_profiles_every_module_and_leaves_nothing_behind(folder: Path) -> None:
    process = start(folder)
    output, _ = process.communicate()

    assert process.returncode == 0, output
    records = len(modules.names())
    assert f"created quickstart: {records} jobs of profile" in output
    assert re.search(rf"^modules +{records}$", output, re.MULTILINE), output
    for command in ("flows", "status", "jobs quickstart", "logs quickstart.1", "results quickstart"):
        assert f"$ buttermilkctl {command}" in output
    assert list(folder.iterdir()) == []
    assert processes_with(str(folder)) == []


@pytest.mark.timeout(180)
def test_the_quickstart_interrupted_halfway_leaves_nothing_behind(folder: Path) -> None:
    process = start(folder)
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.startswith("created quickstart"):
            break
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    output, _ = process.communicate()

    assert process.returncode == 128 + signal.SIGINT, output
    assert "summary" not in output
    assert list(folder.iterdir()) == []
    assert processes_with(str(folder)) == []

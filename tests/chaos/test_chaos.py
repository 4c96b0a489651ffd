"""Short runs of what ``scripts/chaos`` does for hours."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.victim import ROOT
from tests.emulator import emulator

LONGEST = 240.0
"""Seconds; most of it is patience with a machine that is busy with other tests."""


def chaos(folder: Path, *arguments: str) -> dict[str, Any]:
    """What a run has found. It has a process of its own, since it mounts a disk for itself."""
    output = folder / "report.json"
    command = [sys.executable, "-m", "tests.chaos", "--output", str(output), *arguments]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as run:
        try:
            said, _ = run.communicate(timeout=LONGEST)
        except BaseException:
            os.killpg(run.pid, signal.SIGKILL)
            raise
    assert run.returncode == 0, said
    report = json.loads(output.read_text())
    if os.environ.get("CI"):
        assert report["missing"] == []
    return dict(report)


@pytest.mark.timeout(LONGEST + 30)
def test_kills_within_a_batch_lose_no_job_and_repeat_at_most_what_ran(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    report = chaos(tmp_path, "--seed", "1", "--kills", "8", "--jobs", "80")
    figures = report["figures"]
    assert (report["lost"], report["findings"]) == (0, [])
    assert figures["executions"] >= figures["jobs"] == 80
    assert figures["repeated"] <= figures["in flight at ends of the daemon"] <= 9 * 4
    record_property(
        "figure", f"8 kills in a batch of 80 jobs: {figures['repeated']} ran twice, none was lost"
    )


@pytest.mark.timeout(LONGEST + 30)
def test_a_mixture_of_faults_costs_no_job(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    report = chaos(tmp_path, "--seed", "8", "--faults", "6")
    assert report["findings"] == []
    assert sum(report["faults"].values()) == 6
    record_property("figure", f"faults that cost no job: {', '.join(report['faults'])}")


@pytest.mark.timeout(LONGEST + 30)
def test_a_mixture_of_faults_costs_no_job_of_a_queue_at_pubsub(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("--matrix"):
        pytest.skip("takes half a minute and more: --matrix runs it")
    with emulator():  # skips where it is not installed
        pass
    report = chaos(tmp_path, "--seed", "3", "--faults", "10", "--queue", "pubsub")
    assert report["findings"] == []

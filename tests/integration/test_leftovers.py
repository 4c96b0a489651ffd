"""What a launcher has left that was killed with its daemon is found by its mark, and by nothing else."""

import os
import subprocess
from pathlib import Path

import pytest

from buttermilkd.runner.launcher.leftovers import end_leftovers, note
from buttermilkd.runner.launcher.processes import MARK


def marked(mark: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["sleep", "4321"], env=os.environ | {MARK: mark})


def test_what_carries_the_mark_is_gone_afterwards_and_nothing_else(tmp_path: Path) -> None:
    mark = f"mark{os.getpid()}"
    with marked(f"{mark}.1") as left, marked(f"{mark}0.1") as other:
        try:
            note(tmp_path / "launcher", mark)
            end_leftovers(tmp_path / "launcher")
            assert left.wait(30) == -9
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_file_that_is_missing_empty_or_damaged_means_nothing(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "launcher").write_bytes(content)
    end_leftovers(tmp_path / "launcher")


def test_a_disk_that_takes_no_mark_keeps_no_launcher_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note(tmp_path / "missing" / "launcher", "mark")
    assert "what a crash leaves may not be found" in caplog.text

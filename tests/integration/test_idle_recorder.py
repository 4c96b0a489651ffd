"""Recording what the policy saw, to real files."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from buttermilkd.errors import StorageError
from buttermilkd.idle.gate import Look
from buttermilkd.idle.recorder import Recorder
from buttermilkd.idle.trace import Seen, Start, read
from buttermilkd.testing import HandMovedClock
from tests.unit.idle_watch import RULES, Watch


def look(clock: HandMovedClock) -> Look:
    watch = Watch()
    verdict = watch.see()
    assert watch.sample is not None
    return Look(watch.sample, clock.monotonic(), watch.actions[-1], verdict)


@pytest.fixture
def recording(tmp_path: Path, clock: HandMovedClock) -> Callable[[], Recorder]:
    return lambda: Recorder(tmp_path / "trace.jsonl", RULES.written(), clock)


async def test_each_start_adds_a_run_to_the_file(
    recording: Callable[[], Recorder], tmp_path: Path, clock: HandMovedClock
) -> None:
    for _ in range(2):
        recorder = recording()
        recorder.note(look(clock))
        await recorder.flush()
        await recorder.flush()
    with (tmp_path / "trace.jsonl").open() as lines:
        assert [type(one) for one in read(lines)] == [Start, Seen, Start, Seen]
    assert (tmp_path / "trace.jsonl").stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_written_is_refused_at_once(tmp_path: Path, clock: HandMovedClock) -> None:
    with pytest.raises(StorageError, match="Is a directory"):
        Recorder(tmp_path, RULES.written(), clock)
    with pytest.raises(StorageError, match="No space left on device"):
        Recorder(Path("/dev/full"), RULES.written(), clock)


async def test_a_full_disk_ends_the_recording_and_nothing_else(
    recording: Callable[[], Recorder],
    tmp_path: Path,
    clock: HandMovedClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = recording()
    (tmp_path / "trace.jsonl").unlink()
    (tmp_path / "trace.jsonl").symlink_to("/dev/full")
    recorder.note(look(clock))
    with caplog.at_level(logging.ERROR):
        await recorder.flush()
    assert "trace.jsonl has ended: No space left on device" in caplog.text
    recorder.note(look(clock))
    await recorder.flush()
    assert caplog.text.count("has ended") == 1

"""Recording what the policy saw, to real files."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from buttermilkd.errors import StorageError
from buttermilkd.idle import recorder as recorder_module
from buttermilkd.idle.gate import Look
from buttermilkd.idle.recorder import Recorder
from buttermilkd.idle.trace import Seen, Start, read
from buttermilkd.testing import HandMovedClock, settle_loop
from tests.unit.idle_watch import RULES, Watch, rules


def look(clock: HandMovedClock) -> Look:
    watch = Watch()
    verdict = watch.see()
    assert watch.sample is not None
    return Look(watch.sample, clock.monotonic(), watch.actions[-1], verdict)


@pytest.fixture
def recording(tmp_path: Path, clock: HandMovedClock) -> Callable[[], Recorder]:
    return lambda: Recorder(tmp_path / "trace.jsonl", RULES, clock)


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
        Recorder(tmp_path, RULES, clock)
    with pytest.raises(StorageError, match="No space left on device"):
        Recorder(Path("/dev/full"), RULES, clock)


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


def times(file: Path) -> list[float | None]:
    """When each look was, in seconds since its run began; None for the beginning of a run."""
    with file.open() as lines:
        return [one.now if isinstance(one, Seen) else None for one in read(lines)]


async def test_a_line_that_a_dead_daemon_left_unfinished_costs_no_other(
    recording: Callable[[], Recorder], tmp_path: Path, clock: HandMovedClock
) -> None:
    file = tmp_path / "trace.jsonl"
    recorder = recording()
    for _ in range(2):
        await clock.advance(1)
        recorder.note(look(clock))
    await recorder.flush()
    file.write_bytes(file.read_bytes()[:-10])
    recorder = recording()
    recorder.note(look(clock))
    await recorder.flush()
    assert times(file) == [None, 0.0, None, 0.0]


async def test_a_file_that_is_moved_away_is_followed_by_one_that_can_be_read(
    recording: Callable[[], Recorder], tmp_path: Path, clock: HandMovedClock
) -> None:
    file = tmp_path / "trace.jsonl"
    recorder = recording()
    for name in ("first", "second"):
        for _ in range(2):
            recorder.note(look(clock))
            await clock.advance(1)
        await recorder.flush()
        file.rename(tmp_path / name)
    assert times(tmp_path / "first") == times(tmp_path / "second") == [None, 0.0, 1.0]


async def test_what_is_no_recording_is_never_written_to(tmp_path: Path, clock: HandMovedClock) -> None:
    file = tmp_path / "buttermilkd.toml"
    file.write_text('queue = "local"\n')
    with pytest.raises(StorageError, match="it holds something that is no recording"):
        Recorder(file, RULES, clock)
    assert file.read_text() == 'queue = "local"\n'


async def test_a_write_that_is_under_way_when_the_daemon_stops_comes_first(
    recording: Callable[[], Recorder],
    tmp_path: Path,
    clock: HandMovedClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = recording()
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: str, flags: int) -> int:
        monkeypatch.undo()
        begun.set()
        go_on.wait()
        return os.open(path, flags)

    monkeypatch.setattr(recorder_module, "_private", slow)
    running = asyncio.ensure_future(recorder.run())
    recorder.note(look(clock))
    await clock.advance(5)
    await asyncio.to_thread(begun.wait)
    recorder.note(look(clock))
    running.cancel()
    last = asyncio.ensure_future(recorder.flush())
    await settle_loop()
    go_on.set()
    await last
    assert times(tmp_path / "trace.jsonl") == [None, 0.0, 5.0]


async def test_other_settings_begin_a_run_of_their_own_behind_what_was_seen_before(
    recording: Callable[[], Recorder], tmp_path: Path, clock: HandMovedClock
) -> None:
    recorder = recording()
    recorder.note(look(clock))
    recorder.reconfigure(RULES)  # the same: nothing begins
    recorder.note(look(clock))
    recorder.reconfigure(rules(quiet_for=7.0))
    recorder.note(look(clock))
    await recorder.flush()
    with (tmp_path / "trace.jsonl").open() as lines:
        runs = list(read(lines))
    assert [type(one) for one in runs] == [Start, Seen, Seen, Start, Seen]
    assert [one.settings["quiet_for"] for one in runs if isinstance(one, Start)] == ["60s", "7s"]

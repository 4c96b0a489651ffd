"""Golden traces: recorded once, decided the same ever since. After an intended change: python -m tests.golden.scenes."""

import pytest

from tests.golden.scenes import FOLDER, SCENES, decided, trace_of


@pytest.mark.parametrize("name", SCENES)
def test_what_is_decided_on_a_recorded_trace_stays_the_same(name: str) -> None:
    trace = (FOLDER / f"{name}.jsonl").read_text()
    assert decided(trace) == (FOLDER / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", SCENES)
def test_the_recording_shows_the_scene(name: str) -> None:
    assert trace_of(SCENES[name]()) == (FOLDER / f"{name}.jsonl").read_text()


def test_no_recording_is_left_without_its_scene() -> None:
    assert {file.stem for file in FOLDER.glob("*.jsonl")} == set(SCENES)
    assert {file.stem for file in FOLDER.glob("*.txt")} == set(SCENES)

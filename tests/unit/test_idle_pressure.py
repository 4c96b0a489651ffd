"""Pressure, from files that look like the kernel's."""

from pathlib import Path

import pytest

from buttermilkd.idle.load.pressure import PressureMeter, Stall, read_stall


class Told:
    """A pressure file whose numbers the test moves."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def say(self, average: float, seconds: float) -> None:
        numbers = f"avg10={average:.2f} avg60=0.00 avg300=0.00 total={round(seconds * 1e6)}"
        self.file.write_text(f"some {numbers}\nfull avg10=1.50 avg60=0.00 avg300=0.00 total=7000000\n")


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "cpu.pressure")


def test_a_line_gives_the_kernels_average_and_the_total(told: Told) -> None:
    told.say(12.5, 3.25)
    assert read_stall(told.file, "some") == Stall(0.125, 3.25)
    assert read_stall(told.file, "full") == Stall(0.015, 7.0)


def test_a_file_that_is_not_there_or_empty_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert read_stall(tmp_path / "missing", "some") is None
    assert read_stall(tmp_path / "empty", "some") is None


def test_until_there_are_ten_seconds_to_look_back_on_the_kernels_average_counts(told: Told) -> None:
    meter = PressureMeter(told.file, "some")
    told.say(40, 100)
    assert meter.share(0) == 0.4
    told.say(30, 100)
    assert meter.share(9) == 0.3


def test_then_it_is_the_share_of_the_last_ten_seconds(told: Told) -> None:
    meter = PressureMeter(told.file, "some")
    for second in range(31):
        told.say(40, 100 if second <= 20 else 100 + (second - 20) * 0.5)
        share = meter.share(second)
        assert share == pytest.approx(0.4 if second < 10 else max(0.0, (second - 20) * 0.05))


def test_a_stall_is_seen_before_the_kernels_average_shows_it(told: Told) -> None:
    meter = PressureMeter(told.file, "some")
    told.say(0, 100)
    meter.share(0)
    meter.share(10)
    told.say(2, 101.2)
    assert meter.share(10.5) == pytest.approx(1.2 / 10.5, abs=1e-4)


def test_a_total_that_goes_back_begins_anew(told: Told) -> None:
    meter = PressureMeter(told.file, "some")
    for second in range(12):
        told.say(0, 100)
        meter.share(second)
    told.say(3, 0)
    assert meter.share(12) == 0.03


def test_when_the_file_goes_away_nothing_is_known_and_later_it_begins_anew(told: Told) -> None:
    meter = PressureMeter(told.file, "some")
    told.say(0, 100)
    meter.share(0)
    told.file.unlink()
    assert meter.share(10) is None
    told.say(7, 200)
    assert meter.share(20) == 0.07

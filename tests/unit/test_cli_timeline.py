"""The timeline of ``buttermilkctl idle --history``."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from buttermilkd.cli.timeline import timeline
from buttermilkd.idle.history import QUARTER, Slice, history_view
from buttermilkd.messages import HistoryView

MIDNIGHT = datetime(2026, 11, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def slices(hour: float, state: str, cause: str, hours: float, *, harvested: float = 0.0) -> list[Slice]:
    start = MIDNIGHT + timedelta(hours=hour)
    quarters = round(hours * 4)
    return [
        Slice(
            round((start + timedelta(seconds=n * QUARTER)).timestamp()),
            state,
            cause,
            QUARTER,
            QUARTER * harvested,
        )
        for n in range(quarters)
    ]


def view(*parts: list[Slice]) -> HistoryView:
    since = MIDNIGHT.timestamp()
    return history_view([one for part in parts for one in part], since, since + 2 * 86_400)


def test_a_day_is_a_line_of_half_hours_and_each_shows_what_most_of_it_went_to() -> None:
    lines = timeline(
        view(
            slices(0, "idle", "idle", 8, harvested=1.0),
            slices(8, "busy", "requests", 4),
            slices(12, "cooling", "requests", 1),
            slices(13, "idle", "idle", 3),
            slices(16, "held", "schedule", 2),
            slices(18, "unknown", "reporters", 0.5),
        ),
        blocks=True,
    )
    assert lines[0] == "            00    03    06    09    12    15    18    21"
    plain = lines[1].replace("\x1b[0m", "")
    assert plain.startswith("Mon 23 Nov  ")
    shown = "".join(part.partition("m")[2] or part for part in plain[12:].split("\x1b["))
    assert shown == "█" * 16 + "R" * 8 + "r" * 2 + "░" * 6 + "X" * 4 + "?"


def test_a_day_of_which_nothing_is_known_is_an_empty_line() -> None:
    lines = timeline(view(slices(1, "idle", "idle", 1), slices(49, "idle", "idle", 1)), blocks=False)
    assert [line.split("  ")[0] for line in lines[1:4]] == ["Mon 23 Nov", "Tue 24 Nov", "Wed 25 Nov"]
    assert lines[2].strip() == "Tue 24 Nov"


def test_the_legend_tells_everything_that_time_went_to_most_first() -> None:
    lines = timeline(
        view(slices(0, "idle", "idle", 6, harvested=0.5), slices(6, "busy", "cpu", 4)), blocks=False
    )
    legend = [line.split("  ")[0] for line in lines if "%" in line][:3]
    assert [" ".join(line.split()[-5:]) for line in legend] == [
        "\x1b[31mC\x1b[0m CPU used by others",
        "\x1b[32m#\x1b[0m jobs ran",
        "\x1b[36m.\x1b[0m idle, nothing to run",
    ]
    assert (
        lines[-1] == "harvested 30.0 % of 10 h 0 min; 0 suspensions, 0.00 an hour, at most 0 within one hour"
    )

"""The timeline of ``buttermilkctl idle --history``."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import click
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


def labels(lines: list[str]) -> list[str]:
    """What stands before the days, without the hours."""
    return [line[:12].strip() for line in lines[1 : lines.index("")]]


def test_days_of_which_nothing_is_known_are_one_line_of_dots() -> None:
    known = view(*(slices(24 * day + 1, "idle", "idle", 1) for day in (0, 1, 3, 9)))
    assert labels(timeline(known, blocks=True)) == [
        "Mon 23 Nov",
        "Tue 24 Nov",
        "…",
        "Thu 26 Nov",
        "…",
        "Wed 02 Dec",
    ]


def test_a_clock_that_was_set_leaves_no_years_of_lines() -> None:
    known = view([Slice(0, "unknown", "clock", 60.0)], slices(1, "idle", "idle", 1))
    assert labels(timeline(known, blocks=False)) == ["01 Jan 1970", "...", "23 Nov 2026"]


def test_the_legend_is_aligned_whatever_its_words() -> None:
    known = view(
        slices(0, "unknown", "reporters", 1),
        slices(1, "cooling", "departures", 10),
        slices(11, "idle", "idle", 1, harvested=1.0),
    )
    legend = [click.unstyle(line) for line in timeline(known, blocks=True) if " %   " in line]
    assert legend[0].startswith("d … and the time after: a web server that went away ")
    assert len({line.index(" %   ") for line in legend}) == 1


def test_what_rounds_to_nothing_is_left_out_of_the_legend() -> None:
    start = round(MIDNIGHT.timestamp())
    known = view(slices(0, "idle", "idle", 6), [Slice(start, "unknown", "start", 0.3)])
    assert not any("just started" in line for line in timeline(known, blocks=True))


def test_of_next_to_nothing_there_is_no_legend() -> None:
    start = round(MIDNIGHT.timestamp())
    lines = timeline(view([Slice(start, "unknown", "start", 0.0, suspensions=1)]), blocks=True)
    assert lines[-3:] == ["", "", "harvested 0.0 % of 0 s; 1 suspension"]


def test_less_than_an_hour_has_no_rates() -> None:
    start = round(MIDNIGHT.timestamp())
    known = view([Slice(start, "busy", "requests", 138.0, suspensions=1)])
    assert timeline(known, blocks=True)[-1] == "harvested 0.0 % of 2 min; 1 suspension"


def test_where_nothing_runs_it_says_that_jobs_could() -> None:
    known = view(slices(0, "idle", "idle", 1, harvested=1.0))
    shown = "\n".join(timeline(known, blocks=True, harvested="jobs could run"))
    assert "jobs could run" in shown
    assert "jobs ran" not in shown


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

"""The small parts of the command line: durations, parameters, columns, overrides."""

from pathlib import Path
from typing import Any

import click
import pytest

from buttermilkd.batch_cli import OVERRIDES, parse
from buttermilkd.cli.create import parse_parameters
from buttermilkd.cli.output import STATUSES, Column, print_table, visible
from buttermilkd.cli.session import Session
from buttermilkd.cli.times import Deadline, ago, between, duration, span
from buttermilkd.jobs import Status


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_span_is_told_in_its_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("1.5 m", 90), ("2h", 7200), ("1d", 86400)]
)
def test_a_duration_has_a_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1w", "1s 2m", "infs"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no duration"):
        duration(text)


def test_times_that_have_not_come_are_a_dash() -> None:
    assert ago(None) == "-"
    assert between(None, None) == "-"
    assert between("2026-11-24T00:00:00.000Z", "2026-11-24T00:02:05.000Z") == "2 min"


def test_a_deadline_gives_no_more_than_is_asked_for_and_no_less_than_nothing() -> None:
    assert Deadline(None).left(10) == 10
    assert Deadline(1000).left(10) == 10
    assert Deadline(-1).left(10) == 0


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (("a=1", "b=x", "c=", "d=a=b"), {"a": 1, "b": "x", "c": "", "d": "a=b"}),
        (("m=small", "m=large", "m=3"), {"m": ["small", "large", 3]}),
        (
            ("l=[1, 2]", 'o={"k": null}', "t=true", 'q="1"'),
            {"l": [1, 2], "o": {"k": None}, "t": True, "q": "1"},
        ),
        (
            ("n=NaN", "i=-Infinity", "u={broken", "d=" + "[" * 100_000),
            {"n": "NaN", "i": "-Infinity", "u": "{broken", "d": "[" * 100_000},
        ),
    ],
)
def test_a_parameter_is_json_where_it_parses_and_else_text(
    pairs: tuple[str, ...], expected: dict[str, Any]
) -> None:
    assert parse_parameters(pairs) == expected


@pytest.mark.parametrize("pair", ["a", "=1", ""])
def test_a_parameter_needs_a_name_and_a_value(pair: str) -> None:
    with pytest.raises(click.UsageError, match="write KEY=VALUE"):
        parse_parameters((pair,))


def test_text_cannot_steer_the_terminal() -> None:
    assert visible("a\x1b[2J\nb\u202ec\x9bé") == "a\\x1b[2J\\nb\\u202ec\\x9bé"


def test_columns_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (Column("NAME"), Column("STATUS"), Column("N", right=True))

    print_table(Session(), columns, [["a", "running", "1"], ["long name", "failed", "1,000"]])

    assert capsys.readouterr().out.splitlines() == [
        "NAME       STATUS       N",
        "a          running      1",
        "long name  failed   1,000",
    ]


def test_only_the_status_is_coloured(capsys: pytest.CaptureFixture[str]) -> None:
    columns = (Column("NAME"), Column("STATUS"))

    print_table(Session(color="always"), columns, [["failed", "failed"]])

    assert capsys.readouterr().out.splitlines()[1] == f"failed  {click.style('failed', fg='red')}"


def test_every_status_of_the_domain_has_a_colour() -> None:
    assert list(STATUSES) == [status.value for status in Status]


def test_overrides_are_read_by_their_kind() -> None:
    overrides = (
        "flow=f",
        "run.batch.command=status",
        "run.batch.batch_id=batch-1",
        "run.batch.shuffle=False",
        "run.batch.max_records=null",
        "run.batch.concurrency=5",
        'run.batch.parameters={"a": 1}',
        "run.batch.interactive=false",
    )

    assert parse(overrides) == {
        "flow": "f",
        "command": "status",
        "batch_id": "batch-1",
        "shuffle": False,
        "max_records": None,
        "concurrency": 5,
        "parameters": {"a": 1},
        "interactive": False,
    }


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("flow", "write KEY=VALUE"),
        ("run.batch.shufle=true", 'did you mean "run.batch.shuffle"?'),
        ("q=1", f"there are {', '.join(OVERRIDES)}"),
        ("run.batch.shuffle=1", "write true or false"),
        ("run.batch.max_records=0", "write a whole number from 1, or null"),
        ("run.batch.command=delete", "write create, list, status or cancel"),
        ("run.batch.error_policy=maybe", "write continue or stop"),
        ("run.batch.parameters=[1]", "write a JSON object"),
        ("run.batch.parameters={", "cannot be '{'"),
        ("run.batch.interactive=true", "none can ask anybody"),
    ],
)
def test_an_override_that_is_wrong_says_what_would_be_right(override: str, expected: str) -> None:
    with pytest.raises(click.UsageError) as raised:
        parse((override,))
    assert expected in str(raised.value)


def test_the_console_script_is_what_the_project_names() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()

    assert 'buttermilkctl = "buttermilkd.cli:main"' in project

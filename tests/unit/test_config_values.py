from collections import defaultdict
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttermilkd.config import placeholders, values
from buttermilkd.config.windows import parse_windows


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("60s", 60),
        ("0s", 0),
        ("1.5h", 5400),
        ("30 m", 1800),
        ("1d", 86400),
        ("3650d", 315360000),
    ],
)
def test_a_duration_is_a_number_and_a_unit(written: str, seconds: float) -> None:
    assert values.duration(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written", [30, 1.5, True, "30", "s", "-1s", "1 hour", "1s ", "1e3s", "٣s", "3651d", None]
)
def test_anything_else_is_no_duration(written: object) -> None:
    with pytest.raises(ValueError, match="must be a duration"):
        values.duration(written)


def test_a_bare_number_is_answered_with_itself_as_a_duration() -> None:
    with pytest.raises(
        ValueError, match=r'^must be a duration such as "45s" \(units: ms, s, m, h, d\), not 45$'
    ):
        values.duration(45)


@pytest.mark.parametrize(
    ("written", "octets"),
    [("256KiB", 262144), ("1MiB", 1048576), ("10MB", 10**7), ("0B", 0), ("1.5KB", 1500), ("1GiB", 2**30)],
)
def test_a_size_is_a_number_and_a_unit(written: str, octets: int) -> None:
    assert values.size(written) == octets


@pytest.mark.parametrize("written", [1, "1", "1K", "2GiB", "1 mib", "", True])
def test_anything_else_is_no_size(written: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        values.size(written)


@pytest.mark.parametrize(("written", "mode"), [("0660", 0o660), ("666", 0o666), ("0000", 0)])
def test_a_file_mode_is_an_octal_string(written: str, mode: int) -> None:
    assert values.file_mode(written) == mode


@pytest.mark.parametrize("written", [660, "0o660", "888", "66", "06600", "rw-rw----"])
def test_anything_else_is_no_file_mode(written: object) -> None:
    with pytest.raises(ValueError, match='must be a file mode such as "0660"'):
        values.file_mode(written)


MONDAY_NOON = datetime(2026, 1, 5, 12)  # noqa: DTZ001 - windows are in the machine's own time


@pytest.mark.parametrize(
    ("written", "inside", "outside"),
    [
        ("22:00-07:00", ["05 22:00", "06 06:59", "11 23:59"], ["05 21:59", "06 07:00", "05 12:00"]),
        ("09:00-17:30", ["05 09:00", "05 17:29"], ["05 08:59", "05 17:30"]),
        ("Sat", ["10 00:00", "10 23:59"], ["09 23:59", "11 00:00"]),
        ("Mon-Fri 20:00-06:00", ["05 20:00", "10 05:59"], ["10 20:00", "05 05:59", "11 05:00"]),
        ("Sat-Mon", ["10 01:00", "11 01:00", "05 01:00"], ["06 01:00", "09 23:00"]),
        ("Sun 22:00-24:00", ["11 23:59"], ["05 00:00"]),
    ],
)
def test_a_window_contains_what_it_says(written: str, inside: list[str], outside: list[str]) -> None:
    (window,) = parse_windows([written])
    assert str(window) == written
    for moments, expected in ((inside, True), (outside, False)):
        for moment in moments:
            local = datetime.strptime(f"2026-01-{moment}", "%Y-%m-%d %H:%M")  # noqa: DTZ007 - local time
            assert window.contains(local) is expected, moment


@pytest.mark.parametrize(
    ("written", "opens"),
    [
        ("22:00-07:00", "05 22:00"),
        ("09:00-17:30", "06 09:00"),
        ("Sat", "10 00:00"),
        ("Mon 12:00-13:00", "12 12:00"),
        ("Sat-Mon", "10 00:00"),
    ],
)
def test_a_window_opens_when_it_begins_the_next_time(written: str, opens: str) -> None:
    (window,) = parse_windows([written])
    assert f"{window.opens_after(MONDAY_NOON):%d %H:%M}" == opens


@pytest.mark.parametrize(
    "written", ["", "Sa", "24:00-01:00", "22-07", "Fri-", "10:00", "22:60-23:00", 5, None]
)
def test_anything_else_is_no_window(written: object) -> None:
    with pytest.raises(ValueError, match=r"^holds .*, (which is no window such as|in which .* is no)"):
        parse_windows([written])


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("Mon-Su", '"Su" is no day of the week: write Mon, Tue, Wed, Thu, Fri, Sat or Sun'),
        ("25:00-07:00", '"25:00" is no time of day: write 00:00 to 24:00'),
    ],
)
def test_what_is_wrong_with_a_window_is_named(written: str, why: str) -> None:
    with pytest.raises(ValueError, match="holds") as refused:
        parse_windows(["Sat", written])
    assert str(refused.value) == f'holds "{written}", in which {why}'


def test_a_window_that_ends_when_it_begins_is_refused() -> None:
    with pytest.raises(ValueError, match="which ends when it begins"):
        parse_windows(["10:00-10:00"])


def test_windows_come_in_a_list() -> None:
    assert parse_windows([]) == ()
    with pytest.raises(ValueError, match="must be a list such as"):
        parse_windows("Sat")


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("{record_id}", "a b"),
        ("--id={record_id}.txt", "--id=a b.txt"),
        ("{param:model}", "small"),
        ("{param:n}", "[1, 2]"),
        ("{{record_id}}", "{record_id}"),
        ("{{print}}", "{print}"),
        ('{"a": {"b": 1}}', '{"a": {"b": 1}}'),
        ('{"a":{"b":"{record_id}"}}', '{"a":{"b":"a b"}}'),
        ("${HOME}", "${HOME}"),
        ("{} {1} { } {a b}", "{} {1} { } {a b}"),
    ],
)
def test_only_placeholders_are_replaced(argument: str, filled: str) -> None:
    placeholders.check(argument)
    assert placeholders.fill(argument, "a b", {"model": "small", "n": [1, 2]}) == filled


def test_a_replaced_value_is_not_looked_at_again() -> None:
    assert placeholders.fill("{record_id}", "{param:x}", {}) == "{param:x}"


def test_a_parameter_that_does_not_exist_is_named() -> None:
    with pytest.raises(KeyError, match="model"):
        placeholders.fill("{param:model}", "r", {})


@pytest.mark.parametrize(
    ("argument", "mend"),
    [
        ("{recordid}", "did you mean {record_id}?"),
        ("{params:model}", "did you mean {param:model}?"),
        ("{param:}", "did you mean {param:NAME}?"),
        ("{print}", "write {{print}} for the text itself"),
    ],
)
def test_another_word_in_braces_is_refused_with_the_mend(argument: str, mend: str) -> None:
    with pytest.raises(ValueError, match="which nothing replaces") as caught:
        placeholders.check(argument)
    assert mend in str(caught.value)


@given(st.text(alphabet="{}:$ab_-record_idparam\n", max_size=40))
def test_an_accepted_argument_can_be_filled(argument: str) -> None:
    try:
        placeholders.check(argument)
    except ValueError:
        return
    parameters: dict[str, str] = defaultdict(str)
    assert isinstance(placeholders.fill(argument, "r", parameters), str)
    assert all(f"{{param:{name}}}" in argument for name in parameters)

"""Record sources: real files and streams."""

import io
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from buttermilkd.errors import InvalidRequestError
from buttermilkd.jobs import MAX_RECORD_ID
from buttermilkd.records import from_path, given, read, unique


def ids(text: bytes | str, file_format: str | None = None, field: str | None = None) -> list[str]:
    stream = io.BytesIO(text.encode() if isinstance(text, str) else text)
    return list(read(stream, source="input", file_format=file_format, field=field))


def refusal(text: bytes | str, file_format: str | None = None, field: str | None = None) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        ids(text, file_format, field)
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\n", ["a", "b"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\nb", ["a", "b"]),
        ("\ufeffa\nb\n", ["a", "b"]),
        ("\na\n  \n\t\nb\n\n", ["a", "b"]),
        ("# no comment\n", ["# no comment"]),
        (" kept \n", [" kept "]),
        ("données/é.txt\n日本\n", ["données/é.txt", "日本"]),
        ("a\u2028b\n", ["a\u2028b"]),
    ],
)
def test_each_line_that_is_not_blank_is_an_id(text: str, expected: list[str]) -> None:
    assert ids(text) == expected


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("name,record_id\nx,1\ny,2\n", None, ["1", "2"]),
        ("name,size\nx,1\ny,2\n", None, ["x", "y"]),
        ("name,size\nx,1\ny,2\n", "size", ["1", "2"]),
        ("\ufeffrecord_id,n\r\nx,1\r\n\r\ny,2\r\n", None, ["x", "y"]),
        ('id\n"a, b"\n"two\nlines"\n"say ""hi"""\n', None, ["a, b", "two\nlines", 'say "hi"']),
    ],
)
def test_a_csv_column_holds_the_ids(text: str, field: str | None, expected: list[str]) -> None:
    assert ids(text, "csv", field) == expected


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ('{"record_id": "a", "id": "x"}\n{"id": "b"}\n', None, ["a", "b"]),
        ('"plain"\n17\n1.50\n', None, ["plain", "17", "1.50"]),
        ('{"key": 123456789012345678901234567890}\n\n', "key", ["123456789012345678901234567890"]),
        ('\ufeff"\\u00e9"\r\n', None, ["é"]),
    ],
)
def test_json_lines_are_ids_or_objects_that_hold_one(
    text: str, field: str | None, expected: list[str]
) -> None:
    assert ids(text, "jsonl", field) == expected


@pytest.mark.parametrize(
    ("text", "file_format", "field", "expected"),
    [
        (b"ok\n\xff\n", None, None, "cannot read input:2: it is not UTF-8 text"),
        (b"a\nb\0c\n", None, None, "cannot use the record id at input:2: it holds a NUL character"),
        (b"a\n" + b"x" * 5000, None, None, "input:2: it has 5,000 characters, over the limit of 4,096"),
        (b"", None, None, "cannot make a batch of nothing: input holds no records"),
        (b"\n \n", None, None, "input holds no records"),
        (b"record_id\n", "csv", None, "input holds no records"),
        (b"", "jsonl", None, "input holds no records"),
        (b"a,b\n1,2\n", "csv", "c", "cannot read input: it has no column 'c'"),
        (b"a,b\n1,2\n3\n", "csv", "b", "cannot read input:3: the row has 1 columns, and 'b' is number 2"),
        (b'a\n"open\n', "csv", None, "input:2: it is not CSV"),
        (b"a,b\n,2\n", "csv", None, "cannot use the record id at input:2: it is empty"),
        (b'"a"\n{"b":\n', "jsonl", None, "cannot read input:2: it is not JSON"),
        (b"[" * 100_000, "jsonl", None, "cannot read input:1: it is not JSON"),
        (b'{"name": 1}', "jsonl", None, "the object has no member 'record_id' or 'id'"),
        (b'{"name": 1}', "jsonl", "key", "the object has no member 'key'"),
        (b"true", "jsonl", None, "cannot read input:1: a record id must be a string or a number"),
        (b'{"id": null}', "jsonl", None, "a record id must be a string or a number"),
        (b'"\\ud800"', "jsonl", None, "it holds characters that are not valid Unicode"),
        (b"a\n", "xml", None, "there is no format 'xml'"),
        (b"a\n", None, "id", "plain lines have no fields"),
        (b"x" * (17 * 2**20), None, None, "input:1: the line is longer than 16 MiB"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(
    text: bytes, file_format: str | None, field: str | None, expected: str
) -> None:
    assert expected in refusal(text, file_format, field)


def test_an_id_may_have_any_text_up_to_the_limit() -> None:
    longest = "é" * MAX_RECORD_ID

    assert ids(longest) == [longest]


@pytest.mark.parametrize(
    ("name", "text"),
    [("r.csv", "id,x\na,1\n"), ("r.JSONL", '{"id": "a"}\n'), ("r.ndjson", '"a"'), ("r.txt", "a\n")],
)
def test_the_suffix_of_a_file_tells_its_format(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    assert list(from_path(name, directory=tmp_path)) == ["a"]


def test_a_format_that_is_given_counts_over_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text("id,x\na,1\n")

    assert list(from_path(str(tmp_path / "r.txt"), file_format="csv")) == ["a"]


def test_a_glob_gives_the_files_as_matched_and_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.csv", "deep/d.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()

    assert list(from_path("in/*.txt", directory=tmp_path)) == ["in/a.txt", "in/b.txt"]
    assert list(from_path("in/**/*.txt", directory=tmp_path)) == ["in/a.txt", "in/b.txt", "in/deep/d.txt"]
    assert list(from_path("./in/*", directory=tmp_path)) == ["./in/a.txt", "./in/b.txt", "./in/c.csv"]
    assert list(from_path("in/*/", directory=tmp_path)) == ["in/deep/"]
    assert list(from_path(f"{tmp_path}/in/a*")) == [f"{tmp_path}/in/a.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_read(tmp_path: Path) -> None:
    (tmp_path / "list[1].txt").write_text("x\n")

    assert list(from_path("list[1].txt", directory=tmp_path)) == ["x"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("missing.txt", "No such file"),
        ("*.txt", "*.txt holds no records"),
        (".", "it is a directory"),
        ("nul\0.txt", "null"),
    ],
)
def test_a_path_that_gives_nothing_is_refused(tmp_path: Path, path: str, expected: str) -> None:
    with pytest.raises(InvalidRequestError, match="cannot") as raised:
        list(from_path(path, directory=tmp_path))
    assert expected in str(raised.value)
    assert raised.value.hint


def test_ids_that_are_given_are_checked_too() -> None:
    assert list(given(["b", "a", "b"])) == ["b", "a", "b"]
    with pytest.raises(InvalidRequestError, match="holds no records"):
        list(given([]))
    with pytest.raises(InvalidRequestError, match="the records given, record 2: it is empty"):
        list(given(["a", ""]))


def test_a_million_lines_are_read_in_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "many.txt"
    with file.open("w") as out:
        out.writelines(f"record-{number}\n" for number in range(100_000))

    tracemalloc.start()
    try:
        count = sum(1 for _ in from_path(str(file)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert count == 100_000
    assert peak < 2**20


def test_reading_stops_where_its_reader_stops() -> None:
    def endless() -> Iterator[str]:
        while True:
            yield "a"

    assert next(given(endless())) == "a"


def test_repeated_records_are_dropped_and_counted_in_order() -> None:
    assert unique(iter(["b", "a", "b", "c", "a", "b"])) == (["b", "a", "c"], 3)
    assert unique([]) == ([], 0)


@examples(st.lists(st.text(min_size=1)))
def test_unique_keeps_each_record_once_and_loses_none(records: list[str]) -> None:
    kept, dropped = unique(records)

    assert kept == list(dict.fromkeys(records))
    assert len(kept) + dropped == len(records)


@examples(st.binary(), st.sampled_from([None, "lines", "csv", "jsonl"]))
def test_any_bytes_give_usable_ids_or_a_refusal(text: bytes, file_format: str | None) -> None:
    found: list[str] = []
    with suppress(InvalidRequestError):
        found = ids(text, file_format)
        assert found
    assert all(0 < len(record) <= MAX_RECORD_ID and record.encode() for record in found)

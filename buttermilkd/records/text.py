"""Record ids out of text: one a line, CSV or JSON lines, each checked. Everything streams."""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import IO, Any, NoReturn

from buttermilkd.errors import InvalidRequestError
from buttermilkd.jobs import MAX_RECORD_ID

FORMATS = ("lines", "csv", "jsonl")

_MAX_LINE = 16 * 2**20
_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
_BOM = b"\xef\xbb\xbf"


def read(
    stream: IO[bytes], *, source: str, file_format: str | None = None, field: str | None = None
) -> Iterator[str]:
    """Record ids from UTF-8 text, as it is read.

    Args:
        stream: opened for reading bytes; stays open.
        source: what to call it in errors, such as its file name.
        file_format: ``lines`` (one id a line, the default), ``csv`` (a header, then a row for each record) or
            ``jsonl`` (on each line an object, or the id itself as a string or number).
        field: the column or member that holds the id. Default: ``record_id``; where there is none, the
            first column of a CSV file or the member ``id``.

    Blank lines are skipped; a byte order mark and CRLF are understood; ``#`` begins no comment.

    Raises:
        InvalidRequestError: the text is empty, is not UTF-8 or does not have this format; with its line.
    """
    lines = _decoded(stream, source)
    if file_format == "csv":
        return checked(_csv_records(lines, source, field), source)
    if file_format == "jsonl":
        return checked(_json_records(lines, source, field), source)
    if file_format not in (None, "lines"):
        raise InvalidRequestError(
            f"cannot read {source}: there is no format {file_format!r}, only {', '.join(FORMATS)}"
        )
    if field is not None:
        raise InvalidRequestError(
            f"cannot take field {field!r} from {source}: plain lines have no fields",
            hint="say that it is csv or jsonl",
        )
    return checked(_plain_records(lines, source), source)


def checked(records: Iterable[tuple[str, str]], source: str) -> Iterator[str]:
    """Each record of pairs of place and record, once it is known to be fit to be an id.

    Raises:
        InvalidRequestError: one is not, or there are none.
    """
    place = None
    for place, record in records:
        if not record or len(record) > MAX_RECORD_ID or _IMPOSSIBLE.search(record):
            _refuse(place, record)
        yield record
    if place is None:
        raise InvalidRequestError(
            f"cannot make a batch of nothing: {source} holds no records",
            hint="give record ids or a file of them, or check this source",
        )


def _refuse(place: str, record: str) -> NoReturn:
    if not record:
        why = "it is empty"
    elif len(record) > MAX_RECORD_ID:
        why = f"it has {len(record):,} characters, over the limit of {MAX_RECORD_ID:,}"
    elif "\0" in record:
        why = "it holds a NUL character"
    else:
        why = "it holds characters that are not valid Unicode"
    raise InvalidRequestError(f"cannot use the record id at {place}: {why}")


def _decoded(stream: IO[bytes], source: str) -> Iterator[tuple[int, str]]:
    """Number and text of each line, with its line ending."""
    for number, line in enumerate(iter(partial(stream.readline, _MAX_LINE), b""), 1):
        if len(line) == _MAX_LINE:
            raise InvalidRequestError(
                f"cannot read {source}:{number}: the line is longer than {_MAX_LINE // 2**20} MiB"
            )
        try:
            yield number, line.removeprefix(_BOM if number == 1 else b"").decode()
        except UnicodeDecodeError as error:
            raise InvalidRequestError(
                f"cannot read {source}:{number}: it is not UTF-8 text ({error.reason})",
                hint="convert it, for example with iconv -t UTF-8",
            ) from None


def _plain_records(lines: Iterable[tuple[int, str]], source: str) -> Iterator[tuple[str, str]]:
    for number, line in lines:
        if not line.isspace():
            yield f"{source}:{number}", line.removesuffix("\n").removesuffix("\r")


def _csv_records(
    lines: Iterable[tuple[int, str]], source: str, field: str | None
) -> Iterator[tuple[str, str]]:
    rows = csv.reader((line for _, line in lines), strict=True)
    try:
        header = next((row for row in rows if row), None)
        if header is None:
            return
        column = _column(header, source, field)
        for row in rows:
            if not row or row == [""]:
                continue
            place = f"{source}:{rows.line_num}"
            if len(row) <= column:
                raise InvalidRequestError(
                    f"cannot read {place}: the row has {len(row)} columns, and {header[column]!r} is number {column + 1}"
                )
            yield place, row[column]
    except csv.Error as error:
        raise InvalidRequestError(f"cannot read {source}:{rows.line_num}: it is not CSV ({error})") from None


def _column(header: Sequence[str], source: str, field: str | None) -> int:
    """The number, from 0, of the column that holds the id."""
    if field is None:
        return header.index("record_id") if "record_id" in header else 0
    if field not in header:
        raise InvalidRequestError(
            f"cannot read {source}: it has no column {field!r}",
            hint=f"its columns are {', '.join(header)}",
        )
    return header.index(field)


def _json_records(
    lines: Iterable[tuple[int, str]], source: str, field: str | None
) -> Iterator[tuple[str, str]]:
    # Numbers stay the text they were written as: 007 would be refused, and 1.50 or 10**30 are kept exactly.
    decode = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).decode
    for number, line in lines:
        if line.isspace():
            continue
        place = f"{source}:{number}"
        try:
            value = decode(line)
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"cannot read {place}: it is not JSON ({error})") from None
        yield place, _json_id(value, place, field)


def _json_id(value: Any, place: str, field: str | None) -> str:
    """The id in one line's value; numbers have become strings already."""
    if isinstance(value, dict):
        name = field or ("record_id" if "record_id" in value else "id")
        if name not in value:
            wanted = repr(field) if field else "'record_id' or 'id'"
            raise InvalidRequestError(f"cannot read {place}: the object has no member {wanted}")
        value = value[name]
    if not isinstance(value, str):
        raise InvalidRequestError(f"cannot read {place}: a record id must be a string or a number")
    return value

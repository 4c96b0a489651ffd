"""The fields of a message on a topic, each read as what it must be; one sentence says what is wrong with one."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, overload

from buttermilkd.clock import iso
from buttermilkd.errors import UnreadableError
from buttermilkd.jobs import BATCH_ID, FLOW_NAME, MAX_RECORD_ID

MAX_WHOLE = 2**63 - 1
"""What the ledger can hold."""
MOST_PRIORITY = 1_000_000
"""As of batches: it lies between this and its negative."""

_IMPOSSIBLE = re.compile("[\0\ud800-\udfff]")
"""What neither an argument, nor a file's name, nor the ledger can hold."""
_HALVES = re.compile("[\ud800-\udfff]")
_AN_ID = f"1 to {MAX_RECORD_ID:,} characters, none of them NUL or half of a surrogate pair"


def is_usable(text: str) -> bool:
    """Whether this may be a record id: an argument, a file's name and the ledger can hold it."""
    return 0 < len(text) <= MAX_RECORD_ID and not _IMPOSSIBLE.search(text)


def kind_of(value: Any) -> str:
    """What this JSON value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"


class Fields:
    """The fields of one message. A null is as good as none.

    Every reader raises ``UnreadableError`` where the field is not what it must be; those that do not return None
    do so where it is missing, too.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def __contains__(self, name: str) -> bool:
        return self._document.get(name) is not None

    def text(self, name: str) -> str | None:
        """Any text; halves of surrogate pairs become escapes, since SQLite refuses them."""
        value = self._document.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            self._wrong(name, "text")
        return value.encode("utf-8", "backslashreplace").decode() if _HALVES.search(value) else value

    def needed_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            raise _missing(name)
        return value

    def identifier(self, name: str) -> str | int | None:
        """An id as it was written: text, or a whole number, which Buttermilk lets pass under ``inputs``."""
        value = self._document.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int):
            self._wrong(name, "text")
        if not is_usable(str(value)):
            self._wrong(name, _AN_ID)
        return value

    def needed_identifier(self, name: str) -> str | int:
        value = self.identifier(name)
        if value is None:
            raise _missing(name)
        return value

    def record_id(self, name: str = "record_id") -> str:
        return str(self.needed_identifier(name))

    def identifiers(self, name: str) -> tuple[str, ...]:
        value = self._document.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) and is_usable(one) for one in value):
            self._wrong(name, f"a list of texts, each of {_AN_ID}")
        return tuple(value)

    def batch_id(self, name: str = "batch_id") -> str:
        value = self.needed_text(name)
        if not BATCH_ID.fullmatch(value):
            self._wrong(name, "up to 64 letters, digits, '-' and '_'")
        return value

    def flow(self, name: str = "flow") -> str:
        value = self.needed_text(name)
        if not value:
            raise _missing(name)
        if not FLOW_NAME.fullmatch(value):
            self._wrong(name, "a flow's name: up to 64 letters, digits, '-', '_' and '.'")
        return value

    def whole(self, name: str, *, default: int, least: int = 0, most: int = MAX_WHOLE) -> int:
        value = self.optional_whole(name, least=least, most=most)
        return default if value is None else value

    def needed_whole(self, name: str) -> int:
        value = self.optional_whole(name)
        if value is None:
            raise _missing(name)
        return value

    def optional_whole(self, name: str, *, least: int = 0, most: int = MAX_WHOLE) -> int | None:
        value = self._document.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(name, f"a whole number from {least}" + ("" if most == MAX_WHOLE else f" to {most}"))
        return value

    def priority(self, name: str = "priority") -> int:
        return self.whole(name, least=-MOST_PRIORITY, most=MOST_PRIORITY, default=0)

    def mapping(self, name: str) -> dict[str, Any] | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            self._wrong(name, "an object")
        return value

    def needed_mapping(self, name: str) -> dict[str, Any]:
        value = self.mapping(name)
        if value is None:
            raise _missing(name)
        return value

    def mappings(self, name: str) -> tuple[dict[str, Any], ...]:
        value = self._document.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
            self._wrong(name, "a list of objects")
        return tuple(value)

    @overload
    def time(self, name: str) -> float | None: ...
    @overload
    def time(self, name: str, *, default: float) -> float: ...
    def time(self, name: str, *, default: float | None = None) -> float | None:
        """Seconds since the epoch, of ISO 8601; UTC where it names no zone."""
        value = self._document.get(name)
        if value is None:
            return default
        at = _seconds(value)
        if at is None:
            self._wrong(name, "a time in ISO 8601")
        return at

    def needed_time(self, name: str) -> float:
        at = self.time(name)
        if at is None:
            raise _missing(name)
        return at

    def readable_time(self, name: str, *, default: float) -> float:
        """The same where it is one; it is not worth losing a job for."""
        at = _seconds(self._document.get(name))
        return default if at is None else at

    def flag(self, name: str) -> bool:
        value = self._document.get(name)
        if value is not None and not isinstance(value, bool):
            self._wrong(name, "true or false")
        return bool(value)

    def _wrong(self, name: str, wanted: str) -> NoReturn:
        value = self._document.get(name)
        raise UnreadableError(f"field {name!r} must be {wanted}, and is {kind_of(value)}{_shown(value)}")


def _shown(value: Any) -> str:
    """The value itself, where that is a word or a number that can be read."""
    if isinstance(value, str):
        return f" {value[:40]!r}"
    is_number = isinstance(value, float) or (isinstance(value, int) and abs(value) <= MAX_WHOLE)
    return f", {value!r}" if is_number and not isinstance(value, bool) else ""


def _missing(name: str) -> UnreadableError:
    return UnreadableError(f"field {name!r} is missing")


def _seconds(text: Any) -> float | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        iso(at)
    except (ValueError, OverflowError):
        return None
    return at

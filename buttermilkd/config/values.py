"""The kinds of value a setting can have, each with the sentence that a wrong one is answered with.

Each parser takes what TOML gave and returns the setting's value; it raises ``ValueError`` in plain words.
"""

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_NUMBER = r"(\d{1,12}(?:\.\d{1,6})?)"
_DURATION = re.compile(rf"{_NUMBER} ?({'|'.join(SECONDS)})", re.ASCII)
_SIZE = re.compile(rf"{_NUMBER} ?({'|'.join(BYTES)})", re.ASCII)
_MODE = re.compile(r"0?[0-7]{3}", re.ASCII)
_LONGEST = 3650 * SECONDS["d"]
_SHOWN = 60
_DEEPEST = 32


def shown(value: object) -> str:
    """``value`` about as it stands in a file, in one short line."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def refusal(wanted: str, value: object) -> ValueError:
    """The error for a value that is not what was wanted."""
    return ValueError(f"must be {wanted}, not {shown(value)}")


class ConflictingError(ValueError):
    """A value that does not go with another key's."""

    def __init__(self, text: str, other: str, turned: str) -> None:
        """``turned`` says the same of the key ``other``, for where that one alone was written."""
        super().__init__(text)
        self.other = other
        self.turned = turned


def duration(value: object) -> float:
    """Seconds in a duration such as ``"250ms"`` or ``"1.5h"``; a string of one number and one unit."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        example = f"{value}s" if type(value) is int and 0 <= value <= _LONGEST else "30s"
        raise refusal(f'a duration such as "{example}" (units: {", ".join(SECONDS)})', value)
    seconds = float(match[1]) * SECONDS[match[2]]
    if seconds > _LONGEST:
        raise refusal('a duration from "0s" to "3650d"', value)
    return seconds


def positive_duration(value: object) -> float:
    """Seconds in a duration that is longer than nothing."""
    seconds = duration(value)
    if not seconds:
        raise refusal('a duration longer than "0s"', value)
    return seconds


def duration_in(least: str, most: str) -> PlainValidator:
    """Seconds in a duration in a range that includes both ends."""

    def parse(value: object) -> float:
        seconds = duration(value)
        if not duration(least) <= seconds <= duration(most):
            raise refusal(f'a duration from "{least}" to "{most}"', value)
        return seconds

    return PlainValidator(parse)


def size(value: object) -> int:
    """Bytes in a size such as ``"256KiB"`` or ``"10MB"``, up to ``"1GiB"``."""
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise refusal(f'a size such as "256KiB" (units: {", ".join(BYTES)})', value)
    octets = int(float(match[1]) * BYTES[match[2]])
    if octets > BYTES["GiB"]:
        raise refusal('a size from "0B" to "1GiB"', value)
    return octets


def file_mode(value: object) -> int:
    """Permission bits of an octal string such as ``"0660"``."""
    if not isinstance(value, str) or not _MODE.fullmatch(value):
        raise refusal('a file mode such as "0660"', value)
    return int(value, 8)


def flag(value: object) -> bool:
    """A TOML boolean."""
    if not isinstance(value, bool):
        raise refusal("true or false", value)
    return value


def text(value: object) -> str:
    """Text that is not empty and can be handed to the operating system."""
    if not isinstance(value, str):
        raise refusal("text in quotes", value)
    if not value:
        raise ValueError("must not be empty")
    return without_nul(value)


def without_nul(value: str) -> str:
    """``value`` where it can be an argument, a variable or a path."""
    if "\0" in value:
        raise ValueError("must not contain a NUL character")
    return value


def texts(value: object) -> list[str]:
    """A list of text."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refusal('a list of text such as ["one", "two"]', value)
    return [without_nul(item) for item in value]


def argument_list(value: object) -> list[str]:
    """A program and its arguments; arguments may be empty, the program may not."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise refusal('a list of text such as ["program", "argument"]', value)
    if not value or not value[0]:
        raise ValueError('must name a program first, as in ["program", "argument"]')
    return [without_nul(item) for item in value]


def path(value: object) -> Path:
    """A path, made absolute; ``~`` stands for the home directory."""
    if isinstance(value, Path):
        return value.absolute()
    if not isinstance(value, str):
        raise refusal("a path in quotes", value)
    return Path(os.path.expanduser(text(value))).absolute()  # noqa: PTH111 - never raises


def table(value: object) -> dict[str, Any]:
    """A TOML table."""
    if not isinstance(value, Mapping):
        raise refusal("a table", value)
    return dict(value)


def json_value(value: object, depth: int = 0) -> Any:
    """A value that JSON can carry: no dates, no infinities, nothing nested too deeply."""
    if depth > _DEEPEST:
        raise ValueError(f"must not be nested more than {_DEEPEST} deep")
    if isinstance(value, Mapping):
        return {str(key): json_value(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [json_value(item, depth + 1) for item in value]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise refusal("text, a number, true or false, a list or a table", str(value))


def whole(least: int, most: int, example: int) -> BeforeValidator:
    """A whole number in a range that includes both ends."""

    def parse(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise refusal(f"a whole number such as {example}", value)
        if not least <= value <= most:
            raise refusal(f"from {least:,} to {most:,}", value)
        return value

    return BeforeValidator(parse)


def fraction(value: object) -> float:
    """A share of all CPUs, over 0 and up to 1."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise refusal("a fraction such as 0.5", value)
    if not 0 < value <= 1:
        raise refusal("a fraction over 0 and up to 1", value)
    return float(value)


def choice(*allowed: str) -> BeforeValidator:
    """One word of these."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            names = [f'"{name}"' for name in allowed]
            close = get_close_matches(str(value).lower(), allowed, n=1)
            guess = f'; did you mean "{close[0]}"?' if close else ""
            wanted = f"{', '.join(names[:-1])} or {names[-1]}"
            raise ValueError(f"{refusal(wanted, value)}{guess}")
        return value

    return BeforeValidator(parse)


def _as(parse: Callable[[object], Any]) -> PlainValidator:
    return PlainValidator(parse)


Duration = Annotated[float, _as(duration)]
PositiveDuration = Annotated[float, _as(positive_duration)]
Size = Annotated[int, _as(size)]
FileMode = Annotated[int, _as(file_mode)]
Flag = Annotated[bool, _as(flag)]
Text = Annotated[str, _as(text)]
Texts = Annotated[list[str], _as(texts)]
ArgumentList = Annotated[list[str], _as(argument_list)]
FilePath = Annotated[Path, _as(path)]
Fraction = Annotated[float, _as(fraction)]

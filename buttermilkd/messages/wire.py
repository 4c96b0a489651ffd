"""How messages on the topics are written and read: JSON within limits, and one sentence for whatever is wrong."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any, NoReturn

from buttermilkd.errors import UnreadableError
from buttermilkd.messages.fields import Fields, kind_of

SCHEMA = 1
"""The version of our own fields. Who only adds fields keeps it; who changes what one means raises it."""
MAX_DEPTH = 100
"""Lists and objects within each other."""
TOO_DEEP = f"the message is nested too deep: {MAX_DEPTH} lists and objects within each other are the most"


def write(document: Mapping[str, Any]) -> bytes:
    """The bytes of a message: ASCII, as the original writes it, so that every text comes through.

    Raises:
        ValueError: the document holds NaN or an infinity, or is nested so deep that nobody would read it.
    """
    if is_deep(document, MAX_DEPTH):
        raise ValueError(TOO_DEEP)
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()


def read(data: bytes) -> dict[str, Any]:
    """The JSON object that a message holds.

    Raises:
        UnreadableError: it holds none.
    """
    try:
        document = json.loads(data.decode(), parse_constant=_refuse, parse_float=_finite)
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"the message is not UTF-8: byte {error.start} is {data[error.start]:#04x}"
        ) from None
    except json.JSONDecodeError as error:
        why = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise UnreadableError(f"the message is not JSON: {why}" if data else "the message is empty") from None
    except RecursionError:
        raise UnreadableError(TOO_DEEP) from None
    except ValueError:
        raise UnreadableError("the message holds a number of more digits than can be read") from None
    if not isinstance(document, dict):
        raise UnreadableError(f"the message is no JSON object, but {kind_of(document)}")
    if is_deep(document, MAX_DEPTH):
        raise UnreadableError(TOO_DEEP)
    return document


def _refuse(name: str) -> NoReturn:
    raise UnreadableError(f"the message holds {name}, which is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise UnreadableError("the message holds a number that is too large")
    return value


def is_deep(document: Mapping[str, Any], most: int) -> bool:
    """Whether more than ``most`` lists and objects are within each other."""
    level: list[Any] = [document]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list | tuple)
        ]
        if not level:
            return False
    return True


def type_of(document: Mapping[str, Any], attributes: Mapping[str, str]) -> str | None:
    """The message's type; the body's goes first, since nobody but us sends attributes. None where it names none.

    In small letters: some publishers write the names of their constants.

    Raises:
        UnreadableError: it is no text.
    """
    kind = document.get("type") or attributes.get("type") or None
    if kind is not None and not isinstance(kind, str):
        raise UnreadableError(f"field 'type' must be text, and is {kind_of(kind)}")
    return kind and kind.lower()


def check_schema(document: Mapping[str, Any]) -> None:
    """Raises UnreadableError: the message's fields mean something that only a newer version knows."""
    schema = Fields(document).whole("schema", least=1, default=SCHEMA)
    if schema > SCHEMA:
        raise UnreadableError(
            f"field 'schema' is {schema}, and this version reads up to {SCHEMA}: a newer one has sent it"
        )

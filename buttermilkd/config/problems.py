"""What is wrong with a configuration, in lines for people: where, which key, what, and what may be meant."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from buttermilkd.config import layers
from buttermilkd.config.layers import Merged
from buttermilkd.config.lines import KeyPath
from buttermilkd.config.settings import FlowSettings, Settings
from buttermilkd.config.values import ConflictingError, refusal


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: KeyPath
    text: str


def problems_of(error: ValidationError, written: Container[KeyPath] | None = None) -> Iterator[Problem]:
    """The problems that the models found.

    ``written`` are the keys that somebody wrote (None: all); only these are complained about.
    """
    for details in error.errors():
        # A default that is derived from a key that is wrong is no problem of its own.
        if details["type"] == "default_factory_not_called":
            continue
        # List positions and pydantic's mark for "the key itself" are not part of what stands in the file.
        path = tuple(part for part in details["loc"] if isinstance(part, str) and part != "[key]")
        conflict = details.get("ctx", {}).get("error")
        if isinstance(conflict, ConflictingError) and written is not None and path not in written:
            yield Problem((*path[:-1], conflict.other), conflict.turned)
        else:
            yield Problem(path, _text(path, details))


def report(problems: Iterable[Problem], merged: Merged) -> list[str]:
    """Lines ``FILE:LINE: table.key: what is wrong``, by source and line."""

    def place(problem: Problem) -> tuple[int, int, KeyPath]:
        origin = merged.origin(problem.path)
        return (merged.sources.index(origin.source), origin.line, problem.path) if origin else (-1, 0, ())

    return [
        f"{merged.origin(problem.path) or 'configuration'}: {layers.written(problem.path)}: {problem.text}"
        for problem in sorted(problems, key=place)
    ]


def _text(path: KeyPath, details: ErrorDetails) -> str:
    match details["type"]:
        case "value_error":
            return str(details["ctx"]["error"])
        case "extra_forbidden":
            return f"unknown key{_suggestion(path)}"
        case "model_type" | "dict_type":
            return str(refusal("a table", details["input"]))
        case "missing":
            return "is missing"
        case _:
            return details["msg"]


def _suggestion(path: KeyPath) -> str:
    """The key that was likely meant: the same in another table, or a similar one in this."""
    key = path[-1].lower().replace("-", "_")
    here = _keys(path[:-1])
    if key in here:
        return f'; did you mean "{key}"?'
    for name in ((), *((table,) for table in Settings.model_fields), ("flows", "NAME")):
        if key in _keys(name):
            return f'; did you mean "{layers.written((*name, key))}"?'
    close = get_close_matches(key, here, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _keys(table: KeyPath) -> list[str]:
    """The keys that a table can have."""
    if table and table[0] == "flows":
        return [name for name in FlowSettings.model_fields if name != "name"] if len(table) > 1 else []
    if not table:
        return list(Settings.model_fields)
    model = Settings.model_fields[table[0]].annotation
    is_table = isinstance(model, type) and issubclass(model, BaseModel)
    return list(cast("type[BaseModel]", model).model_fields) if is_table else []

"""The layers that a configuration is made of: files, environment variables, flags. Standard library and tomli.

Each layer is a document and, for each of its keys, where it was written; ``Merged`` puts one over another.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from buttermilkd.config.lines import KeyPath, key_lines, read_key
from buttermilkd.errors import MisconfiguredError

PREFIX = "BUTTERMILKD_"
_NAMES_AS_WRITTEN = ("env", "env_files")
"""Tables whose keys are themselves names of environment variables."""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a key was written."""

    source: str
    """A file, ``$VARIABLE`` or a flag."""
    folder: Path
    """What a relative path there is relative to."""
    line: int = 0
    """From 1; 0 where there are no lines."""

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says."""

    document: Mapping[str, Any]
    origins: Mapping[KeyPath, Origin]
    everywhere: Origin
    """The origin of a key that has none of its own."""

    def origin(self, path: KeyPath) -> Origin:
        """Where the key, or else the nearest table around it, was written."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return self.everywhere


@dataclass(slots=True)
class Merged:
    """Layers put over one another: tables merge, of anything else the last one counts."""

    document: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    """In the order they were added."""

    def add(self, layer: Layer) -> None:
        """Put ``layer`` over what is here."""
        if layer.everywhere.source not in self.sources:
            self.sources.append(layer.everywhere.source)
        self._merge(self.document, layer.document, (), layer)

    def _merge(self, target: dict[str, Any], source: Mapping[str, Any], path: KeyPath, layer: Layer) -> None:
        for key, value in source.items():
            here = (*path, key)
            if not isinstance(value, Mapping):
                target[key] = value
                self.origins[here] = layer.origin(here)
                continue
            if not isinstance(target.get(key), dict):
                target[key] = {}
                self.origins.pop(here, None)
            self.origins.setdefault(here, layer.origin(here))
            self._merge(target[key], value, here, layer)

    def origin(self, path: KeyPath) -> Origin | None:
        """Where the key, or else the nearest table around it, was written; None where nothing of it was."""
        return next(
            (self.origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.origins), None
        )


def written(path: Iterable[str]) -> str:
    """A key's path as it stands in TOML."""
    return ".".join(
        part if _BARE_KEY.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path
    )


def misconfigured(problems: Iterable[str]) -> MisconfiguredError:
    """The error that holds these problems, of which there is at least one."""
    lines = tuple(_printable(problem) for problem in problems)
    count = f"{len(lines)} problems; the first: " if len(lines) > 1 else ""
    return MisconfiguredError(
        f"cannot use the configuration: {count}{lines[0]}",
        problems=lines,
        hint="mend the configuration, then check it: buttermilkd --check-config",
    )


def _printable(text: str) -> str:
    """``text`` on one line: keys and values may hold anything, bytes that are no UTF-8 included."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def file_layer(path: Path) -> Layer:
    """What a TOML file says.

    Raises:
        MisconfiguredError: it cannot be read or is no TOML; its one problem names file and line.
    """
    import tomli  # noqa: PLC0415 - the command line seldom needs it

    try:
        content = path.read_bytes()
    except OSError as error:
        raise misconfigured([f"{path}: cannot be read: {error.strerror}"]) from error
    try:
        text = content.decode("utf-8-sig").replace("\r\n", "\n")
        document = tomli.loads(text)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise misconfigured([f"{path}:{line}: is not UTF-8 text"]) from error
    except tomli.TOMLDecodeError as error:
        raise misconfigured([f"{path}:{error.lineno}: is not TOML: {_lowered(error.msg)}"]) from error
    except (RecursionError, ValueError) as error:
        raise misconfigured([f"{path}: is not TOML: {_lowered(str(error))}"]) from error
    folder = path.absolute().parent
    origins = {key: Origin(str(path), folder, line) for key, line in key_lines(text).items()}
    return Layer(document, origins, Origin(str(path), folder))


def _lowered(message: str) -> str:
    first = message.splitlines()[0]
    return first[:1].lower() + first[1:]


def environment_layers(environ: Mapping[str, str], below: Mapping[str, Any]) -> list[Layer]:
    """What ``BUTTERMILKD_<TABLE>__<KEY>`` variables say, one layer for each.

    Names are in any case: each part stands for the key of ``below`` that it matches, else for itself in lower
    case. Other variables of the prefix are left alone.

    Raises:
        MisconfiguredError: one of them is not UTF-8 text.
    """
    names = [name for name in sorted(environ) if _is_setting(name.upper())]
    _check_utf8({f"${name}": f"{name}{environ[name]}" for name in names})
    layers = []
    for name in names:
        path = _known_path(name[len(PREFIX) :].split("__"), below)
        is_text = len(path) > 1 and path[-2] in _NAMES_AS_WRITTEN
        value = environ[name] if is_text else parse_value(environ[name])
        layers.append(single_layer(path, value, Origin(f"${name}", Path())))
    return layers


def _is_setting(name: str) -> bool:
    return name == f"{PREFIX}QUEUE" or (name.startswith(PREFIX) and "__" in name)


def _check_utf8(texts: Mapping[str, str]) -> None:
    """Refuse text with bytes that are no UTF-8: it could be neither checked nor shown."""
    wrong = [source for source, text in texts.items() if text != text.encode("utf-8", "replace").decode()]
    if wrong:
        raise misconfigured(f"{source}: is not UTF-8 text" for source in wrong)


def _known_path(parts: list[str], below: Any) -> KeyPath:
    path: list[str] = []
    for part in parts:
        if path and path[-1] in _NAMES_AS_WRITTEN:
            path.append(part)
            continue
        known = below if isinstance(below, Mapping) else {}
        name = next((key for key in known if key.lower() == part.lower()), part.lower())
        path.append(name)
        below = known.get(name)
    return tuple(path)


def flag_layers(overrides: Mapping[str, Any], flag: str) -> list[Layer]:
    """What flags say, one layer for each: dotted keys, quoted as in TOML where a part holds a dot."""
    _check_utf8({f"{flag}: {key}": f"{key}{value}" for key, value in overrides.items()})
    layers = []
    for key, value in overrides.items():
        path, end = read_key(key)
        layers.append(single_layer(path if end == len(key) else (key,), value, Origin(flag, Path())))
    return layers


def single_layer(path: KeyPath, value: Any, origin: Origin) -> Layer:
    """A layer of one key."""
    document = value
    for part in reversed(path):
        document = {part: document}
    return Layer(document, {}, origin)


def parse_value(text: str) -> Any:
    """The TOML value that ``text`` is, where it is one that a setting can have; else ``text`` itself."""
    import tomli  # noqa: PLC0415 - the command line seldom needs it

    try:
        document = tomli.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = document["value"]
    plain = isinstance(value, bool | int | str | list | dict) or (
        isinstance(value, float) and math.isfinite(value)
    )
    return value if plain and len(document) == 1 else text

"""The bundled example: a profile of every module of the Python standard library on this machine.

As a callable flow, ``buttermilkd.examples.modules:profile`` measures the module that a record names. As a
program it prints the records and sums up the results::

    python -m buttermilkd.examples.modules list [--paths]
    buttermilkctl results BATCH | python -m buttermilkd.examples.modules summary

Standard library only, for any interpreter from Python 3.9 on.
"""

from __future__ import annotations

import sys
import sysconfig
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING

from buttermilkd.examples.measures import measure
from buttermilkd.flows import Reject

if TYPE_CHECKING:  # a worker's interpreter may be too old for it
    from buttermilkd.jobs import Job

LIBRARY = Path(sysconfig.get_path("stdlib"))
"""Where this interpreter keeps its standard library."""

LEFT_OUT = frozenset(
    (
        "site-packages", "dist-packages",  # not the standard library
        "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3",  # not on every machine
        "encodings", "pydoc_data", "_vendor",  # tables and copies, not written by hand
        "__hello__", "__phello__",  # there for tests of the import system
    )
)  # fmt: skip
"""Folders and modules that are left out."""


def profile(job: Job) -> dict[str, object]:
    """Measure the module that the record names.

    Raises:
        Reject: there is no such module, or it cannot be parsed.
    """
    name = job.record_id
    measures = measure_file(name, source_file(name))
    print(_line(name, measures))
    return measures


def measure_file(name: str, file: Path) -> dict[str, object]:
    """Measure the module with this name in this file.

    Raises:
        Reject: it cannot be read or parsed.
    """
    try:
        with tokenize.open(file) as text:
            return measure(text.read())
    except OSError as error:
        raise Reject(f"cannot read module {name!r}: {error.strerror or error}") from error
    except (SyntaxError, ValueError, RecursionError) as error:
        raise Reject(f"cannot parse module {name!r}: {error}") from error


def _line(name: str, measures: dict[str, object]) -> str:
    complexity = (
        f"{measures['most_complex']} ({measures['max_complexity']})" if measures["functions"] else "nothing"
    )
    return f"{name}: {measures['lines']} lines, {measures['functions']} functions, most complex: {complexity}"


def source_file(name: str) -> Path:
    """The file of the module with this dotted name.

    Raises:
        Reject: it is no such name. Nothing outside the standard library can be named.
    """
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        raise Reject(f"cannot profile {name!r}: it is not the dotted name of a module")
    place = LIBRARY.joinpath(*parts)
    package = place / "__init__.py"
    return package if package.is_file() else place.with_name(f"{place.name}.py")


def names() -> list[str]:
    """The dotted names of the modules, in alphabetical order."""
    return sorted({name for file in LIBRARY.rglob("*.py") if (name := _name(file))})


def _name(file: Path) -> str | None:
    """None: it is left out, or cannot be imported by a name."""
    parts = file.relative_to(LIBRARY).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    if not parts or LEFT_OUT.intersection(parts) or not all(part.isidentifier() for part in parts):
        return None
    return ".".join(parts)


def main(arguments: list[str]) -> int:
    """Run as a program; returns the exit status."""
    if arguments == ["list"]:
        print(*names(), sep="\n")
    elif arguments == ["list", "--paths"]:
        print(*(source_file(name) for name in names()), sep="\n")
    elif arguments == ["summary"]:
        from buttermilkd.examples.summary import summarise  # noqa: PLC0415 - no job needs it

        print(summarise(sys.stdin))
    else:
        print(f"usage: {Path(sys.argv[0]).name} list [--paths] | summary", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

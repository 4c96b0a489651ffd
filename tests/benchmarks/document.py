"""Puts what was measured into BENCHMARKS.md, between the marks that each benchmark has there; the rest is prose."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Goal

FILE = Path(__file__).parents[2] / "BENCHMARKS.md"
SUMMARY = "goals"
GOALS = ("Goal", "measured", "bound", "met")
BLOCK = re.compile(r"<!-- ([a-z-]+) -->\n(.*?)<!-- end of \1 -->", re.DOTALL)
CELL = re.compile(r" ?(?<!\\)\| ?")
PLOTS = FILE.parent / "docs" / "benchmarks"


class NoPlaceError(Exception):
    """The document has no marks for a benchmark."""


def write(document: Mapping[str, Any], file: Path = FILE) -> None:
    """Replace the figures of each benchmark that was run; those of others stay.

    Raises:
        NoPlaceError: the file has no place for one of them.
    """
    text = file.read_text()
    for benchmark in document["benchmarks"]:
        text = placed(text, benchmark["name"], block(benchmark, document))
    file.write_text(placed(text, SUMMARY, summary(text)))


def summary(text: str) -> str:
    """All goals that stand in the blocks of a page, each with its benchmark, in one table."""
    rows: list[list[str]] = []
    for name, figures in BLOCK.findall(text):
        lines = figures.splitlines()
        if name != SUMMARY and _line(GOALS) in lines:
            below = lines[lines.index(_line(GOALS)) + 2 :]
            rows += [[name, *CELL.split(line)[1:-1]] for line in below if line.startswith("| ")]
    return f"\n{table(['Benchmark', *GOALS], rows)}\n"


def placed(text: str, name: str, figures: str) -> str:
    """The text with these figures at the place of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}\n.*?{re.escape(end)}", re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise NoPlaceError(f"there is no one place for {name}: {begin} … {end}")
    return pattern.sub(lambda _: f"{begin}\n{figures}\n{end}", text)


def block(benchmark: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What was measured, as Markdown."""
    where = f"Measured on {document['date']} on {document['cpus']} cores of {document['processor']}"
    how = "" if document["effort"] == "full" else f", {document['effort']}"
    parts = [f"{where}, Linux {document['kernel']}, Python {document['python']}{how}."]
    if benchmark["error"]:
        parts.append(f"**Not measured**: {benchmark['error']}")
    plotted = [curve["name"] for curve in benchmark["curves"]]
    for one in benchmark["tables"]:
        parts += [f"*{one['title']}*", table(one["columns"], one["rows"]), *one["notes"]]
    parts += [f"![{name}](docs/benchmarks/{name}.svg)" for name in plotted]
    parts += [f"Not run: {reference}: {why}" for reference, why in benchmark["missing"].items()]
    if benchmark["goals"]:
        parts.append(table(GOALS, [_goal(goal) for goal in benchmark["goals"]]))
    return "\n" + "\n\n".join(parts) + "\n"


def _goal(goal: Mapping[str, Any]) -> Sequence[str]:
    one = Goal(goal["what"], goal["value"], goal["bound"], goal["at_least"], goal["unit"])
    what, value, bound, met = one.cells()
    return [what, value, bound, met if one.met else f"**{met.lower()}**"]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown; all columns but the first are aligned to the right."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(map(_line, lines))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

"""What a benchmark has found: tables, goals, samples, curves, and references that could not be run."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from statistics import median
from typing import Any, TypeVar

from tests.benchmarks.table import say, show

Size = TypeVar("Size")


class Effort(Enum):
    """How much work is measured."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"
    """Whether it works at all: the figures mean nothing."""


@dataclass(frozen=True)
class Goal:
    """A bound that a figure shall keep."""

    what: str
    value: float
    bound: float
    at_least: bool
    unit: str

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def cells(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        unit = f" {self.unit}" if self.unit else ""
        return [
            self.what,
            f"{figure(self.value)}{unit}",
            f"{sign} {figure(self.bound)}{unit}",
            "yes" if self.met else "NO",
        ]


@dataclass(frozen=True)
class Curve:
    """How figures grow; one line for each way."""

    name: str
    title: str
    x: str
    y: str
    lines: dict[str, list[tuple[float, float]]]


@dataclass
class Report:
    """Of one benchmark; tables are printed as they come."""

    name: str
    effort: Effort = Effort.FULL
    huge: bool = False
    """Whether batches grow to ten million jobs."""
    tables: list[dict[str, Any]] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    seconds: float = 0.0
    load: float = field(default_factory=lambda: os.getloadavg()[0])
    """Load average at the start, so that a reader sees whether anything else ran."""

    def pick(self, full: Size, quick: Size, tiny: Size | None = None) -> Size:
        """The size that fits the effort; tiny is quick where nothing else is given."""
        if self.effort is Effort.FULL:
            return full
        return quick if self.effort is Effort.QUICK or tiny is None else tiny

    def show(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *notes: str) -> None:
        show(title, columns, rows, *notes)
        self.tables.append(
            {
                "title": title,
                "columns": list(columns),
                "rows": [list(row) for row in rows],
                "notes": list(notes),
            }
        )

    def compare(
        self, title: str, unit: str, samples: Mapping[str, Sequence[float]], *notes: str, ours: str
    ) -> dict[str, float]:
        """A table of medians, of their spread, and of our ratio to each; the medians."""
        found = {way: list(values) for way, values in samples.items() if values}
        self.samples[title] = found
        medians = {way: median(values) for way, values in found.items()}
        mine = medians[ours]
        rows = [
            [
                way,
                figure(medians[way]),
                f"{figure(min(values))} to {figure(max(values))}",
                str(len(values)),
                f"{mine / medians[way]:.2f}" if medians[way] else "",
            ]
            for way, values in found.items()
        ]
        self.show(title, ["", unit, "range", "rounds", "ours is times"], rows, *notes)
        return medians

    def goal(self, what: str, value: float, bound: float, *, at_least: bool = False, unit: str = "") -> None:
        self.goals.append(Goal(what, value, bound, at_least, unit))

    def curve(
        self, name: str, title: str, x: str, y: str, lines: Mapping[str, Sequence[tuple[float, float]]]
    ) -> None:
        """Keep a curve for a plot, and print its points."""
        kept = {line: sorted(points) for line, points in lines.items() if points}
        self.curves.append(Curve(name, title, x, y, kept))
        places = sorted({place for points in kept.values() for place, _ in points})
        rows = [
            [
                f"{place:,.0f}",
                *(figure(dict(points)[place]) if place in dict(points) else "" for points in kept.values()),
            ]
            for place in places
        ]
        self.show(f"{title}: {y}", [x, *kept], rows)

    def lacks(self, reference: str, why: str) -> None:
        """Say that a reference could not be run."""
        self.missing[reference] = why
        say(f"not measured: {reference}: {why}")

    def summary(self) -> list[list[str]]:
        """A row for each goal."""
        if self.error:
            return [[self.name, f"failed: {self.error}", "", "", "NO"]]
        return [[self.name, *goal.cells()] for goal in self.goals]

    def document(self) -> dict[str, Any]:
        """All of it as JSON."""
        goals = [asdict(goal) | {"met": goal.met} for goal in self.goals]
        return {
            "name": self.name,
            "seconds": round(self.seconds, 1),
            "load_at_start": round(self.load, 2),
            "error": self.error,
            "goals": goals,
            "missing": self.missing,
            "tables": self.tables,
            "samples": self.samples,
            "curves": [asdict(curve) for curve in self.curves],
        }


class Timer:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began


def figure(value: float) -> str:
    """Three digits that count."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 4
    return f"{value:,.{digits}f}"

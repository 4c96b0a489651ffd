"""The results of a batch of profiles, summed up for people. Any interpreter from Python 3.9 on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import fmean
from typing import Any

Row = dict[str, Any]
"""A profile, and the name of its ``module``."""

TOP = 5
"""Modules that each ranking names."""


def summarise(lines: Iterable[str]) -> str:
    """Totals, averages and rankings of these lines, as ``buttermilkctl results`` prints them."""
    rows: list[Row] = [
        {**document["result"], "module": document["record_id"]}
        for document in map(json.loads, lines)
        if document["result"] is not None
    ]
    if not rows:
        return "no results"
    readable = [row for row in rows if row["reading_ease"] is not None]
    return "\n".join(
        [
            *_totals(rows, readable),
            "",
            f"{'most complex':<28}{'function':<34}{'complexity':>10}",
            *(
                f"{row['module']:<28}{row['most_complex'] or '-':<34}{row['max_complexity']:>10}"
                for row in sorted(rows, key=lambda row: -row["max_complexity"])[:TOP]
            ),
            "",
            f"{'hardest docstrings':<28}{'words':>34}{'ease':>10}",
            *(
                f"{row['module']:<28}{row['docstring_words']:>34,}{row['reading_ease']:>10}"
                for row in sorted(readable, key=lambda row: row["reading_ease"])[:TOP]
            ),
        ]
    )


def _totals(rows: list[Row], readable: list[Row]) -> list[str]:
    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    functions = total("functions")
    branches = sum(row["mean_complexity"] * row["functions"] for row in rows)
    ease = f"{fmean(row['reading_ease'] for row in readable):.0f}" if readable else "unknown"
    documented = fmean(row["docstring_share"] for row in rows)
    return [
        f"modules            {len(rows):>8,}",
        f"lines              {total('lines'):>8,}   {total('code_lines'):,} of them code",
        f"functions          {functions:>8,}   cyclomatic complexity {branches / max(1, functions):.1f} on average",
        f"classes            {total('classes'):>8,}",
        f"documented         {documented:>8.0%}   of the public names of the average module",
        f"reading ease       {ease:>8}   of docstrings: 60 is plain English, under 30 is hard",
    ]

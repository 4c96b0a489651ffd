"""Curves as SVG, readable on a light page and on a dark one."""

from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.report import Curve
from tests.benchmarks.table import say

GREY = "#808080"
COLOURS = ("#e07b00", "#3b8ed0", "#2f9e62")
LOGARITHMIC = 20.0
"""A range of more times than this is drawn by its logarithm."""

FEW = 7
"""Places that are each named on the axis."""


def draw(curves: Sequence[Curve], folder: Path) -> None:
    """Write a file of each curve's name."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - where it is missing, figures are printed all the same
    except ImportError:
        say("not drawn: plots need matplotlib: scripts/environment bench")
        return
    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.hashsalt": "buttermilkd",
            "font.family": "sans-serif",
            "font.size": 9,
            **dict.fromkeys(
                ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY
            ),
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    for curve in curves:
        _draw(curve, folder / f"{curve.name}.svg")


def _draw(curve: Curve, file: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(5.0, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for (name, points), colour in zip(curve.lines.items(), COLOURS, strict=False):
        axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=name)
    places = [x for points in curve.lines.values() for x, _ in points]
    heights = [y for points in curve.lines.values() for _, y in points]
    if _is_wide(places):
        axes.set_xscale(
            "symlog" if min(places) == 0 else "log", **({"linthresh": 1_000} if min(places) == 0 else {})
        )
    if len(set(places)) <= FEW:
        axes.set_xticks(sorted(set(places)), [f"{place:,.0f}" for place in sorted(set(places))])
        axes.minorticks_off()
    if _is_wide(heights):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * max(heights))
    axes.set_title(curve.title, fontsize=10)
    axes.set_xlabel(curve.x)
    axes.set_ylabel(curve.y)
    axes.grid(visible=True, color=GREY, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if len(curve.lines) > 1:
        axes.legend(frameon=False)
    figure.savefig(file, transparent=True, metadata={"Date": None})


def _is_wide(values: Sequence[float]) -> bool:
    positive = [value for value in values if value > 0]
    return bool(positive) and max(positive) / min(positive) > LOGARITHMIC

"""The figure of categories: profiles, how alike rankings are, and slopes of activation."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from synkern.study.experiments.categories.results import SIGNIFICANT
from synkern.study.report.drawing import STYLE, colours
from synkern.study.report.words import called
from synkern.study.stage import Arrays, Facts

_LETTERS = 24
_MOST_IN_WORDS = 10
"""Groups with more than this are numbered."""


def compared(arrays: Arrays, facts: Facts, title: str) -> Figure:
    """A row for each ranking: profiles, similarities beside random deals, slopes.

    Args:
        arrays: of the experiment.
        facts: of the experiment.
        title: of the whole figure.
    """
    rankings = [*facts["rankings"]]
    names = _names(facts)
    shades = mpl.colormaps["tab10" if len(names) <= 10 else "viridis"]
    of = [shades(i if len(names) <= 10 else i / (len(names) - 1)) for i in range(len(names))]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 0.8 + 3.4 * len(rankings)), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(len(rankings), 3, squeeze=False, width_ratios=(1.25, 1, 0.9))
        for row, ranking in zip(panels, rankings, strict=True):
            found = facts["rankings"][ranking]
            _profiles(row[0], arrays, ranking, of)
            _similarities(row[1], arrays, ranking, found, len(names))
            _slopes(row[2], found, names, of)
        return figure


def _names(facts: Facts) -> list[str]:
    """Names of groups, numbered as the matrices have them."""
    names = [group["name"] or "without a name" for group in facts["groups"]]
    if len(names) > _MOST_IN_WORDS:
        return [str(place + 1) for place in range(len(names))]
    return [f"{place + 1} {name}" for place, name in enumerate(names)]


def _profiles(axes: Any, arrays: Arrays, ranking: str, of: list[Any]) -> None:
    layers = arrays["layers"]
    for place, colour in enumerate(of):
        low, high = (arrays[f"{ranking}_{end}"][place] for end in ("lower", "upper"))
        axes.fill_between(layers, low, high, color=colour, alpha=0.1, lw=0)
        axes.plot(layers, arrays[f"{ranking}_profile"][place], color=colour, lw=1.2)
    axes.set_title(called(ranking))
    axes.set_xlabel("layer")
    axes.set_ylabel("mean scaled score")


def _similarities(axes: Any, arrays: Arrays, ranking: str, found: Facts, groups: int) -> None:
    """Correlations above the diagonal, what random deals give below it, reliability on it."""
    grid = np.array(arrays[f"{ranking}_similarity"])
    np.fill_diagonal(grid, arrays[f"{ranking}_reliability"])
    marked = np.full((groups, groups), "", object)
    for pair in found["pairs"]:
        row, column = pair["groups"]
        grid[column, row] = pair["random"]
        if pair["q"] is not None and pair["q"] < SIGNIFICANT:
            marked[row, column] = "*"
    low = float(np.nanmin(grid))
    image = axes.imshow(grid, cmap=colours("viridis"), vmin=min(low, 0.5), vmax=1)
    if groups <= _MOST_IN_WORDS:
        for row, column in np.ndindex(groups, groups):
            value = grid[row, column]
            if np.isfinite(value):
                dark = value < min(low, 0.5) + 0.6 * (1 - min(low, 0.5))
                axes.text(
                    column,
                    row,
                    f"{value:.2f}{marked[row, column]}",
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color="white" if dark else "black",
                )
    ticks = np.arange(groups)
    axes.set_xticks(ticks, labels=ticks + 1)
    axes.set_yticks(ticks, labels=ticks + 1)
    axes.set_title("rank correlation \\ random deals", fontsize=9)
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


def _slopes(axes: Any, found: Facts, names: list[str], of: list[Any]) -> None:
    for place, group in enumerate(found["groups"]):
        slope = group["slope"]
        axes.plot([slope["low"], slope["high"]], [place, place], color=of[place], lw=2)
        mark = "o" if group["slope_q"] < SIGNIFICANT else "x"
        axes.plot(slope["value"], place, mark, color=of[place])
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_yticks(range(len(names)), labels=[textwrap.fill(n, _LETTERS) for n in names])
    axes.tick_params(axis="y", labelsize=6.5)
    axes.invert_yaxis()
    axes.set_xlabel("slope of activation on rank, SD")

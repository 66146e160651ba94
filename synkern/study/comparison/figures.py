"""The figure of a comparison: profiles under every normalisation, and how alike they are."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from synkern.analysis.comparison import DepthProfile, Similarity
from synkern.analysis.normalisation import NORMALISATIONS, on_grid
from synkern.study.comparison.by_ranking import ByRanking
from synkern.study.numerals import number
from synkern.study.report import called
from synkern.study.report.drawing import STYLE, colours

# Okabe and Ito's colours, told apart by every kind of colour vision, black last: for published ones
# the line is dashed, and after a round of colours the mark changes.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = ("o", "s", "^", "D", "v")
_ON_AXIS = {
    "node_quantile": "mean quantile of the layer's nodes",
    "layer_rank": "rank of the layer, scaled to 0 … 1",
    "minmax": "mean rank of the layer, scaled to 0 … 1",
}
_AS_PUBLISHED = {"layer_rank": " (as Fig. 2c)", "minmax": " (as Fig. 3a)"}
# Matrices of more are coloured without numbers.
_MOST_NUMBERS = 8
# Numbers of more are smaller.
_FEW = 5


def comparison_figure(compared: ByRanking, points: int) -> Figure:
    """Draw profiles under each normalisation, with bands over prompts, and their similarities.

    Args:
        compared: by one ranking.
        points: of the grid that bands are drawn on.
    """
    with mpl.rc_context(STYLE):
        rows = math.ceil(len(compared.profiles) / 3)
        figure = Figure(figsize=(10, 8.2 + 0.2 * rows), dpi=120, layout="constrained")
        figure.suptitle(f"Profiles over depth by {called(compared.ranking)}", fontweight="bold")
        panels = figure.subplots(2, 2)
        for axes, normalisation in zip(panels.flat, NORMALISATIONS, strict=False):
            _overlay(axes, compared, normalisation, points)
        lines = {line.get_label(): line for axes in panels.flat[:3] for line in axes.lines}
        handles = [lines[p.name] for p in compared.profiles]
        _matrix(panels[1, 1], compared.similarity)
        figure.legend(
            handles,
            [f"{place + 1}  {p.name}" for place, p in enumerate(compared.profiles)],
            loc="outside lower center",
            ncols=3,
            frameon=False,
        )
    return figure


def _overlay(axes: Any, compared: ByRanking, normalisation: str, points: int) -> None:
    for place, profile in enumerate(compared.profiles):
        if normalisation in profile.values:
            _curve(axes, profile, normalisation, place, points)
    axes.set(
        title=f"{normalisation}{_AS_PUBLISHED.get(normalisation, '')}",
        xlabel="relative depth",
        ylabel=_ON_AXIS[normalisation],
        xlim=(-0.02, 1.02),
        ylim=(-0.03, 1.03),
    )
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(alpha=0.25, linewidth=0.6)
    absent = [
        f"{place + 1}" for place, p in enumerate(compared.profiles) if normalisation not in p.values
    ]
    if absent:
        axes.text(
            *(0.5, 0.02),
            f"not published so: {', '.join(absent)}",
            ha="center",
            transform=axes.transAxes,
            color="#666666",
        )


def _curve(axes: Any, profile: DepthProfile, normalisation: str, place: int, points: int) -> None:
    drawn = normalisation in profile.draws
    style: Any = {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKS[place // len(_COLOURS) % len(_MARKS)],
        "linestyle": "--" if profile.read else "-",
        "linewidth": 1.0 if profile.read else 1.5,
    }
    if drawn:
        rows = on_grid(profile.draws[normalisation], profile.depth, points)
        rows = rows[np.isfinite(rows).all(1)]
        low, high = np.percentile(rows, [2.5, 97.5], axis=0)
        grid = np.linspace(0, 1, points)
        axes.fill_between(grid, low, high, color=style["color"], alpha=0.12, linewidth=0)
    axes.plot(
        profile.depth,
        profile.values[normalisation],
        label=profile.name,
        markersize=3,
        **style,
    )


def _matrix(axes: Any, similarity: Similarity | None) -> None:
    """Spearman as colours, with p below the diagonal and reliability on it."""
    if similarity is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "one profile only", ha="center", transform=axes.transAxes)
        return
    size = len(similarity.names)
    shown = similarity.spearman.copy()
    np.fill_diagonal(shown, similarity.reliability)
    image = axes.imshow(shown, cmap=colours("RdBu_r"), vmin=-1, vmax=1)
    axes.figure.colorbar(image, ax=axes, shrink=0.85, label="Spearman")
    axes.set_xticks(range(size), labels=[str(place + 1) for place in range(size)])
    axes.set_yticks(range(size), labels=[str(place + 1) for place in range(size)])
    numbered = size <= _MOST_NUMBERS
    below = "p below, " if numbered else ""
    axes.set_title(f"similarity, {similarity.normalisation}; {below}reliability on the diagonal")
    if not numbered:
        return
    for row in range(size):
        for column in range(size):
            value = shown[row, column]
            if not math.isfinite(value):
                continue
            text = number(value, 2) if row <= column else f"{similarity.p[row, column]:.3f}"
            axes.text(
                column,
                row,
                f"({text})" if row == column else text,
                ha="center",
                va="center",
                fontsize=8 if size <= _FEW else 7,
                style="italic" if row > column else "normal",
                color="white" if abs(value) > 0.6 else "black",
            )

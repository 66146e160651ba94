"""The figure of a robustness table: one line a row, one colour a ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from synkern.study.report import called
from synkern.study.report.drawing import STYLE
from synkern.study.stage import RAW

_COLOURS = ("#0072B2", "#D55E00", "#009E73")
_PANELS = {
    "quadratic_term": "quadratic term",
    "nodes": "rank correlation, nodes",
    "layers": "rank correlation, layers",
}
# Of a row's height, between two rankings.
_APART = 0.22


def table(facts: Mapping[str, Any], title: str) -> Figure:
    """Draw quadratic terms and correlations of all rows and rankings.

    Args:
        facts: of the experiment.
        title: of the whole figure.
    """
    rows = facts["rows"]
    # Synergy itself is in other units, and is in the table alone.
    rankings = [ranking for ranking in facts["rankings"] if ranking != RAW]
    with mpl.rc_context(STYLE):
        size = 10, 1.6 + 0.27 * len(rows)
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(1, len(_PANELS), sharey=True, width_ratios=(1.6, 1, 1))
        for axes, (name, said) in zip(panels, _PANELS.items(), strict=True):
            for place, row in enumerate(rows):
                _row(axes, row, place, rankings, name)
            axes.set_xlabel(said)
            axes.axvline(0, color="#888888", linewidth=0.8)
            axes.grid(axis="x", alpha=0.25, linewidth=0.6)
            for place in range(0, len(rows), 2):
                axes.axhspan(place - 0.5, place + 0.5, color="#f4f4f4", zorder=0)
        for axes in panels[1:]:
            axes.set_xlim(-1.06, 1.06)
        panels[0].set_yticks(range(len(rows)), labels=[row["name"] for row in rows])
        panels[0].set_ylim(len(rows) - 0.5, -0.5)
        handles: list[Any] = [
            Line2D([], [], color=colour, marker="o", linestyle="", label=called(ranking))
            for ranking, colour in zip(rankings, _COLOURS, strict=False)
        ]
        filled: Any = {"color": "#444444", "marker": "o", "linestyle": ""}
        handles.append(Line2D([], [], **filled, label="filled: inverted U"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _row(axes: Any, row: Mapping[str, Any], place: int, rankings: list[str], name: str) -> None:
    drawn = False
    for order, (ranking, colour) in enumerate(zip(rankings, _COLOURS, strict=False)):
        found = row["rankings"][ranking]
        if found["absent"] is not None or found[name] is None:
            continue
        drawn = True
        height = place + _APART * (order - (len(rankings) - 1) / 2)
        if name == "quadratic_term":
            axes.plot(found["quadratic_term_interval"], [height, height], color=colour, linewidth=1)
        axes.plot(
            found[name],
            height,
            marker="o",
            markersize=4,
            color=colour,
            markerfacecolor=colour if found["inverted_u"] else "white",
        )
    if not drawn and name == "quadratic_term":
        axes.text(0.02, place, "not computed", color="#777777", va="center", fontsize=8)

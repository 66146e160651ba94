"""The figure of a compression: what is lost against bits kept, a panel for each pair of bits.

Drawn on `matplotlib.figure.Figure` alone: no global state, no window. matplotlib is an extra, and
imported when a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synkern._faces import Later
from synkern.interventions.compressing.statistics import Floats
from synkern.interventions.curves.plotting import STYLES

_figures = Later("matplotlib.figure")

LABELS = {
    "kl": "KL(loaded || rounded), nats",
    "loss": "loss, nats",
    "agreement": "tokens that are likeliest",
    "accuracy": "accuracy of the tasks",
}
"""What a figure can show."""
_MOST_COLUMNS = 3
_WORDS = {0: "removed", 16: "half precision"}


@dataclass(frozen=True, eq=False)
class Panel:
    """What one pair of bits gives.

    Attributes:
        pair: high and low bits.
        bits: (points,) bits per weight; the ends are all nodes at the low and at the high ones.
        lines: by order, (draws, points).
        same: (models, 2), bits per weight and height of models whose nodes all have the same bits.
    """

    pair: tuple[int, int]
    bits: Floats
    lines: Mapping[str, Floats]
    same: Floats


def draw(
    panels: Sequence[Panel], measure: str, *, intact: float | None = None, title: str = ""
) -> Any:
    """Draw a measure over the bits per weight of the nodes.

    Of an order with several draws the line is their mean, and the band all of them. Black dots are
    models whose nodes all have the same bits.

    Args:
        panels: one for each pair of bits.
        measure: one of `LABELS`.
        intact: what the model has as it was loaded; a dotted line, or none.
        title: above the figure.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    columns = min(_MOST_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    try:
        figure = _figures.Figure(
            figsize=(3.4 * columns + 0.4, 2.7 * rows + 0.9), layout="constrained"
        )
    except ModuleNotFoundError as error:
        raise ImportError(
            "plot needs matplotlib, which is not installed: pip install 'synkern[plot]'"
        ) from error
    places = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, panel in zip(places, panels, strict=False):
        _draw_panel(axes, panel)
        if intact is not None:
            axes.axhline(intact, color="k", linewidth=0.6, linestyle=":")
    for axes in places[len(panels) :]:
        axes.remove()
    for axes in places[max(0, len(panels) - columns) : len(panels)]:
        axes.set_xlabel("bits per weight, grids included")
    for axes in places[: len(panels) : columns]:
        axes.set_ylabel(LABELS[measure])
    labelled = places[0].get_legend_handles_labels()
    figure.legend(*labelled, loc="outside lower center", ncols=3, frameon=False)
    if title:
        figure.suptitle(title, fontsize="medium")
    return figure


def _draw_panel(axes: Any, panel: Panel) -> None:
    for name, heights in panel.lines.items():
        colour, line = STYLES.get(name, ("#34495e", "-"))
        draws, mean = len(heights), heights.mean(0)
        label = name.replace("_", " ") + (f" ({draws} draws)" if draws > 1 else "")
        axes.plot(panel.bits, mean, line, color=colour, label=label)
        axes.plot(panel.bits[1:-1], mean[1:-1], "o", color=colour, markersize=3)
        if draws > 1:
            ends = heights.min(0), heights.max(0)
            axes.fill_between(panel.bits, *ends, color=colour, alpha=0.15, linewidth=0)
    inside = (panel.same[:, 0] >= panel.bits[0]) & (panel.same[:, 0] <= panel.bits[-1])
    axes.plot(*panel.same[inside].T, "k.", markersize=7, label="all nodes at the same bits")
    high, low = (_WORDS.get(each, f"{each} bits") for each in panel.pair)
    axes.set_title(f"{high}, the rest {low}", fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)

"""The figure of ablation curves: as the published one, with all controls.

Drawn on `matplotlib.figure.Figure` alone: no global state, no window. matplotlib is an extra, and
imported when a figure is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synkern._faces import Later
from synkern.interventions.curve_statistics import Floats

_figures = Later("matplotlib.figure")

_STYLES: dict[str, tuple[str, str]] = {
    "synergy": ("#c0392b", "-"),
    "redundancy": ("#2471a3", "-"),
    "random": ("#7f8c8d", "--"),
    "layer_matched": ("#d68910", "--"),
    "layer_only": ("#7d6608", ":"),
    "norm": ("#1e8449", "-."),
}
"""By order: colour and line. Others take the colours that are left."""

_OTHERS = ("#8e44ad", "#16a085", "#34495e", "#ba4a00", "#5b2c6f")

_LABELS = {
    "kl": "KL(intact || ablated), nats",
    "loss": "loss of the response, nats",
    "agreement": "share of the response's tokens that are likeliest",
}


def draw(
    fractions: Floats,
    heights: Mapping[str, Floats],
    measure: str = "kl",
    *,
    title: str = "",
    size: tuple[float, float] = (6.4, 4.0),
) -> Any:
    """Draw a measure over the fraction of nodes that is out, a line for each order.

    Of an order with several draws the line is their mean, and the band one standard deviation of
    the draws (n - 1) on either side.

    Args:
        fractions: (points,).
        heights: by order, (draws, points).
        measure: what they are.
        title: above the figure.
        size: width and height, inches.

    Returns:
        A matplotlib figure.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        figure = _figures.Figure(figsize=size, layout="constrained")
    except ModuleNotFoundError as error:
        raise ImportError(
            "plot needs matplotlib, which is not installed: pip install 'synkern[plot]'"
        ) from error
    axes = figure.add_subplot()
    draw_on(axes, fractions, heights, measure)
    axes.legend(frameon=False, fontsize="small")
    if title:
        axes.set_title(title, fontsize="medium")
    return figure


def draw_on(
    axes: Any, fractions: Floats, heights: Mapping[str, Floats], measure: str = "kl"
) -> None:
    """Draw the lines of `draw` on axes of a larger figure, without a legend."""
    others = iter(_OTHERS * len(heights))
    for name, draws in heights.items():
        colour, line = _STYLES.get(name) or (next(others), "-")
        mean = draws.mean(0)
        label = name if len(draws) == 1 else f"{name} ({len(draws)} draws)"
        axes.plot(100 * fractions, mean, line, color=colour, label=label, linewidth=1.6)
        if len(draws) > 1:
            spread = draws.std(0, ddof=1)
            low, high = mean - spread, mean + spread
            axes.fill_between(100 * fractions, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("nodes taken out, %")
    axes.set_ylabel(_LABELS[measure])
    axes.set_xlim(0, 100 * fractions[-1])
    axes.spines[["top", "right"]].set_visible(False)

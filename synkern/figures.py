"""The figures of a study. Drawn on `matplotlib.figure.Figure` alone: no global state, no window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from synkern.profile import LayerProfile

# Okabe and Ito's colours, told apart by every kind of colour vision; the line styles differ too.
_STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"))
_RANKING_UNITS = {
    "rank_difference": "rank difference",
    "mean_difference": "nats",
    "balance": "share of synergy",
}
_MISSING = "#BDBDBD"
_TEXT: Any = {"font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold"}


def pair_matrices(
    sts: NDArray[np.float64], rtr: NDArray[np.float64], layer: NDArray[np.int64], title: str
) -> Figure:
    """Synergy and redundancy of all pairs of nodes, nodes in order of layer.

    Args:
        sts: (nodes, nodes), nats; NaN, as on the diagonal, is drawn grey.
        rtr: (nodes, nodes), nats.
        layer: (nodes,), rising.
        title: of the whole figure.
    """
    starts = np.flatnonzero(np.diff(layer, prepend=layer[0] - 1))
    ends = np.append(starts[1:], len(layer))
    shown = _spread(len(starts), 8)
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 4.6), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        for axes, matrix, name in zip(
            figure.subplots(1, 2),
            (sts, rtr),
            ("Synergy (sts)", "Redundancy (rtr)"),
            strict=True,
        ):
            # A few extreme pairs would leave all others in one colour: cut at a high percentile.
            top = float(np.nanpercentile(matrix, 99.5))
            cut = bool(np.nanmax(matrix) > top)
            image = axes.imshow(
                matrix,
                cmap=_colours("viridis"),
                vmin=min(0.0, float(np.nanmin(matrix))),
                vmax=top,
                interpolation="nearest",
            )
            for boundary in starts[1:]:
                axes.axhline(boundary - 0.5, color="white", linewidth=0.25, alpha=0.6)
                axes.axvline(boundary - 0.5, color="white", linewidth=0.25, alpha=0.6)
            middles = ((starts + ends - 1) / 2)[shown]
            axes.set_xticks(middles, labels=layer[starts[shown]])
            axes.set_yticks(middles, labels=layer[starts[shown]])
            axes.set(title=name, xlabel="node, by layer", ylabel="node, by layer")
            figure.colorbar(
                image,
                ax=axes,
                label=f"{name.split()[0].lower()} (nats)",
                shrink=0.85,
                extend="max" if cut else "neither",
            )
    return figure


def head_maps(
    scores: Mapping[str, NDArray[np.float64]],
    layer: NDArray[np.int64],
    head: NDArray[np.int64],
    title: str,
) -> Figure:
    """The score of each node by layer and head, one panel per ranking.

    Args:
        scores: (nodes,) by ranking, in the ranking's own unit; NaN is drawn grey.
        layer: (nodes,).
        head: (nodes,), index within the layer.
        title: of the whole figure.
    """
    layers = np.unique(layer)
    row = np.searchsorted(layers, layer)
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 5), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(1, len(scores), squeeze=False)[0]
        for axes, (ranking, score) in zip(panels, scores.items(), strict=True):
            grid = np.full((len(layers), int(head.max()) + 1), np.nan)
            grid[row, head] = score
            limits: dict[str, Any] = {"cmap": _colours("viridis")}
            if np.nanmin(grid) < 0 < np.nanmax(grid):
                # Zero is where synergy and redundancy balance: give it the neutral colour.
                largest = float(np.nanmax(np.abs(grid)))
                limits = {"cmap": _colours("PuOr_r"), "vmin": -largest, "vmax": largest}
            image = axes.imshow(
                grid, aspect="auto", origin="lower", interpolation="nearest", **limits
            )
            heads, shown = _spread(grid.shape[1], 8), _spread(len(layers), 12)
            axes.set_xticks(heads, labels=heads)
            axes.set_yticks(shown, labels=layers[shown])
            axes.set(title=_words(ranking), xlabel="head")
            figure.colorbar(image, ax=axes, label=_RANKING_UNITS.get(ranking, "score"))
        panels[0].set_ylabel("layer")
    return figure


def layer_profile_curves(profiles: Mapping[str, Mapping[str, LayerProfile]], title: str) -> Figure:
    """Layer profiles with bootstrap bands and fitted parabolas, one panel per ranking.

    Args:
        profiles: by what the curve is called in the legend, then by ranking.
        title: of the whole figure.
    """
    rankings = list(next(iter(profiles.values())))
    with mpl.rc_context(_TEXT):
        figure = Figure(figsize=(10, 4.3), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(1, len(rankings), squeeze=False, sharey=True)[0]
        for axes, ranking in zip(panels, rankings, strict=True):
            for (name, by_ranking), (colour, line, marker) in zip(
                profiles.items(), _STYLES, strict=False
            ):
                profile = by_ranking[ranking]
                percent = f"{100 * profile.confidence:g} %"
                axes.plot(
                    profile.depth,
                    profile.mean,
                    line,
                    color=colour,
                    marker=marker,
                    markersize=3,
                    linewidth=1.1,
                    label=name,
                )
                axes.fill_between(
                    profile.depth,
                    profile.lower,
                    profile.upper,
                    color=colour,
                    alpha=0.18,
                    linewidth=0,
                    label=f"{percent} band",
                )
                axes.plot(
                    profile.depth,
                    profile.fitted,
                    line,
                    color=colour,
                    linewidth=2.4,
                    alpha=0.55,
                    label="parabola",
                )
            axes.set(
                title=_words(ranking), xlabel="relative depth", xlim=(-0.02, 1.02), ylim=(0, 1)
            )
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.grid(alpha=0.25, linewidth=0.6)
        panels[0].set_ylabel("score, scaled to 0 … 1 over all nodes,\nmean of the layer")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(profiles), frameon=False
        )
    return figure


def _words(ranking: str) -> str:
    return ranking.replace("_", " ")


def _spread(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` indices below `count`, a round step apart."""
    step = next(s for k in range(9) for s in (10**k, 2 * 10**k, 5 * 10**k) if count <= s * most)
    return np.arange(0, count, step)


def _colours(name: str) -> Any:
    return mpl.colormaps[name].with_extremes(bad=_MISSING)

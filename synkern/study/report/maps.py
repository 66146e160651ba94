"""Figures in which every node has its place by layer: its score, and how often it was routed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from synkern.analysis.scores import tied_rank
from synkern.study.report.drawing import STYLE, Floats, colours, spread
from synkern.study.report.words import called
from synkern.study.words import Words

# That of a mean difference is the unit of the atoms.
_RANKING_UNITS = {"rank_difference": "rank difference", "balance": "share of synergy"}
# Nodes of a layer for which there is room beside another map, in the width of the page, or at all.
_SIDE_BY_SIDE = 32
_IN_A_ROW = 300
# Where there are more, a layer is drawn by so many quantiles of its scores.
_QUANTILES = 101


def score_maps(
    scores: Mapping[str, Floats],
    layer: NDArray[np.int64],
    index: NDArray[np.int64],
    title: str,
    words: Words,
    unit: str = "nats",
) -> Figure:
    """The score of each node by layer and index, one panel per ranking.

    Layers of one node each are bars. Where a layer has more nodes than could be told apart, its
    scores are drawn in rising order instead: of so many, the index says nothing.

    Args:
        scores: (nodes,) by ranking, in the ranking's own unit; NaN is drawn grey.
        layer: (nodes,).
        index: (nodes,), within the layer.
        title: of the whole figure.
        words: for the nodes.
        unit: of the atoms.
    """
    with mpl.rc_context(STYLE):
        if not words.numbered:
            return _bars(scores, layer, title, words, unit)
        columns = int(index.max()) + 1
        stacked = _SIDE_BY_SIDE < columns <= _IN_A_ROW
        layers = np.unique(layer)
        shape = (len(scores), 1) if stacked else (1, len(scores))
        height = 0.7 + len(scores) * _height(len(layers)) if stacked else 5.0
        figure = Figure(figsize=(10, height), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(*shape, squeeze=False)
        for axes, (ranking, score) in zip(panels.flat, scores.items(), strict=True):
            label = _RANKING_UNITS.get(ranking, unit)
            if is_sorted(index, words):
                _sorted_map(axes, _by_quantile(score, layer), layers, words, label)
            else:
                _map(axes, _grid(score, layer, index), layers, words, label)
            axes.set_title(called(ranking))
            if stacked and axes is not panels[-1, 0]:
                axes.set_xlabel("")
        for axes in panels[:, 0]:
            axes.set_ylabel("layer")
    return figure


def is_sorted(index: NDArray[np.int64], words: Words) -> bool:
    """Whether maps show the scores of a layer in rising order, and not by index (nodes,)."""
    return words.numbered and int(index.max()) + 1 > _IN_A_ROW


def routing_maps(
    share: Floats,
    scores: Mapping[str, Floats],
    layer: NDArray[np.int64],
    index: NDArray[np.int64],
    title: str,
    words: Words,
) -> Figure:
    """How often each node was routed, and the ranks of the nodes against that.

    Args:
        share: (nodes,) of the tokens at which the node took part.
        scores: (nodes,) by ranking.
        layer: (nodes,).
        index: (nodes,), within the layer.
        title: of the whole figure.
        words: for the nodes.
    """
    layers = np.unique(layer)
    with mpl.rc_context(STYLE):
        tall = _height(len(layers))
        figure = Figure(figsize=(10, 3.9 + tall), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        grid = figure.add_gridspec(2, len(scores), height_ratios=(tall, 3.2))
        axes = figure.add_subplot(grid[0, :])
        shown = _grid(share, layer, index)
        _map(axes, shown, layers, words, "share of the tokens", limits=(0, float(share.max())))
        axes.set(title="routing frequency", ylabel="layer")
        first = None
        for column, (ranking, score) in enumerate(scores.items()):
            axes = figure.add_subplot(grid[1, column], sharey=first)
            first = first or axes
            dots: Any = {"s": min(max(3000 / len(share), 9), 36), "alpha": 0.5, "linewidths": 0}
            axes.scatter(share, tied_rank(score), color="#0072B2", **dots)
            axes.set(title=called(ranking), xlabel="share of the tokens")
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.grid(alpha=0.25, linewidth=0.6)
            if column == 0:
                axes.set_ylabel(f"rank of the {words.one}\n(most synergistic highest)")
    return figure


def _bars(
    scores: Mapping[str, Floats],
    layer: NDArray[np.int64],
    title: str,
    words: Words,
    unit: str,
) -> Figure:
    """One bar a layer, one panel per ranking."""
    figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
    figure.suptitle(title, fontweight="bold")
    panels = figure.subplots(1, len(scores), squeeze=False)[0]
    for axes, (ranking, score) in zip(panels, scores.items(), strict=True):
        axes.bar(layer, score, 0.8, color="#0072B2")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(
            title=called(ranking),
            xlabel="layer",
            ylabel=_RANKING_UNITS.get(ranking, unit),
            xlim=(layer.min() - 0.7, layer.max() + 0.7),
        )
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    return figure


def _map(
    axes: Any,
    grid: Floats,
    layers: NDArray[np.int64],
    words: Words,
    label: str,
    limits: tuple[float, float] | None = None,
) -> None:
    """Layers from below, nodes by their index."""
    scale = _scale(grid) if limits is None else {"cmap": colours("viridis")}
    if limits is not None:
        scale |= {"vmin": limits[0], "vmax": limits[1] or 1.0}
    image = axes.imshow(grid, aspect="auto", origin="lower", interpolation="nearest", **scale)
    indices = spread(grid.shape[1], 8 if grid.shape[1] <= _SIDE_BY_SIDE else 16)
    axes.set_xticks(indices, labels=indices)
    _layer_ticks(axes, layers)
    axes.set_xlabel(words.one)
    axes.figure.colorbar(image, ax=axes, label=label)


def _sorted_map(
    axes: Any, grid: Floats, layers: NDArray[np.int64], words: Words, label: str
) -> None:
    """Layers from below, the scores of each from its lowest to its highest."""
    # A few extreme nodes would leave all others in one colour.
    low, high = np.nanpercentile(grid, [0.5, 99.5])
    scale = _scale(np.clip(grid, low, high))
    image = axes.imshow(
        grid,
        aspect="auto",
        origin="lower",
        interpolation="nearest",
        extent=(0, 1, -0.5, len(grid) - 0.5),
        **scale,
    )
    _layer_ticks(axes, layers)
    axes.set_xticks((0, 0.5, 1), labels=("lowest", "median", "highest"))
    axes.set_xlabel(f"{words.many} of the layer, by score")
    axes.figure.colorbar(image, ax=axes, label=label, extend="both")


def _layer_ticks(axes: Any, layers: NDArray[np.int64]) -> None:
    shown = spread(len(layers), 12)
    axes.set_yticks(shown, labels=layers[shown])


def _scale(grid: Floats) -> dict[str, Any]:
    """Colours for the values of a map."""
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    if low < 0 < high:
        # Zero is where synergy and redundancy balance: give it the neutral colour.
        largest = max(-low, high)
        return {"cmap": colours("PuOr_r"), "vmin": -largest, "vmax": largest}
    return {"cmap": colours("viridis"), "vmin": low, "vmax": high}


def _grid(values: Floats, layer: NDArray[np.int64], index: NDArray[np.int64]) -> Floats:
    """Values of nodes as (layers, indices); NaN where there is none."""
    layers, row = np.unique(layer, return_inverse=True)
    grid = np.full((len(layers), int(index.max()) + 1), np.nan)
    grid[row, index] = values
    return grid


def _by_quantile(values: Floats, layer: NDArray[np.int64]) -> Floats:
    """Quantiles of the values of each layer, (layers, quantiles); NaN where it has none."""
    at = np.linspace(0, 100, _QUANTILES)
    rows = []
    for one in np.unique(layer):
        own = values[(layer == one) & np.isfinite(values)]
        rows.append(np.percentile(own, at) if len(own) else np.full(_QUANTILES, np.nan))
    return np.stack(rows)


def _height(layers: int) -> float:
    """Inches for a map of so many layers in the width of the page."""
    return min(max(0.9 + 0.06 * layers, 1.5), 3.6)

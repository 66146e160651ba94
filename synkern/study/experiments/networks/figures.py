"""The figures of networks: the strongest edges drawn, and measures beside nulls."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from synkern.analysis.graph.communities import NO_COMMUNITY
from synkern.analysis.graph.drawing import draw_network
from synkern.analysis.graph.results import ratio_to_null
from synkern.analysis.graph.weights import WeightedGraph
from synkern.study.experiments.networks.results import GRAPHS
from synkern.study.report.drawing import STYLE
from synkern.study.stage import Arrays, Facts

_ATOMS = {"synergy": "sts", "redundancy": "rtr"}
_COLOURS = {"synergy": "#0072B2", "redundancy": "#D55E00"}
_LINES = {"weights": "-", "strengths": "--", "layers": ":"}
_APART = 0.14
_CAPTION = 66
"""Letters of a line below a drawing."""

_MEASURES = {"efficiency": 0, "modularity": 3}
"""Those that are drawn, and where they stand among `results.MEASURES`."""


def drawn(arrays: Arrays, trained: Arrays, density: float, title: str, unit: str) -> Figure:
    """Both networks, nodes where the experiment has put them.

    Args:
        arrays: of the experiment.
        trained: of the trained weights.
        density: share of the pairs that is drawn.
        title: of the whole figure.
        unit: of the atoms.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 5.4), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(1, 2)
        for axes, name in zip(panels, GRAPHS, strict=True):
            graph = WeightedGraph.of(trained[_ATOMS[name]], _ATOMS[name])
            mapped, said = draw_network(
                axes,
                graph,
                trained["layer"],
                arrays[f"{name}_places"],
                density=density,
                unit=unit,
            )
            axes.set_title(name)
            under = textwrap.fill(said, _CAPTION)
            # Not in the layout, which would make room for its width.
            axes.text(
                0.5, -0.01, under, transform=axes.transAxes, ha="center", va="top", fontsize=7.5
            ).set_in_layout(False)
        figure.colorbar(mapped, ax=panels, label="layer", shrink=0.7)
        return figure


def measured(arrays: Arrays, layer: NDArray[np.int64], facts: Facts, title: str) -> Figure:
    """Efficiency and modularity beside nulls and over densities, communities, participation.

    Args:
        arrays: of the experiment.
        layer: (nodes,).
        facts: of the experiment.
        title: of the whole figure.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 7.4), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(2, 3)
        for column, measure in enumerate(_MEASURES):
            _beside_nulls(panels[0, column], measure, facts)
            _over_densities(panels[1, column], measure, arrays, facts)
        for axes in panels[:, 0]:
            axes.legend(frameon=False, fontsize="small")
        _participation(panels[0, 2], arrays, layer)
        _communities(panels[1, 2], arrays, layer)
        return figure


def _beside_nulls(axes: Any, measure: str, facts: Facts) -> None:
    """Ratios to the means of nulls, with intervals over prompts."""
    for shift, name in zip((-_APART, _APART), GRAPHS, strict=True):
        against: Mapping[str, Facts] = facts["graphs"][name]["against"]
        for place, found in enumerate(against.values()):
            ratio = found[measure]["ratio"]
            if ratio["value"] is None:
                continue
            label = name if place == 0 else None
            at = place + shift
            axes.plot(at, ratio["value"], "o", ms=4, color=_COLOURS[name], label=label)
            if ratio["low"] is not None:
                axes.plot([at, at], [ratio["low"], ratio["high"]], color=_COLOURS[name], lw=1.5)
    nulls = [*facts["graphs"]["synergy"]["against"]]
    axes.axhline(1, color="grey", lw=0.8)
    axes.set_xticks(range(len(nulls)), labels=[f"null\n{null}" for null in nulls])
    axes.set_xlim(-0.5, len(nulls) - 0.5)
    axes.set_title(f"{measure}, all pairs")
    axes.set_ylabel("ratio to the null")


def _over_densities(axes: Any, measure: str, arrays: Arrays, facts: Facts) -> None:
    """Ratios to the means of nulls with only the strongest edges."""
    at = arrays["null_densities"]
    place = np.isin(arrays["densities"], at)
    for name in GRAPHS:
        observed = arrays[f"{name}_measured"][_MEASURES[measure]][place]
        for null, draws in zip(
            facts["graphs"][name]["against"], arrays[f"{name}_nulls"], strict=True
        ):
            ratio = ratio_to_null(measure, observed, draws[_MEASURES[measure]].mean(0))
            axes.plot(
                100 * at,
                ratio,
                _LINES[null],
                marker=".",
                color=_COLOURS[name],
                label=f"null {null}" if name == "synergy" else None,
            )
    axes.axhline(1, color="grey", lw=0.8)
    axes.set_xscale("log")
    axes.set_xticks(100 * at, labels=[f"{100 * one:g}" for one in at], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("strongest pairs kept, %")
    axes.set_ylabel("ratio to the null")
    axes.set_title(f"{measure} by density")


def _participation(axes: Any, arrays: Arrays, layer: NDArray[np.int64]) -> None:
    """Participation of each node, and its mean by layer."""
    layers = np.unique(layer)
    for name in GRAPHS:
        values = arrays[f"{name}_participation"]
        axes.plot(layer, values, ".", color=_COLOURS[name], ms=2, alpha=0.5)
        by_layer = [values[(layer == one) & np.isfinite(values)] for one in layers]
        means = [one.mean() if len(one) else np.nan for one in by_layer]
        axes.plot(layers, means, color=_COLOURS[name])
    axes.set_xlabel("layer")
    axes.set_title("participation")


def _communities(axes: Any, arrays: Arrays, layer: NDArray[np.int64]) -> None:
    """Which share of each layer's nodes belongs to each community."""
    layers = np.unique(layer)
    columns, labels = [], []
    for name in GRAPHS:
        found = arrays[f"{name}_consensus"]
        if (found == NO_COMMUNITY).all():
            continue
        for community in range(int(found.max()) + 1):
            columns.append([(found[layer == one] == community).mean() for one in layers])
            labels.append(f"{name[0]}{community + 1}")
        columns.append([np.nan] * len(layers))
        labels.append("")
    axes.set_title("communities and layers")
    axes.set_ylabel("layer")
    if not columns:
        axes.text(0.5, 0.5, "runs do not agree", transform=axes.transAxes, ha="center")
        return
    grid = np.array(columns[:-1]).T
    image = axes.imshow(
        grid, aspect="auto", origin="lower", interpolation="nearest", vmin=0, vmax=1, cmap="Greys"
    )
    shown = np.linspace(0, len(layers) - 1, min(len(layers), 7)).round().astype(int)
    axes.set_yticks(shown, labels=layers[shown])
    ticks = [place for place, label in enumerate(labels[:-1]) if label]
    axes.set_xticks(ticks, labels=[labels[place] for place in ticks], fontsize=7)
    axes.set_xlabel("s: of synergy, r: of redundancy")
    axes.figure.colorbar(image, ax=axes, label="share of the layer")

"""The figures of a decomposition, on `matplotlib.figure.Figure` alone; nodes in order of group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from synkern._figures import STYLE
from synkern.analysis.scores import RANKINGS
from synkern.study.of_data.options import EXCESS, NULL
from synkern.study.of_data.result import Decomposition
from synkern.study.report.drawing import Floats, colours
from synkern.study.stages.statistics import FALSE_DISCOVERIES

MOST_NAMED = 48
"""Nodes of which every name can be read beside a figure."""

MOST_GROUPS = 24
"""Groups of which every name can be read on an axis."""

# Okabe and Ito's colours, told apart by every kind of colour vision; the markers differ too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
_MARKERS = "osD^vP*X"
_PLAIN = "#0072B2"
# Of a matrix of all pairs, along one side.
_PIXELS = 450
_CUT = 99.5


class Order:
    """Nodes in the order in which they are drawn: by group, groups as they first come.

    Attributes:
        nodes: (nodes,) their numbers.
        groups: names of the groups, in order; empty where there are none.
        starts: where each begins, and the end.
    """

    def __init__(self, found: Decomposition) -> None:
        """Sort the nodes by group."""
        count = len(found.node_names)
        labels = found.groups
        self.nodes = np.arange(count)
        self.groups: list[str] = []
        self.starts = [0, count]
        if labels is not None:
            self.groups = list(dict.fromkeys(labels))
            index = np.array([self.groups.index(label) for label in labels])
            self.nodes = np.argsort(index, kind="stable")
            self.starts = [*np.searchsorted(index[self.nodes], range(len(self.groups))), count]
        self.names = [found.node_names[k] for k in self.nodes]

    def matrix(self, values: Floats) -> Floats:
        """Return (nodes, nodes) in this order."""
        return values[np.ix_(self.nodes, self.nodes)]


def matrices(found: Decomposition, tau: int, title: str) -> Figure:
    """Synergy and redundancy of all pairs."""
    arrays = found.at(tau)
    panels = []
    for atom, name in (("sts", "Synergy (sts)"), ("rtr", "Redundancy (rtr)")):
        low = min(0.0, float(np.nanmin(arrays[atom])))
        top = float(np.nanpercentile(arrays[atom], _CUT))
        panels.append((arrays[atom], name, found.unit, (low, top), "viridis"))
    return _panels(found, panels, title)


def controls(found: Decomposition, tau: int, title: str) -> Figure:
    """Synergy beyond persistence, and its distance from the null where it differs surely."""
    arrays, panels = found.at(tau), []
    if found.facts(tau, EXCESS):
        values = arrays["excess_sts"]
        top = _largest(values)
        panels.append((values, "Synergy beyond persistence", found.unit, (-top, top), "PuOr_r"))
    if found.facts(tau, NULL):
        surely = arrays["null_sts_q"] <= FALSE_DISCOVERIES
        values = np.where(surely, arrays["null_sts_z"], np.nan)
        top = _largest(values)
        name = f"Distance from the null where q ≤ {FALSE_DISCOVERIES:g}"
        panels.append((values, name, "z", (-top, top), "RdBu_r"))
    return _panels(found, panels, title)


def _largest(values: Floats) -> float:
    known = np.abs(values[np.isfinite(values)])
    return float(np.percentile(known, _CUT)) if len(known) else 1.0


def _panels(found: Decomposition, panels: Sequence[Any], title: str) -> Figure:
    order = Order(found)
    with mpl.rc_context(STYLE):
        width = 5.0 * max(len(panels), 2)
        # Room for the longest names below: the layout does not make enough beside squares.
        figure = Figure(figsize=(width, 5.2), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        axes_of = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
        for axes, (values, name, label, limits, scale) in zip(axes_of, panels, strict=False):
            _matrix(axes, order, values, name, label, limits, scale)
    return figure


def _matrix(
    axes: Any,
    order: Order,
    values: Floats,
    title: str,
    label: str,
    limits: tuple[float, float],
    scale: str,
) -> None:
    low, high = limits
    if high <= low:
        low, high = low - 0.5, low + 0.5  # all alike, or nothing to show
    shown = order.matrix(values)
    image = axes.imshow(
        shown,
        cmap=colours(scale),
        vmin=low,
        vmax=high,
        interpolation="nearest" if len(shown) <= _PIXELS else "antialiased",
    )
    for boundary in order.starts[1:-1]:
        axes.axhline(boundary - 0.5, color="white", linewidth=1.0)
        axes.axvline(boundary - 0.5, color="white", linewidth=1.0)
    _ticks(axes, order)
    axes.set_title(title)
    known = values[np.isfinite(values)]
    if not len(known):
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes, fontsize=14)
    below, above = bool((known < low).any()), bool((known > high).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    axes.figure.colorbar(
        image, ax=axes, label=label, shrink=0.8, extend=extend.get((below, above), "both")
    )


def _ticks(axes: Any, order: Order) -> None:
    """Names of groups in the middle of each, else of nodes if they can be read."""
    if 1 < len(order.groups) <= MOST_GROUPS:
        edges = np.array(order.starts)
        middles = (edges[1:] + edges[:-1] - 1) / 2
        names = [_short(group) for group in order.groups]
    elif len(order.names) <= MOST_NAMED:
        middles, names = np.arange(len(order.names)), [_short(name) for name in order.names]
    else:
        axes.set(xlabel="node", ylabel="node")
        return
    size = 8 if len(names) <= 20 else 6
    axes.set_xticks(middles, names, rotation=90, fontsize=size)
    axes.set_yticks(middles, names, fontsize=size)


def _short(name: str, most: int = 18) -> str:
    name = name or "no group"
    return name if len(name) <= most else name[: most - 1] + "…"


def groups_by_groups(found: Decomposition, tau: int, title: str) -> Figure:
    """Means over the pairs of each two groups: synergy, redundancy, and beyond persistence."""
    order, arrays = Order(found), found.at(tau)
    panels = [("sts", "Synergy (sts)", "viridis"), ("rtr", "Redundancy (rtr)", "viridis")]
    if "excess_sts" in arrays:
        panels.append(("excess_sts", "Beyond persistence", "PuOr_r"))
    names = [_short(group) for group in order.groups]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.7), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        for axes, (key, name, scale) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            means = block_means(arrays[key], order)
            top = _largest(means) if key == "excess_sts" else None
            limits = {} if top is None else {"vmin": -top, "vmax": top}
            image = axes.imshow(means, cmap=colours(scale), **limits)
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axes.set_yticks(range(len(names)), names, fontsize=7)
            axes.set_title(name)
            figure.colorbar(image, ax=axes, label=found.unit, shrink=0.7)
    return figure


def block_means(values: Floats, order: Order) -> Floats:
    """(groups, groups) mean over the pairs with a value; NaN where there is none."""
    ordered, edges = order.matrix(values), order.starts
    count = len(order.groups)
    means = np.full((count, count), np.nan)
    for i in range(count):
        for j in range(count):
            block = ordered[edges[i] : edges[i + 1], edges[j] : edges[j + 1]]
            known = block[np.isfinite(block)]
            means[i, j] = known.mean() if len(known) else np.nan
    return means


def node_ranks(found: Decomposition, tau: int, title: str) -> Figure:
    """Every node in order of its mean difference, with what that is of, and beyond persistence."""
    arrays, ranking = found.at(tau), RANKINGS[0]
    score = arrays[f"node_{ranking}"]
    order = [int(k) for k in np.argsort(score, kind="stable") if np.isfinite(score[k])]
    place = np.arange(len(order))
    named = len(order) <= MOST_NAMED
    excess = found.facts(tau, EXCESS)
    columns = 3 if excess else 2
    with mpl.rc_context(STYLE):
        height = 1.6 + 0.17 * len(order) if named else 6.5
        figure = Figure(figsize=(10, height), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(1, columns, sharey=True, width_ratios=(1.25, *[1] * (columns - 1)))
        _nodes_in_order(panels[0], found, order, arrays, ranking)
        panels[0].set(title="Mean difference (sts − rtr)")
        for key, colour, marker in (("synergy", "#0072B2", "o"), ("redundancy", "#D55E00", "s")):
            values = arrays[f"node_{key}"][order]
            panels[1].scatter(values, place, s=14, color=colour, marker=marker, label=key)
        panels[1].set(title="Mean over the node's pairs")
        panels[1].legend(frameon=False, loc="lower right")
        if excess:
            _nodes_in_order(panels[2], found, order, arrays, "excess")
            panels[2].set(title="Synergy beyond persistence")
            if excess["unrelated"] is not None:
                panels[2].axvline(excess["unrelated"], color="black", linestyle=":", linewidth=1.2)
        if named:
            names = [_short(found.node_names[k], 24) for k in order]
            panels[0].set_yticks(place, names, fontsize=7)
        panels[0].set(ylabel="" if named else "nodes in order", ylim=(-0.7, len(order) - 0.3))
        for axes in panels:
            axes.set_xlabel(found.unit)
            axes.grid(alpha=0.25, linewidth=0.6)
        _legend(figure, panels[0])
    return figure


def _nodes_in_order(
    axes: Any, found: Decomposition, order: Sequence[int], arrays: Mapping[str, Any], name: str
) -> None:
    """One value of every node, with its interval where there is one, coloured by group."""
    ends = arrays.get(f"interval_{name}")
    if ends is not None:
        axes.hlines(np.arange(len(order)), *ends[order].T, color="#999999", linewidth=1.0, zorder=1)
    values = arrays[f"node_{name}"][order]
    for group, at, style in _by_group(found, order):
        axes.scatter(values[at], at, label=group, zorder=2, s=20, **style)
    axes.axvline(0, color="black", linewidth=0.8)


def persistence(found: Decomposition, tau: int, title: str) -> Figure:
    """Synergy, redundancy and their difference of every node against its own persistence."""
    arrays = found.at(tau)
    x = arrays["node_persistence"]
    correlations = found.facts(tau)["correlations"]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.9), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        nodes = list(range(len(x)))
        for axes, key in zip(
            figure.subplots(1, 3), ("synergy", "redundancy", RANKINGS[0]), strict=True
        ):
            for name, at, style in _by_group(found, nodes):
                axes.scatter(x[at], arrays[f"node_{key}"][at], label=name, s=20, **style)
            r = correlations[f"{key}, persistence"]["value"]
            said = "undefined" if r is None else f"{r:+.2f}".replace("-", "−")
            axes.set(
                title=f"{key.replace('_', ' ').capitalize()}: {said}",
                xlabel=f"own correlation at lag {tau}",
                ylabel=f"{found.unit}, mean over its pairs",
            )
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.grid(alpha=0.25, linewidth=0.6)
        _legend(figure, figure.axes[0])
    return figure


def over_lags(found: Decomposition, title: str) -> Figure:
    """Mean atoms, excess and share of pairs that differ from the null, by lag."""
    lags = np.array(sorted(found.lags))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        left, middle, right = figure.subplots(1, 3)
        for key, style in (("synergy", (_COLOURS[0], "o")), ("redundancy", (_COLOURS[1], "s"))):
            means = [found.facts(int(tau))["means"][key] for tau in lags]
            _line(left, lags, means, key, *style)
        excess = [found.facts(int(tau), EXCESS) for tau in lags]
        if all(excess):
            _line(middle, lags, [e["mean"] for e in excess], "excess", _COLOURS[0], "o")
            unrelated = [np.nan if e["unrelated"] is None else e["unrelated"] for e in excess]
            middle.plot(lags, unrelated, ":", color="black", label="if unrelated")
            middle.axhline(0, color="black", linewidth=0.8)
        tests = [found.facts(int(tau), NULL).get("atoms", {}) for tau in lags]
        for atom, style in (("sts", (_COLOURS[0], "o")), ("rtr", (_COLOURS[1], "s"))):
            if all(tests):
                shares = [t[atom]["share_q"] for t in tests]
                shares = [np.nan if share is None else share for share in shares]
                right.plot(lags, shares, color=style[0], marker=style[1], label=atom)
        left.set(title="Mean over pairs", ylabel=found.unit)
        middle.set(title="Synergy beyond persistence", ylabel=found.unit)
        right.set(title="Differ from the null", ylabel="share of the pairs", ylim=(-0.03, 1.03))
        for axes in (left, middle, right):
            axes.set(xlabel="lag in samples", xticks=lags)
            axes.grid(alpha=0.25, linewidth=0.6)
            if axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False)
            else:
                axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
    return figure


def _line(
    axes: Any,
    lags: NDArray[Any],
    means: Sequence[Mapping[str, Any]],
    name: str,
    colour: str,
    marker: str,
) -> None:
    values = [np.nan if mean["value"] is None else mean["value"] for mean in means]
    axes.plot(lags, values, color=colour, marker=marker, label=name)
    if all(mean["interval"] and None not in mean["interval"] for mean in means):
        axes.fill_between(lags, *np.transpose([m["interval"] for m in means]), alpha=0.2, lw=0)


def _by_group(
    found: Decomposition, order: Sequence[int]
) -> Iterator[tuple[str, NDArray[np.int64], dict[str, Any]]]:
    """Places in an order of the nodes of each group, and how they are drawn."""
    labels = found.groups
    if labels is None:
        yield "", np.arange(len(order)), {"color": _PLAIN, "marker": "o"}
        return
    names = list(dict.fromkeys(labels))
    ordered = np.array([labels[k] for k in order])
    for k, name in enumerate(names):
        at = np.flatnonzero(ordered == name)
        # More groups than colours differ in their markers.
        marker = _MARKERS[(k + k // len(_COLOURS)) % len(_MARKERS)]
        yield _short(name), at, {"color": _COLOURS[k % len(_COLOURS)], "marker": marker}


def _legend(figure: Figure, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if 1 < len(labels) <= MOST_GROUPS:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False
        )

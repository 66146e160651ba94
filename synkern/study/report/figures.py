"""The figures of a study. Drawn on `matplotlib.figure.Figure` alone: no global state, no window."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from synkern.analysis.profile import MEANS, LayerProfile
from synkern.analysis.scores import mean_over_pairs
from synkern.study.report.drawing import STYLE, Floats, colours, spread
from synkern.study.report.words import called
from synkern.study.words import Words

# Okabe and Ito's colours, told apart by every kind of colour vision; the line styles differ too.
_STYLES = (("#0072B2", "-", "o"), ("#D55E00", "--", "s"))


# Of a matrix of all pairs, along one side.
_PIXELS = 450


def pair_matrices(
    sts: Floats,
    rtr: Floats,
    layer: NDArray[np.int64],
    title: str,
    words: Words,
    unit: str = "nats",
) -> Figure:
    """Synergy and redundancy of all pairs of nodes, nodes in order of layer.

    Args:
        sts: (nodes, nodes); NaN, as on the diagonal, is drawn grey.
        rtr: (nodes, nodes).
        layer: (nodes,), rising.
        title: of the whole figure.
        words: for the nodes.
        unit: of both atoms.
    """
    with mpl.rc_context(STYLE):
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
            _pair_panel(
                axes,
                matrix,
                layer,
                words,
                title=name,
                label=f"{name.split()[0].lower()} ({unit})",
                limits=(min(0.0, float(np.nanmin(matrix))), top),
            )
    return figure


def excess_matrices(
    excess: Floats,
    referenced: Floats,
    layer: NDArray[np.int64],
    title: str,
    words: Words,
    unit: str = "nats",
) -> Figure:
    """Synergy of all pairs beyond persistence, and for how much of the trials there is one.

    Args:
        excess: (nodes, nodes); NaN is drawn grey.
        referenced: (nodes, nodes), share of the trials in which the pair has a reference.
        layer: (nodes,), rising.
        title: of the whole figure.
        words: for the nodes.
        unit: of the excess.
    """
    shown = np.abs(excess[np.isfinite(excess)])
    top = float(np.percentile(shown, 99.5)) if len(shown) else 0.0
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        left, right = figure.subplots(1, 2)
        _pair_panel(
            left,
            excess,
            layer,
            words,
            title="Synergy beyond persistence",
            label=f"excess of sts ({unit})",
            limits=(-top, top),
            scale="PuOr_r",
        )
        _pair_panel(
            right,
            referenced,
            layer,
            words,
            title="Prompts with a reference",
            label="share of the prompts",
            limits=(0.0, 1.0),
            scale="cividis",
        )
    return figure


def _pair_panel(
    axes: Any,
    matrix: Floats,
    layer: NDArray[np.int64],
    words: Words,
    *,
    title: str,
    label: str,
    limits: tuple[float, float],
    scale: str = "viridis",
) -> None:
    """One matrix of all pairs with its layers and a colour bar that tells where it is cut."""
    starts = np.flatnonzero(np.diff(layer, prepend=layer[0] - 1))
    ends = np.append(starts[1:], len(layer))
    shown = spread(len(starts), 8)
    low, high = limits
    if high <= low:
        low, high = low - 0.5, low + 0.5  # all alike, or nothing to show
    # More nodes than pixels are averaged, or every other one would be left out.
    image = axes.imshow(
        matrix,
        cmap=colours(scale),
        vmin=low,
        vmax=high,
        interpolation="nearest" if len(matrix) <= _PIXELS else "antialiased",
    )
    for boundary in starts[1:]:
        axes.axhline(boundary - 0.5, color="white", linewidth=0.25, alpha=0.6)
        axes.axvline(boundary - 0.5, color="white", linewidth=0.25, alpha=0.6)
    middles = ((starts + ends - 1) / 2)[shown]
    axes.set_xticks(middles, labels=layer[starts[shown]])
    axes.set_yticks(middles, labels=layer[starts[shown]])
    axes.set(title=title, xlabel=words.axis, ylabel=words.axis)
    values = matrix[np.isfinite(matrix)]
    below, above = bool((values < low).any()), bool((values > high).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    axes.figure.colorbar(
        image, ax=axes, label=label, shrink=0.85, extend=extend.get((below, above), "both")
    )


def layer_profile_curves(profiles: Mapping[str, Mapping[str, LayerProfile]], title: str) -> Figure:
    """Layer profiles with bootstrap bands and fitted parabolas, one panel per ranking.

    Args:
        profiles: by what the curve is called in the legend, then by ranking.
        title: of the whole figure.
    """
    rankings = [r for r in next(iter(profiles.values())) if r not in MEANS]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 4.3), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        panels = figure.subplots(1, len(rankings), squeeze=False, sharey=True)[0]
        for axes, ranking in zip(panels, rankings, strict=True):
            for (name, by_ranking), style in zip(profiles.items(), _STYLES, strict=False):
                _curve(axes, name, by_ranking[ranking], style)
            axes.set(
                title=called(ranking), xlabel="relative depth", xlim=(-0.02, 1.02), ylim=(0, 1)
            )
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.grid(alpha=0.25, linewidth=0.6)
        panels[0].set_ylabel("score, scaled to 0 … 1 over all nodes,\nmean of the layer")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=len(profiles), frameon=False
        )
    return figure


def synergy_curves(
    profiles: Mapping[str, Mapping[str, LayerProfile]],
    missing: Mapping[str, Floats],
    title: str,
    unit: str = "nats",
) -> Figure:
    """Profiles of the synergy as it is and beyond persistence, one row for each model.

    Args:
        profiles: by what the row is called, then by name in `synkern.analysis.profile.MEANS`;
            without the excess if there is none.
        missing: by the same name, (layers,) share of the (trial, pair) without a reference; left
            out where there is no excess.
        title: of the whole figure.
        unit: of the atoms.
    """
    columns = ["Synergy (sts)"]
    columns += ["Beyond persistence", "Without a reference"] if missing else []
    with mpl.rc_context(STYLE):
        height = 0.9 + 2.6 * len(profiles) if missing else 3.6
        figure = Figure(figsize=(10, height), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        # A single column would be drawn far too tall: lie it down.
        shape = (len(profiles), len(columns)) if missing else (1, len(profiles))
        panels = figure.subplots(*shape, squeeze=False, sharex=True)
        grid = panels.reshape(len(profiles), len(columns))
        for axes, heading in zip(panels[0], itertools.cycle(columns), strict=False):
            axes.set_title(heading)
        for row, (name, by_mean), style in zip(grid, profiles.items(), _STYLES, strict=False):
            row[0].set_ylabel(f"{name}\n{unit}, mean of the layer")
            _curve(row[0], name, by_mean["synergy"], style)
            if name in missing:
                _excess_curves(row[1], name, by_mean, style)
                row[1].set_ylabel(f"{unit}, mean of the layer")
                depth = by_mean["synergy"].depth
                row[2].bar(depth, missing[name], 0.8 * depth[1], color=style[0])
            elif missing:
                for axes in row[1:]:
                    place: Any = {"ha": "center", "va": "center", "transform": axes.transAxes}
                    axes.text(0.5, 0.5, "none", color="#666666", **place)
            if missing:
                row[2].set(ylabel="share of (prompt, pair)", ylim=(0, 1))
            for axes in row:
                axes.set_xlim(-0.03, 1.03)
                axes.grid(alpha=0.25, linewidth=0.6)
        for axes in panels[-1]:
            axes.set_xlabel("relative depth")
    return figure


def _excess_curves(
    axes: Any, name: str, by_mean: Mapping[str, LayerProfile], style: tuple[str, str, str]
) -> None:
    """Excess synergy, faint where it is incomplete, with that of unrelated nodes and zero."""
    profile, unrelated = by_mean["excess_synergy"], by_mean["unrelated_excess"]
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot(
        unrelated.depth, unrelated.mean, ":", color="black", linewidth=1.3, label="if unrelated"
    )
    _curve(axes, name, profile, style, faint=not profile.complete)
    if not profile.complete:
        axes.text(
            *(0.5, 0.72),
            f"{100 - 100 * profile.missing_share:.0f} % of (prompt, pair):\nnot the whole",
            ha="center",
            va="center",
            transform=axes.transAxes,
            color="#666666",
            fontsize=11,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            zorder=5,
        )
    axes.legend(
        handles=[line for line in axes.lines if line.get_label() == "if unrelated"],
        frameon=False,
        loc="best",
    )


def null_curves(
    tests: Mapping[str, Mapping[str, Mapping[str, Floats]]],
    layer: NDArray[np.int64],
    threshold: float,
    title: str,
    words: Words,
) -> Figure:
    """How many pairs of the nodes of a layer differ from unrelated ones, and how far.

    Args:
        tests: by what the curve is called, then by atom (`sts`, `rtr`): `p`, `q` and `z`, (nodes,
            nodes).
        layer: (nodes,).
        threshold: below which p and q count as small.
        title: of the whole figure.
        words: for the nodes.
    """
    layers, index = np.unique(layer, return_inverse=True)
    depth = (layers - layers[0]) / (layers[-1] - layers[0])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 6.2), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        grid = figure.subplots(2, 2, sharex=True, sharey="row")
        for column, (atom, heading) in enumerate(
            (("sts", "Synergy (sts)"), ("rtr", "Redundancy (rtr)"))
        ):
            for (name, by_atom), (colour, line, marker) in zip(
                tests.items(), _STYLES, strict=False
            ):
                test = by_atom[atom]
                style: Any = {"color": colour, "marker": marker, "markersize": 3}
                for key, width, alpha in (("q", 1.8, 1.0), ("p", 1.0, 0.45)):
                    small = np.where(np.isfinite(test[key]), test[key] <= threshold, np.nan)
                    grid[0, column].plot(
                        depth,
                        _by_layer(mean_over_pairs(small), index),
                        line,
                        label=f"{name}: {key} ≤ {threshold:g}",
                        linewidth=width,
                        alpha=alpha,
                        **style,
                    )
                z = _by_layer(mean_over_pairs(test["z"]), index)
                grid[1, column].plot(depth, z, line, linewidth=1.8, **style)
            grid[0, column].axhline(threshold, color="black", linewidth=0.8, linestyle=":")
            grid[1, column].axhline(0, color="black", linewidth=0.8)
            grid[0, column].set(title=heading, ylim=(-0.03, 1.03))
            grid[1, column].set(xlabel="relative depth")
        grid[0, 0].set_ylabel(f"share of the pairs of {words.of_a_layer}")
        grid[1, 0].set_ylabel(f"mean z of the pairs of {words.of_a_layer}")
        for axes in grid.flat:
            axes.grid(alpha=0.25, linewidth=0.6)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _curve(
    axes: Any, name: str, profile: LayerProfile, style: tuple[str, str, str], faint: bool = False
) -> None:
    """Layer means with their bootstrap band and the fitted parabola; faint where not to be read."""
    colour, line, marker = style
    axes.plot(
        profile.depth,
        profile.mean,
        line,
        color=colour,
        marker=marker,
        markersize=3,
        linewidth=1.1,
        alpha=0.3 if faint else 1.0,
        label=name,
    )
    axes.fill_between(
        profile.depth,
        profile.lower,
        profile.upper,
        color=colour,
        alpha=0.08 if faint else 0.18,
        linewidth=0,
        label=f"{100 * profile.confidence:g} % band",
    )
    if not faint:
        axes.plot(
            profile.depth,
            profile.fitted,
            line,
            color=colour,
            linewidth=2.4,
            alpha=0.55,
            label="parabola",
        )


def _by_layer(scores: NDArray[np.floating[Any]], index: NDArray[np.intp]) -> Floats:
    """Mean over the nodes of each layer, (layers,), by the position of each node's layer."""
    means = [mean_over_pairs(scores[index == k]) for k in range(int(index.max()) + 1)]
    return np.array(means, np.float64)

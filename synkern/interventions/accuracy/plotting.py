"""Figures of accuracy under interventions, on `matplotlib.figure.Figure`: no window, no state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from synkern._figures import STYLE
from synkern.interventions.curves.plotting import STYLES

Floats = npt.NDArray[np.float64]


def noise_figure(
    runs: Mapping[str, Floats],
    *,
    intact: float,
    floor: float,
    levels: Mapping[str, Mapping[str, float]],
    sweep: tuple[Floats, Floats] | None,
    target: float | None,
    title: str,
) -> Figure:
    """Accuracy with noise in subsets of nodes.

    Args:
        runs: by subset, (draws, seeds) accuracies, 0 to 1.
        intact: accuracy without noise.
        floor: what chance gives.
        levels: by what a level is called, accuracies of "intact", each subset and "floor".
        sweep: (alphas,) and accuracies (alphas, draws) of random subsets; None: no panel.
        target: the accuracy at which the strength was to be chosen.
        title: of the whole figure.
    """
    panels = 2 + (sweep is not None)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4 * panels, 3.8), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        _bars(axes[0], runs, intact, floor)
        _by_level(axes[1], levels, [*runs])
        if sweep is not None:
            _sweep(axes[2], *sweep, intact=intact, floor=floor, target=target)
        for each in axes:
            each.grid(axis="y", alpha=0.25, linewidth=0.6)
        handles, labels = axes[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure


def _bars(axes: Any, runs: Mapping[str, Floats], intact: float, floor: float) -> None:
    """Mean of each subset with the standard deviation of its runs, and each run as a dot."""
    for place, (name, each) in enumerate(runs.items()):
        draws, seeds = each.shape
        spread = 100 * each.std(ddof=1) if each.size > 1 else 0.0
        axes.bar(place, 100 * each.mean(), 0.7, color=STYLES[name][0], alpha=0.45)
        axes.errorbar(place, 100 * each.mean(), spread, color="black", capsize=4, linewidth=1)
        # Draws side by side, the seeds of each above one another.
        x = place + (np.arange(draws) - (draws - 1) / 2) * 0.5 / max(draws, 1)
        dots = np.repeat(x, seeds)
        axes.plot(dots, 100 * each.ravel(), "o", color=STYLES[name][0], markersize=3)
    axes.axhline(100 * intact, color="black", linewidth=1.2)
    axes.axhline(100 * floor, color="black", linewidth=0.9, linestyle=":")
    end = len(runs) - 0.5
    for height, word in ((intact, "intact"), (floor, "floor")):
        axes.annotate(word, (end, 100 * height), ha="right", va="bottom", fontsize=8)
    axes.set_xticks(range(len(runs)), labels=[name.replace("_", "\n") for name in runs])
    # Where nothing is right in any, there must be some height all the same.
    top = 100 * max(intact, 0.01, *(each.max() for each in runs.values()))
    axes.set(title="By subset of nodes", ylabel="accuracy (%)", ylim=(0, 1.08 * top))


def _by_level(axes: Any, levels: Mapping[str, Mapping[str, float]], names: list[str]) -> None:
    x = np.arange(len(levels))
    for name, colour, line in [
        ("intact", "black", "-"),
        *((name, STYLES[name][0], "-") for name in names),
        ("floor", "black", ":"),
    ]:
        heights = [100 * each[name] for each in levels.values()]
        marker = "" if name == "floor" else "o"
        axes.plot(x, heights, line, color=colour, marker=marker, markersize=3, label=name)
    axes.set_xticks(x, labels=[level.removeprefix("level ") for level in levels])
    axes.set(title="By level of the tasks", xlabel="level", ylim=(0, None))


def _sweep(
    axes: Any, alphas: Floats, accuracies: Floats, *, intact: float, floor: float, target: Any
) -> None:
    axes.plot(alphas, 100 * accuracies, "o", color=STYLES["random"][0], markersize=3)
    axes.plot(alphas, 100 * accuracies.mean(1), "-", color=STYLES["random"][0], linewidth=1.6)
    axes.axhline(100 * intact, color="black", linewidth=1.2)
    axes.axhline(100 * floor, color="black", linewidth=0.9, linestyle=":")
    axes.axhline(100 * target, color="black", linewidth=0.9, linestyle="--")
    axes.annotate("halfway", (alphas[-1], 100 * target), ha="right", va="bottom", fontsize=8)
    axes.set(
        title="Strength, chosen on random subsets", xlabel="alpha (SD of the slice)", ylim=(0, None)
    )


def curve_figure(
    panels: Mapping[str, tuple[Mapping[str, Floats], float]], shares: Floats, title: str
) -> Figure:
    """Accuracy against the share of nodes ablated, a panel for each level.

    Args:
        panels: by what the panel is called, accuracies by order, (draws, points), and the floor.
        shares: (points,) of the nodes.
        title: of the whole figure.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.7 * columns, 0.9 + 2.8 * rows), dpi=120, layout="constrained")
        figure.suptitle(title, fontweight="bold")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (name, (accuracies, floor)) in zip(grid.flat, panels.items(), strict=False):
            for order, each in accuracies.items():
                mean, colour = 100 * each.mean(0), STYLES[order][0]
                axes.plot(100 * shares, mean, "-", color=colour, linewidth=1.6, label=order)
                if len(each) > 1:
                    spread = 100 * each.std(0, ddof=1)
                    axes.fill_between(
                        100 * shares,
                        mean - spread,
                        mean + spread,
                        color=colour,
                        alpha=0.18,
                        linewidth=0,
                    )
            axes.axhline(100 * floor, color="black", linewidth=0.9, linestyle=":")
            axes.set_title(name)
            axes.grid(alpha=0.25, linewidth=0.6)
        grid[0, 0].set_ylim(bottom=0)  # of all: now that the highest is drawn
        for axes in grid[:, 0]:
            axes.set_ylabel("accuracy (%)")
        for axes in grid[-1]:
            axes.set_xlabel("nodes ablated (%)")
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    return figure

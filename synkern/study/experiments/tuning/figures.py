"""The figures of training some nodes: learning, gains, levels of the tasks, and the core after."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from synkern.interventions.curves.plotting import STYLES
from synkern.study.experiments.tuning.results import (
    LOGGED,
    SELECTED,
    TEXTS,
    WEIGHTS,
    Tuned,
    called,
    pictures_of,
)
from synkern.study.report.drawing import STYLE, Floats
from synkern.study.stage import Drawn

_ALL = ("#34495e", "-.")
_MARKS = {"synergy": "o", "redundancy": "s", "random": "^", "layer_matched": "D", "all": "v"}
"""Beside colours, for eyes that do not tell these apart."""

_LETTERS = 10
"""Of a title, in an inch."""

_WIDE, _HALF = 0.5, 0.22
"""Of the room of one condition, what its runs take, and what half of its nodes do."""


def figures_of(tuned: Tuned, title: str, prefix: str) -> Iterator[Drawn]:
    """Draw all there is to draw.

    Args:
        tuned: the runs.
        title: of every figure: model, method, and what trained.
        prefix: of the files, the name of the experiment, see `results.pictures_of`. There are
            levels where there are several, and the core where the study was done again. The topics
            are `learning`, `gains`, `levels` and `core`.
    """
    learning, gains, levels, core = (f"{name}.png" for name in pictures_of(prefix))
    yield Drawn(learning, _learning(tuned, title), "learning")
    yield Drawn(gains, _gains(tuned, title), "gains")
    if len(tuned.groups("level")) > 1:
        yield Drawn(levels, _levels(tuned, title), "levels")
    if tuned.texts:
        yield Drawn(core, _core(tuned, title), "core")


def _figure(width: float, height: float, title: str) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    wrapped = textwrap.fill(title, int(_LETTERS * width))
    figure.suptitle(wrapped, fontweight="bold")
    return figure


def _look(condition: str) -> tuple[str, str]:
    """Colour and line."""
    return STYLES.get(condition, _ALL)


def _learning(tuned: Tuned, title: str) -> Figure:
    """Validation by step, what was logged below it and, of GRPO, groups without signal."""
    with mpl.rc_context(STYLE):
        wide = tuned.silent is not None
        figure = _figure(9.6 if wide else 6.8, 6, title)
        layout: Any = [["validation", "silent"], ["logged", "silent"]]
        panels = figure.subplot_mosaic(
            layout if wide else [row[:1] for row in layout],
            width_ratios=[2.4, 1] if wide else [1],
            height_ratios=[1.35, 1],
        )
        arrays = tuned.arrays
        axes = panels["validation"]
        _by_step(axes, tuned, arrays["steps"], 100 * arrays["validation"], marks=True)
        level = 100 * arrays["validation"][:, 0].mean()
        axes.axhline(level, color="black", linewidth=0.9, linestyle=":", label="before")
        axes.set(title="Validation", ylabel="accuracy (%)")
        below = panels["logged"]
        below.sharex(axes)
        _by_step(below, tuned, arrays["logged_steps"], arrays[tuned.logged], marks=False)
        below.set(title="While it trains", xlabel="step", ylabel=LOGGED[tuned.logged])
        if tuned.silent is not None:
            _points(panels["silent"], tuned, 100 * tuned.silent)
            panels["silent"].tick_params("x", labelrotation=40)
            panels["silent"].set(title="Groups without signal", ylabel="groups (%)", ylim=(-3, 103))
        _finished(figure, panels.values(), axes)
    return figure


def _by_step(axes: Any, tuned: Tuned, steps: Any, values: Floats, *, marks: bool) -> None:
    """The mean over runs of each condition, and a band from the least to the most of them."""
    for name, runs in tuned.runs.items():
        colour, line = _look(name)
        each = values[runs]
        axes.plot(
            steps,
            each.mean(0),
            line,
            color=colour,
            marker=_MARKS.get(name) if marks else None,
            markersize=3.5,
            linewidth=1.5,
            label=called(name),
        )
        axes.fill_between(steps, each.min(0), each.max(0), color=colour, alpha=0.13, linewidth=0)


def _gains(tuned: Tuned, title: str) -> Figure:
    """Each run's gain on the test, of selected weights and of those after the last step."""
    with mpl.rc_context(STYLE):
        figure = _figure(9, 4.2, title)
        panels = figure.subplots(1, len(WEIGHTS), sharey=True)
        for axes, (weights, said) in zip(panels, WEIGHTS.items(), strict=True):
            gains = tuned.gains[weights]
            error = gains.standard_error or 0.0
            axes.axhspan(-error, error, color="black", alpha=0.07, linewidth=0)
            axes.axhline(0, color="black", linewidth=0.9, linestyle=":")
            before = float(tuned.arrays["before"].mean())
            values = 100 * (tuned.arrays[f"{weights}_right"].mean(1) - before)
            _points(axes, tuned, values)
            for place, one in enumerate(gains.conditions.values()):
                if one.gain_interval is not None:
                    _whisker(axes, place + _WIDE / 2 + 0.12, one.gain or 0.0, one.gain_interval)
            axes.set_title(said[0].upper() + said[1:])
        panels[0].set_ylabel("gain on the test (points)")
        _finished(figure, panels)
    return figure


def _points(
    axes: Any,
    tuned: Tuned,
    values: Floats,
    *,
    room: float = _WIDE,
    shift: float = 0.0,
    full: bool = True,
) -> None:
    """A point a run, the runs of a condition side by side in the order of seeds, and a mean."""
    for place, (name, runs) in enumerate(tuned.runs.items()):
        colour, _ = _look(name)
        offsets = (np.arange(len(runs)) - (len(runs) - 1) / 2) * room / max(len(runs), 5)
        x = place + shift
        each = values[runs]
        axes.plot(
            x + offsets,
            each,
            _MARKS.get(name, "o"),
            color=colour,
            markersize=4.5,
            alpha=0.8,
            markerfacecolor=colour if full else "white",
        )
        if np.isfinite(each).sum() > 1:
            mean = float(np.nanmean(each))
            axes.plot([x - room / 2, x + room / 2], [mean, mean], color=colour, linewidth=1.6)
    _by_condition(axes, tuned.conditions)


def _whisker(axes: Any, x: float, middle: float, ends: tuple[float, float]) -> None:
    axes.plot([x, x], ends, color="black", linewidth=1.1)
    axes.plot(x, middle, "_", color="black", markersize=7)


def _by_condition(axes: Any, conditions: Sequence[str]) -> None:
    labels = [name.replace("_", "-\n") for name in conditions]
    axes.set_xticks(range(len(conditions)), labels=labels, fontsize=8)
    axes.set_xlim(-0.55, len(conditions) - 0.35)


def _levels(tuned: Tuned, title: str) -> Figure:
    """Accuracy of selected weights by level of the test tasks: means and ranges of runs."""
    with mpl.rc_context(STYLE):
        figure = _figure(6.8, 4.2, title)
        axes = figure.subplots()
        groups = tuned.groups("level")
        at = np.arange(len(groups))
        before = [100 * tuned.arrays["before"][places].mean() for places in groups.values()]
        axes.hlines(before, at - 0.42, at + 0.42, color="black", linestyle=":", label="before")
        by_level = [tuned.accuracies(SELECTED, places) for places in groups.values()]
        offsets = (np.arange(len(tuned.runs)) - (len(tuned.runs) - 1) / 2) * 0.8 / len(tuned.runs)
        for name, offset in zip(tuned.conditions, offsets, strict=True):
            each = 100 * np.stack([accuracies[name] for accuracies in by_level])
            colour, _ = _look(name)
            axes.vlines(at + offset, each.min(1), each.max(1), color=colour, linewidth=1.3)
            mark: Any = {"color": colour, "marker": _MARKS.get(name, "o"), "markersize": 6}
            axes.plot(at + offset, each.mean(1), linestyle="", label=called(name), **mark)
        labels = [f"{level}\n({len(places)})" for level, places in groups.items()]
        axes.set_xticks(at, labels=labels)
        axes.set(xlabel="level (tasks)", ylabel="accuracy (%)", title="Test, selected weights")
        _finished(figure, [axes], axes)
    return figure


def _core(tuned: Tuned, title: str) -> Figure:
    """Rank correlation of scores before and after, and changes of scores, by text."""
    with mpl.rc_context(STYLE):
        columns = len(tuned.texts)
        figure = _figure(4.6 * columns, 6.4, title)
        grid = figure.subplots(2, columns, squeeze=False, sharey="row")
        for (above, below), text in zip(grid.T, tuned.texts, strict=True):
            _points(above, tuned, tuned.correlations(text))
            above.axhline(1, color="black", linewidth=0.9, linestyle=":")
            above.set_title(f"On {TEXTS[text]}")
            _points(below, tuned, tuned.changes(text, True), room=_HALF, shift=-_HALF)
            _points(below, tuned, tuned.changes(text, False), room=_HALF, shift=_HALF, full=False)
            below.axhline(0, color="black", linewidth=0.9, linestyle=":")
        grid[0, 0].set_ylabel("rank correlation with the base")
        grid[1, 0].set_ylabel(f"change of {tuned.ranking.replace('_', ' ')},\nmean over nodes")
        for label, face in (("nodes that trained", "grey"), ("nodes that did not", "white")):
            look: Any = {"color": "grey", "markerfacecolor": face}
            grid[1, 0].plot([], [], "o", label=label, **look)
        _finished(figure, grid.flat, grid[1, 0])
    return figure


def _finished(figure: Figure, panels: Any, legend: Any = None) -> None:
    """Rules, and a legend of what one panel shows below all."""
    for axes in panels:
        axes.grid(axis="y", alpha=0.25, linewidth=0.6)
    if legend is not None:
        handles, labels = legend.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)

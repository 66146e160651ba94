"""The figure of a series of checkpoints: profiles by step, and the trend beside the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from synkern.study.over_training.course import Course
from synkern.study.over_training.measured import FORCED, OWN, TEXTS, Measured, Point
from synkern.study.over_training.others import Other
from synkern.study.published import published
from synkern.study.report import called
from synkern.study.report.drawing import STYLE

_COLOURS = {OWN: "#0072B2", FORCED: "#D55E00"}
_MARKS = {OWN: "o", FORCED: "s"}
_SAID = {OWN: "own text", FORCED: "one text for all"}
_DARK = "#444444"
_SHOWN = {
    "node_quantile": "mean quantile of the layer's nodes",
    "minmax": "mean rank, scaled to 0 … 1 (as Fig. 3a)",
}
_MOST_TICKS = 9
# Where a checkpoint stands, the checkpoint, and what was found of it with one text.
Known = Sequence[tuple[float, Point, Measured]]

_FROM_FIGURE = {"pythia_1b_step1": ":", "pythia_1b_final": "--"}


def emergence_figure(found: Course, ranking: str) -> Figure:
    """Draw profiles over depth by step under two normalisations and both texts, and trends.

    Args:
        found: of the checkpoints.
        ranking: by which.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 12.6), dpi=120, layout="constrained")
        figure.suptitle(f"Profiles over training by {called(ranking)}", fontweight="bold")
        parts: Any = figure.subfigures(2, 1, height_ratios=(1.25, 1))
        above, below = parts
        _profiles(above, found, ranking)
        _trends(below, found, ranking)
    return figure


def _profiles(figure: Any, found: Course, ranking: str) -> None:
    panels = figure.subplots(len(TEXTS), len(_SHOWN), sharex=True, sharey="col")
    places = positions(found.points)
    colour: Any = ScalarMappable(Normalize(min(places), max(places)), "viridis")
    for text, row in zip(TEXTS, panels, strict=True):
        for (normalisation, said), axes in zip(_SHOWN.items(), row, strict=True):
            for point, place in zip(found.points, places, strict=True):
                one = point.under(text)
                if one is None or ranking not in one.profiles:
                    continue
                depth, curve = one.profiles[ranking].depth, one.curves[ranking][normalisation]
                axes.plot(depth, curve, color=colour.to_rgba(place), linewidth=1.2)
            if text == OWN and normalisation == "minmax":
                _published(axes, ranking)
            axes.set(title=f"{_SAID[text]}, {normalisation}", ylabel=said, ylim=(-0.03, 1.03))
            axes.grid(alpha=0.25, linewidth=0.6)
    for axes in panels[-1]:
        axes.set_xlabel("relative depth")
    bar = figure.colorbar(colour, ax=panels, shrink=0.7, label="checkpoint")
    at, labels = _ticks(found.points, places)
    bar.set_ticks(at, labels=labels)


def _published(axes: Any, ranking: str) -> None:
    """The two profiles of Pythia that were published, where the ranking is theirs."""
    told = published("profiles")
    if ranking != told["ranking"]:
        return
    for name, style in _FROM_FIGURE.items():
        row = told["profiles"][name]
        depth = np.linspace(0, 1, len(row["values"]))
        label = (
            f"{row['model'].partition(',')[0]}, {row['model'].rpartition('step ')[2].strip(')')}"
        )
        axes.plot(depth, row["values"], style, color="#D55E00", linewidth=1, label=label)
    axes.legend(frameon=False, fontsize=7, title="published, step", title_fontsize=7)


def _trends(figure: Any, found: Course, ranking: str) -> None:
    panels = figure.subplots(3, 2, sharex=True)
    places = positions(found.points)
    bend, alike, loss, atoms, still, distinct = panels.flat
    for text in TEXTS:
        known = [
            (place, point, one)
            for place, point in zip(places, found.points, strict=True)
            for one in [point.under(text)]
            if one is not None and ranking in one.profiles
        ]
        _bends(bend, known, ranking, text)
        likeness = [(place, found.likeness(point, text, ranking)[0]) for place, point, _ in known]
        _line(alike, likeness, text)
        for name, style in (("synergy", "-"), ("redundancy", ":")):
            values = [(place, getattr(one, name)) for place, _, one in known]
            said = f"{'sts' if name == 'synergy' else 'rtr'}, {_SAID[text]}"
            _line(atoms, values, text, style, label=said)
        _line(still, _values(known, lambda one: 100 * one.nearly_constant), text)
        _line(distinct, _values(known, lambda one: 100 * one.distinct), text)
    for other in found.others:
        _beside(panels, other, ranking)
    if found.others:
        bend.plot([], [], color="#888888", linewidth=0.8, label="other trainings")
    losses = [(x, point.loss) for x, point in zip(places, found.points, strict=True)]
    _drawn(loss, losses, color=_DARK, marker="o")
    bend.axhline(0, color="#888888", linewidth=0.8)
    bend.set_title("quadratic term (filled: inverted U)")
    bend.legend(frameon=False, fontsize=8)
    alike.set_title(f"rank correlation over layers with {found.source.label}")
    alike.set_ylim(-1.05, 1.05)
    alike.axhline(0, color="#888888", linewidth=0.8)
    loss.set_title("loss on the fixed text, nats a token")
    atoms.set_title(f"mean over pairs, {_unit(found.points)}")
    atoms.legend(frameon=False, fontsize=7)
    still.set_title("series that hardly vary, %")
    distinct.set_title("different tokens in an answer, %")
    for axes in panels.flat:
        axes.grid(alpha=0.25, linewidth=0.6)
    at, labels = _ticks(found.points, places)
    for axes in panels[-1]:
        axes.set_xticks(at, labels=labels)
        axes.set_xlabel("step" if _by_step(found.points) else "checkpoint")


def _beside(panels: Any, other: Other, ranking: str) -> None:
    """The trends of another training, thin, in the colours of this one."""
    bend, alike, loss, atoms, still, distinct = panels.flat
    places = [place_of(step) for step in other.steps]

    def thin(axes: Any, values: Sequence[float | None], style: str, **how: Any) -> None:
        drawn = [math.nan if value is None else value for value in values]
        axes.plot(places, drawn, style, linewidth=0.8, alpha=0.45, **how)

    for text in TEXTS:
        colour = _COLOURS[text]
        thin(bend, other.of_ranking(text, ranking, "quadratic_term"), "-", color=colour)
        thin(alike, other.of_ranking(text, ranking, "layers_with_last"), "-", color=colour)
        thin(atoms, other.of_text(text, "synergy"), "-", color=colour)
        thin(atoms, other.of_text(text, "redundancy"), ":", color=colour)
        for axes, name in ((still, "nearly_constant"), (distinct, "distinct")):
            shares = other.of_text(text, name)
            thin(axes, [None if s is None else 100 * s for s in shares], "-", color=colour)
    thin(loss, other.losses, "-", color=_DARK)


def _bends(axes: Any, known: Known, ranking: str, text: str) -> None:
    colour = _COLOURS[text]
    profiles = [(place, one.profiles[ranking]) for place, _, one in known]
    axes.plot([x for x, _ in profiles], [p.quadratic for _, p in profiles], color=colour)
    for place, profile in profiles:
        axes.plot([place, place], profile.quadratic_interval, color=colour, linewidth=0.9)
        face = colour if profile.inverted_u else "white"
        axes.plot(
            place, profile.quadratic, _MARKS[text], color=colour, markerfacecolor=face, markersize=4
        )
    axes.plot([], [], f"{_MARKS[text]}-", color=colour, markersize=4, label=_SAID[text])


def _values(known: Known, value: Callable[[Measured], float]) -> list[tuple[float, float]]:
    return [(place, value(one)) for place, _, one in known]


def _line(
    axes: Any, values: Sequence[tuple[float, float | None]], text: str, style: str = "-", **how: Any
) -> None:
    _drawn(axes, values, color=_COLOURS[text], marker=_MARKS[text], linestyle=style, **how)


def _drawn(axes: Any, values: Sequence[tuple[float, float | None]], **how: Any) -> None:
    """A line through what there is, broken where something is missing."""
    heights = [math.nan if value is None else value for _, value in values]
    axes.plot([place for place, _ in values], heights, markersize=3, linewidth=1.2, **how)


def positions(points: Sequence[Point]) -> list[float]:
    """Return where the checkpoints stand: by log(1 + step), or evenly apart without steps."""
    if not _by_step(points):
        return [float(place) for place in range(len(points))]
    return [place_of(point.checkpoint.step or 0) for point in points]


def place_of(step: int) -> float:
    """Return where a step stands on the axis of steps: log2(1 + step)."""
    return math.log2(1 + step)


def _by_step(points: Sequence[Point]) -> bool:
    steps = {point.checkpoint.step for point in points}
    return None not in steps and len(steps) == len(points)


def _ticks(points: Sequence[Point], places: Sequence[float]) -> tuple[list[float], list[str]]:
    every = math.ceil(len(points) / _MOST_TICKS)
    chosen = range(len(points) - 1, -1, -every)
    labels = [
        str(points[place].checkpoint.step) if _by_step(points) else points[place].checkpoint.label
        for place in chosen
    ]
    return [places[place] for place in chosen], labels


def _unit(points: Sequence[Point]) -> str:
    return next(one.unit for p in points for one in (p.own, p.forced) if one is not None)

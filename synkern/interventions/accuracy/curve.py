"""Accuracy on tasks while more and more nodes are taken out, in several orders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from synkern.interventions.accuracy.judging import Judge
from synkern.interventions.accuracy.paired import (
    Bools,
    Difference,
    Floats,
    paired_difference,
)
from synkern.interventions.accuracy.problems import Ints, Problems, level_name
from synkern.interventions.accuracy.scoring import Scoring
from synkern.interventions.activity.ablating import Ablation
from synkern.interventions.activity.edits import Edit
from synkern.interventions.curves.file import PointsFile, digest
from synkern.interventions.curves.measuring import (
    Masks,
    content_of,
    distinct_sets,
    points_of,
)
from synkern.interventions.curves.orders import groups_of, orders_of
from synkern.interventions.curves.statistics import area_weights, permutation_p
from synkern.interventions.rankings import Scores, one_ranking
from synkern.models.nodes import Kinds
from synkern.recording.responses import responses_of
from synkern.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORDERS = ("synergy", "redundancy", "random", "layer_matched")

_POINTS = 10
"""Of a curve, about, unless asked otherwise."""


@dataclass(frozen=True, eq=False, repr=False)
class AccuracyCurve:
    """Accuracy against how many nodes are taken out; `str` and `repr` are a table.

    Attributes:
        problems: levels, categories and floors of the tasks.
        method: how answers were judged, one of `scoring.METHODS`.
        ranking: what the nodes were ranked by.
        kind: how nodes were taken out.
        nodes: labels of all nodes.
        orders: by name, (draws, nodes that have a score) their places, in the order in which
            they went.
        counts: (points,) nodes taken out, from 0 and rising.
        right: by order, (draws, points, tasks).
    """

    problems: Problems
    method: str
    ranking: str
    kind: str
    nodes: tuple[str, ...]
    orders: Mapping[str, Ints]
    counts: Ints
    right: Mapping[str, Bools]

    @property
    def fractions(self) -> Floats:
        """(points,) of the nodes that have a score, taken out."""
        found: Floats = self.counts / next(iter(self.orders.values())).shape[1]
        return found

    def accuracy(self, order: str) -> Floats:
        """(draws, points)."""
        found: Floats = self.right[order].mean(-1)
        return found

    def area(self, order: str) -> Floats:
        """(draws,) the mean accuracy along the curve, by the trapezium rule; 0 to 1."""
        found: Floats = self._areas(order).mean(-1)
        return found

    def _areas(self, order: str) -> Floats:
        """(draws, tasks), of each task the share of the curve along which it is right."""
        weights = area_weights(self.fractions, float(self.fractions[-1])) / self.fractions[-1]
        found: Floats = np.einsum("p,dpt->dt", weights, self.right[order])
        # Sums of weights that are 1 but for rounding.
        return np.clip(found, 0, 1)

    @cached_property
    def of_synergy(self) -> dict[str, Difference]:
        """By other order, area of the synergy order less its area: below 0 if synergy harms more.

        Intervals by bootstrap over tasks and draws.
        """
        if "synergy" not in self.right:
            return {}
        synergy = self._areas("synergy")[:, None]
        return {
            name: paired_difference(synergy, self._areas(name)[:, None])
            for name in self.right
            if name != "synergy"
        }

    @cached_property
    def draw_p(self) -> dict[str, float]:
        """By drawn order, (1 + draws whose area is as low as that of synergy) / (1 + draws)."""
        if "synergy" not in self.right:
            return {}
        synergy = float(self.area("synergy")[0])
        return {
            name: permutation_p(-synergy, -self.area(name))
            for name, each in self.right.items()
            if len(each) > 1
        }

    def some(self, places: Ints) -> AccuracyCurve:
        """The same of the tasks at these places alone."""
        return replace(
            self,
            problems=self.problems.some(places),
            right={name: each[..., places] for name, each in self.right.items()},
        )

    def by(self, what: str) -> dict[Any, AccuracyCurve]:
        """The same of each "level" (0: none), or of each "category", alone.

        Raises:
            ValueError: `what` is neither.
        """
        return {key: self.some(places) for key, places in self.problems.places(what).items()}

    def plot(self) -> Figure:
        """Accuracy against the share of nodes: a panel for all tasks, and one for each level."""
        from synkern.interventions.accuracy.plotting import curve_figure  # noqa: PLC0415  matplotlib

        levels = self.by("level")
        each = {"all levels": self}
        if len(levels) > 1:
            each |= {level_name(level): curve for level, curve in levels.items()}
        return curve_figure(
            {
                name: ({n: curve.accuracy(n) for n in curve.right}, curve.problems.floor)
                for name, curve in each.items()
            },
            self.fractions,
            f"Ablation ({self.kind}) by {self.ranking}, {len(self.problems)} tasks by "
            f"{self.method}",
        )

    def table(self) -> list[dict[str, Any]]:
        """A row for each order: accuracies at each point, area, differences; JSON."""
        rows = []
        for name, each in self.right.items():
            row: dict[str, Any] = {
                "order": name,
                "draws": len(each),
                "accuracy": self.accuracy(name).mean(0).tolist(),
                "area": float(self.area(name).mean()),
                "area_of_draws": self.area(name).tolist(),
            }
            if name in self.of_synergy:
                less = self.of_synergy[name]
                row["synergy_less_this"] = [less.mean, less.low, less.high]
                row["synergy_among_draws_p"] = self.draw_p.get(name)
            rows.append(row)
        return rows

    def __repr__(self) -> str:
        """A line on the experiment, accuracies by order and share, and differences."""
        width = max(map(len, self.right))
        shown = np.unique(np.linspace(0, len(self.counts) - 1, 6).round().astype(int))
        heads = "".join(f"{share:>8.0%}" for share in self.fractions[shown])
        lines = [
            f"AccuracyCurve: {len(self.nodes)} nodes by {self.ranking}, {self.kind}, "
            f"{len(self.problems)} tasks by {self.method}, floor {self.problems.floor:.1%}",
            f"  {'ablated':<{width}}{heads}    mean",
        ]
        for name in self.right:
            cells = "".join(f"{each:>8.1%}" for each in self.accuracy(name).mean(0)[shown])
            lines.append(f"  {name:<{width}}{cells}{self.area(name).mean():>8.1%}")
        lines += [
            f"  synergy less {name}: {difference}" for name, difference in self.of_synergy.items()
        ]
        return "\n".join(lines)


def accuracy_curve(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    scores: Scores,
    *,
    orders: str | Sequence[str] = ORDERS,
    of: Kinds = "heads",
    kind: str | Edit = "zero",
    texts: Any = None,
    step: int | None = None,
    to: float = 0.4,
    draws: int = 5,
    scoring: Scoring | str = "likelihood",
    seed: int = 0,
    file: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AccuracyCurve:
    """Measure accuracy on tasks while nodes are taken out in the order of their scores, and others.

    Args:
        model: a causal language model of transformers, or a module that holds one.
        tokenizer: its tokenizer.
        tasks: see `synkern.tasks`.
        scores: (nodes,) of the nodes in the order of `synkern.models.nodes_of`, high is
            synergistic; or `NodeScores`, or a mapping from the name of a ranking to either. Nodes
            without one (NaN) always stay.
        orders: in which nodes are taken out, one or several, see `orders_of`; not "norm".
        of: the kind of node, or several.
        kind: how, see `ablate`; "resample" has no counterpart in tasks and is refused.
        texts: that means are taken over, of kind "mean": `Responses`, or a `Recording` or
            `Answers` that hold some.
        step: nodes from one point to the next; None: about ten points.
        to: the share of the nodes up to which they are taken out, 1: all.
        draws: of the orders that are drawn.
        scoring: how answers are judged, a `Scoring` or one of its methods.
        seed: of the draws.
        file: points are kept there as they are done, and the same call goes on from there.
        progress: called with the number of sets of nodes that are done and that of all: before
            the first, and after each.

    Raises:
        UnsupportedModelError: (a ValueError) no such nodes.
        ValueError: an argument that cannot be used; a file of another call.
        OSError: the file cannot be read or written.
    """
    if kind == "resample":
        raise ValueError(
            "kind: 'resample' takes a node's output from another text at the same position, and "
            "tasks have none of their own; use 'zero' or 'mean'"
        )
    names = (orders,) if isinstance(orders, str) else tuple(orders)
    texts = None if texts is None else responses_of(texts)
    judge = Judge.of(model, tokenizer, tasks, scoring)
    ablation = Ablation(model, of=of, kind=kind, texts=texts, batch_size=judge.scoring.batch_size)
    labels = tuple(node.label for node in ablation.nodes)
    ranking, values = one_ranking(scores, labels)
    # Nodes without a score have no place in an order: they stay.
    among = np.isfinite(values)
    layers = groups_of(ablation.nodes)
    found = orders_of(values, layers, names=names, draws=draws, seed=seed, among=among)
    width = max(1, round(to * among.sum() / _POINTS)) if step is None and to > 0 else step
    counts = points_of(int(among.sum()), width, to)
    masks, sets = distinct_sets(found, counts, len(labels))
    call: dict[str, Any] = {}
    if file is not None:  # to read all weights takes a while
        call = {
            **judge.call,
            "of": of if isinstance(of, str) else list(of),
            "nodes": digest([" ".join(labels).encode()]),
            "kind": kind if isinstance(kind, str) else content_of(kind),
            "texts": None if texts is None else content_of(texts),
            "nodes out at each point": counts.tolist(),
        }
        for one in found:
            call[f"order {one.name}, draw {one.draw}"] = digest([one.nodes.tobytes()])
    with PointsFile(file, call, judge.record) as points:
        _ask_all(judge, ablation, masks, points, progress)
        right = np.array([points.found[number]["right"] for number in range(len(masks))])
    return AccuracyCurve(
        problems=judge.problems,
        method=judge.scoring.method,
        ranking=ranking,
        kind=kind if isinstance(kind, str) else repr(kind),
        nodes=labels,
        orders={n: np.array([one.nodes for one in found if one.name == n]) for n in names},
        counts=counts,
        right={n: right[sets[[one.name == n for one in found]]] for n in names},
    )


def _ask_all(
    judge: Judge,
    ablation: Ablation,
    masks: Sequence[Masks],
    points: PointsFile,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Ask without each set of nodes that is not known yet."""
    done = sum(number in points.found for number in range(len(masks)))
    if progress is not None:
        progress(done, len(masks))
    for number, (mask,) in enumerate(masks):
        if number in points.found:
            continue
        with ablation.applied(mask):
            points.add(number, judge.asked())
        done += 1
        if progress is not None:
            progress(done, len(masks))

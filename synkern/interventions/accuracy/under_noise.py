"""Noise in the weights of subsets of nodes, and what it does to accuracy on tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern._warnings import warn
from synkern.interventions.accuracy.judging import Judge
from synkern.interventions.accuracy.noised import INTACT, NoiseAccuracy, Sweep
from synkern.interventions.accuracy.scoring import Scoring
from synkern.interventions.accuracy.subsets import SUBSETS, Subset, subsets_of
from synkern.interventions.curves.file import PointsFile, digest
from synkern.interventions.curves.orders import groups_of
from synkern.interventions.options import ALPHAS
from synkern.interventions.rankings import Scores, one_ranking
from synkern.interventions.weights.noise import Noise, Perturbation, SpreadOf
from synkern.tasks import Task


def noise_accuracy(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    scores: Scores,
    *,
    of: str = "heads",
    share: float = 0.25,
    draws: int = 5,
    noise_seeds: int = 3,
    alpha: float | None = None,
    alphas: Sequence[float] = ALPHAS,
    scale: SpreadOf = "slice",
    scoring: Scoring | str = "likelihood",
    seed: int = 0,
    file: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> NoiseAccuracy:
    """Measure accuracy intact and with noise in the synergistic, redundant and other nodes.

    The experiment of arXiv:2601.06851 (figure 4b), with its controls. Subsets of equal size get
    noise relative to the spread of their own weights, see `perturb`; random and layer-matched
    subsets are drawn several times, and every subset gets noise from several seeds.

    The strength of the noise is chosen first, on random subsets of their own which are in no
    comparison: of `alphas` the one at which accuracy is nearest to halfway from intact to the
    floor; those above the first that takes it further down are not tried. It is fixed from then on.

    Args:
        model: a causal language model of transformers, or a module that holds one. Its weights are
            as before when this returns, to the bit.
        tokenizer: its tokenizer.
        tasks: see `synkern.tasks`.
        scores: (nodes,) of the nodes in the order of `synkern.models.nodes_of`, high is
            synergistic; or `NodeScores`, or a mapping from the name of a ranking to either. Nodes
            without one (NaN) are in no subset.
        of: the kind of node.
        share: of the nodes in a subset, at most a half.
        draws: random and layer-matched subsets, each so many; and random ones to choose on.
        noise_seeds: of each subset.
        alpha: strength of the noise; None: chosen.
        alphas: to choose from.
        scale: what alpha is relative to, see `perturb`.
        scoring: how answers are judged, a `Scoring` or one of its methods.
        seed: of draws and noise.
        file: evaluations are kept there as they are done, and the same call goes on from there.
        progress: called with the number of evaluations that are done and that of all, which falls
            where the strength is found early: before the first, after each, and when it falls.

    Raises:
        UnsupportedModelError: (a ValueError) no such nodes, or weights that cannot be perturbed.
        ValueError: an argument that cannot be used; a file of another call.
        OSError: the file cannot be read or written.

    Warns:
        UserWarning: the intact model is at the floor, where noise cannot show.
    """
    judge = Judge.of(model, tokenizer, tasks, scoring)
    perturbation = Perturbation(model, of=of)
    nodes = perturbation.nodes
    labels = tuple(node.label for node in nodes)
    ranking, values = one_ranking(scores, labels)
    subsets_drawn = partial(
        subsets_of, values, groups_of(nodes), share=share, draws=_whole("draws", draws)
    )
    run = _Run(
        judge,
        perturbation,
        scale,
        seed,
        subsets=subsets_drawn(seed=seed),
        # Of other random subsets than those that are compared, or the choice would favour these.
        own=subsets_drawn(seed=seed + 1, names=("random",)),
        tried=_strengths(alphas) if alpha is None else [],
        noise_seeds=_whole("noise_seeds", noise_seeds),
        progress=progress or _silent,
    )
    call: dict[str, Any] = {}
    if file is not None:  # to read all weights takes a while
        call = {
            **judge.call,
            "of": of,
            "nodes": digest([" ".join(labels).encode()]),
            "scores": digest([values.tobytes()]),
            "share": share,
            "draws": draws,
            "noise seeds": noise_seeds,
            "alpha": alpha,
            "alphas": run.tried,
            "scale": scale,
            "seed": seed,
        }
    with PointsFile(file, call, judge.record) as points:
        found = run.measured(points, alpha, ranking)
    if found.where == "floor":
        warn(
            f"the intact model has {found.intact.mean():.1%} right, and chance {found.floor:.1%}: "
            "a model at the floor cannot fall, and this shows nothing; use easier tasks"
        )
    return found


@dataclass(eq=False)
class _Run:
    """The evaluations of an experiment, by number: intact, those of the choice, those compared."""

    judge: Judge
    perturbation: Perturbation
    scale: SpreadOf
    seed: int
    subsets: tuple[Subset, ...]
    own: tuple[Subset, ...]
    tried: list[float]
    noise_seeds: int
    progress: Callable[[int, int], None]
    done: int = 0
    left_out: int = 0
    """Of those of the choice, evaluations that it has turned out not to need."""

    def measured(self, points: PointsFile, alpha: float | None, ranking: str) -> NoiseAccuracy:
        """All of them, from the file where they are there."""
        self.done = len(points.found)
        self.progress(self.done, self._total)
        intact, problems = self._asked(points, 0, nullcontext()), self.judge.problems
        sweep = None
        if alpha is None:
            target = (float(intact["right"].mean()) + problems.floor) / 2
            sweep = self._swept(points, target)
            alpha = sweep.chosen
        cells: dict[str, list[list[NDArray[Any]]]] = {name: [] for name in SUBSETS}
        number = 1 + len(self.tried) * len(self.own)
        for place, subset in enumerate(self.subsets):
            first = number + place * self.noise_seeds
            cells[subset.name].append(
                [
                    self._noised(points, first + k, subset, alpha, self.seed + k)
                    for k in range(self.noise_seeds)
                ]
            )
        arrays = {name: np.array(each) for name, each in cells.items()}
        exact = self.judge.scoring.method == "exact_match"
        return NoiseAccuracy(
            problems=problems,
            method=self.judge.scoring.method,
            ranking=ranking,
            nodes=tuple(node.label for node in self.perturbation.nodes),
            subsets={
                name: np.array([one.nodes for one in self.subsets if one.name == name])
                for name in SUBSETS
            },
            alpha=float(alpha),
            scale=self.scale,
            sweep=sweep,
            intact=intact["right"],
            right={name: each["right"] for name, each in arrays.items()},
            truncated={name: each["truncated"] for name, each in {INTACT: intact, **arrays}.items()}
            if exact
            else {},
        )

    def _swept(self, points: PointsFile, target: float) -> Sweep:
        """Try the strengths, weak ones first, until accuracy is past halfway down."""
        right: list[list[NDArray[np.bool_]]] = []
        for place, alpha in enumerate(self.tried):
            first = 1 + place * len(self.own)
            right.append(
                [
                    self._noised(points, first + k, one, alpha, self.seed + k)["right"]
                    for k, one in enumerate(self.own)
                ]
            )
            if np.mean(right[-1]) < target:
                break
        self.left_out = (len(self.tried) - len(right)) * len(self.own)
        if self.left_out:
            self.progress(self.done, self._total)
        return Sweep(np.array(self.tried[: len(right)]), np.array(right), target)

    def _noised(
        self, points: PointsFile, number: int, subset: Subset, alpha: float, seed: int
    ) -> NDArray[Any]:
        noise = Noise(alpha, seed, self.scale)
        return self._asked(points, number, self.perturbation.applied(subset.nodes, noise))

    def _asked(
        self, points: PointsFile, number: int, condition: AbstractContextManager[Any]
    ) -> NDArray[Any]:
        """What is right and cut short in a condition, which is entered only if it is not known."""
        if number not in points.found:
            with condition:
                found = self.judge.asked()
            points.add(number, found)
            self.done += 1
            self.progress(self.done, self._total)
        return points.found[number]

    @property
    def _total(self) -> int:
        compared = len(self.subsets) * self.noise_seeds
        return 1 + len(self.tried) * len(self.own) + compared - self.left_out


def _strengths(alphas: Sequence[float]) -> list[float]:
    found = sorted(float(alpha) for alpha in alphas)
    if not found:
        raise ValueError("alphas: there are none to choose from; give several, or give alpha")
    if not 0 < found[0] <= found[-1] < inf:
        raise ValueError(f"alphas: {tuple(alphas)!r} are no strengths; give numbers above 0")
    return found


def _silent(done: int, total: int) -> None:
    pass


def _whole(name: str, number: int) -> int:
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more; got {number!r}")
    return number

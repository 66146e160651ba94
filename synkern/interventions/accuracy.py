"""Noise in the weights of subsets of nodes, and what it does to accuracy on tasks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import Any

import numpy as np

from synkern._warnings import warn
from synkern.interventions.kept import Kept, digest
from synkern.interventions.noise import Noise, Perturbation, Scale
from synkern.interventions.noised import INTACT, NoiseAccuracy, Sweep
from synkern.interventions.problems import Problems
from synkern.interventions.runs import Judge, groups_of, ranked
from synkern.interventions.scoring import Scoring
from synkern.interventions.subsets import SUBSETS, Subset, subsets_of
from synkern.tasks import Task

ALPHAS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
"""Strengths of the noise that are tried on random subsets, until accuracy is past halfway down."""


def noise_accuracy(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    scores: Any,
    *,
    of: str = "heads",
    share: float = 0.25,
    draws: int = 5,
    noise_seeds: int = 3,
    alpha: float | None = None,
    alphas: Sequence[float] = ALPHAS,
    scale: Scale = "slice",
    scoring: Scoring | str = "likelihood",
    seed: int = 0,
    file: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
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
            synergistic; or `NodeScores`.
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
        progress: called after each evaluation with how many are done, and of how many.

    Raises:
        UnsupportedModelError: (a ValueError) no such nodes, or weights that cannot be perturbed.
        ValueError: an argument that cannot be used; a file of another experiment.

    Warns:
        UserWarning: the intact model is at the floor, where noise cannot show.
    """
    if alpha is None and len(alphas) == 0:
        raise ValueError("alphas: there are none to choose from; give several, or give alpha")
    judge = Judge(model, tokenizer, tasks, scoring)
    perturbation = Perturbation(model, of=of)
    nodes = perturbation.nodes
    values, ranking = ranked(scores, nodes)
    subsets_drawn = partial(
        subsets_of, values, groups_of(nodes), share=share, draws=_whole("draws", draws)
    )
    subsets = subsets_drawn(seed=seed)
    tried = [] if alpha is not None else sorted(_strength(each) for each in alphas)
    seeds = range(seed, seed + _whole("noise_seeds", noise_seeds))
    kept = Kept(
        file,
        {
            **judge.matters,
            "nodes": [str(node) for node in nodes],
            "scores": digest(values.tolist()),
            "ranking": ranking,
            "share": share,
            "draws": draws,
            "seed": seed,
            "noise": {"alpha": alpha, "alphas": tried, "seeds": noise_seeds, "scale": scale},
        },
    )
    judge.keep(kept, progress)
    compared = len(subsets) * noise_seeds
    judge.of = 1 + len(tried) * draws + compared

    def noised(subset: Subset, strength: float, noise: int, purpose: str = "") -> str:
        """Ask with noise in a subset; the name under which that is kept."""
        name = f"{purpose}{subset.name} {subset.draw}, alpha {strength!r}, seed {noise}"
        mask = np.zeros(len(nodes), np.bool_)
        mask[subset.nodes] = True
        judge(name, perturbation.applied(mask, Noise(strength, noise, scale)))
        return name

    intact = judge(INTACT)
    problems = Problems.of(judge.tasks, judge.scoring)
    sweep = None
    if alpha is None:
        # Of other random subsets than those that are compared, or the choice would favour these.
        own = subsets_drawn(seed=seed + 1, names=("random",))
        target, right = (float(intact.mean()) + problems.floor) / 2, []
        for each in tried:
            right.append(judge.rights([noised(k, each, seed + k.draw, "choice: ") for k in own]))
            if right[-1].mean() < target:
                break  # Stronger noise leaves less still.
        sweep = Sweep(np.array(tried[: len(right)]), np.array(right), target)
        alpha, judge.of = sweep.chosen, judge.done + compared
    names = {
        name: [
            [noised(one, alpha, noise) for noise in seeds] for one in subsets if one.name == name
        ]
        for name in SUBSETS
    }
    found = NoiseAccuracy(
        problems=problems,
        method=judge.scoring.method,
        ranking=ranking,
        nodes=tuple(str(node) for node in nodes),
        subsets={n: np.array([one.nodes for one in subsets if one.name == n]) for n in SUBSETS},
        alpha=float(alpha),
        scale=scale,
        sweep=sweep,
        intact=intact,
        right={name: judge.rights(each) for name, each in names.items()},
        truncated={
            name: cut
            for name, each in {INTACT: INTACT, **names}.items()
            if (cut := judge.cut_short(each)) is not None
        },
    )
    if found.where == "floor":
        warn(
            f"the intact model has {intact.mean():.1%} right, and chance {problems.floor:.1%}: a "
            "model at the floor cannot fall, and this shows nothing; use easier tasks"
        )
    return found


def _strength(alpha: float) -> float:
    if not 0 < alpha < inf:
        raise ValueError(f"alphas: {alpha!r} is no strength of noise; give numbers above 0")
    return float(alpha)


def _whole(name: str, number: int) -> int:
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more; got {number!r}")
    return number

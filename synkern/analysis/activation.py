"""Whether synergistic nodes are more active in some groups of prompts than in others."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import synkern._checks as check
from synkern._arrays import to_numpy
from synkern.analysis.categories import dealt, resampled

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ActivationSlopes:
    """Whether synergistic nodes are more active in some groups than in others.

    Attributes:
        groups: names, in the order of their first trials.
        slope: (groups,) change of a node's mean z from the lowest to the highest rank, z being its
            activation among its own over all trials. Slopes of groups, by their sizes, add to 0.
        interval: (groups, 2) over trials of the group.
        p: (groups,) two-sided, among random deals of the trials; not adjusted for their number.
        confidence: coverage of the intervals.
        constant_nodes: number of nodes whose activation is the same in all trials, left out.
    """

    groups: tuple[Hashable, ...]
    slope: Floats
    interval: Floats
    p: Floats
    confidence: float
    constant_nodes: int


def activation_slopes(
    activation: Any,
    rank: Any,
    groups: Sequence[Hashable],
    *,
    permutations: int = 999,
    bootstrap: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> ActivationSlopes:
    """Regress the activation of nodes in each group of trials on their rank.

    A node's activation in a trial is put as z, among its own over all trials; its mean over a
    group's trials is regressed on its rank, from 0 (most redundant) to 1, by least squares. Nodes
    depend on each other, so intervals and p come from draws of trials, never from the fit.

    Args:
        activation: (trials, nodes), as of `mean_activation`.
        rank: (nodes,) of all trials, as `NodeScores.rank`; NaN for nodes to be left out.
        groups: (trials,) the group of each.
        permutations: random deals of the trials into groups, at least 19.
        bootstrap: draws of trials within each group, at least 100.
        confidence: coverage of the intervals, above 0 and below 1.
        seed: of all draws.

    Raises:
        ValueError: arrays that do not fit, values that are not finite, fewer than 2 groups, fewer
            than 3 nodes that vary and have a rank, or an argument out of range.
    """
    values = np.asarray(to_numpy(activation), np.float64)
    ranks = np.asarray(to_numpy(rank), np.float64)
    if values.ndim != 2 or ranks.shape != values.shape[1:]:
        raise ValueError(
            f"activation has shape {values.shape} and rank {ranks.shape}; give (trials, nodes) and "
            "(nodes,)"
        )
    if not np.isfinite(values).all():
        raise ValueError(
            f"activation has {int((~np.isfinite(values)).sum())} values that are not finite; leave "
            "out samples beyond the end of a trial by mean_activation(series, mask)"
        )
    check.whole("permutations", permutations, 19)
    check.whole("bootstrap", bootstrap, 100)
    check.confidence(confidence)
    names, member = dealt(groups, len(values))
    # Rounding of a mean makes no node vary.
    varies = values.max(0) - values.min(0) > 1e-12 * np.abs(values).max(0)
    used = varies & np.isfinite(ranks)
    if used.sum() < 3 or len(np.unique(ranks[used])) < 2:
        raise ValueError(
            f"{int(used.sum())} nodes vary over trials and have a rank, and a slope needs at least "
            "3 of different rank"
        )
    z = (values[:, used] - values[:, used].mean(0)) / values[:, used].std(0)
    x = (ranks[used] - 1) / (np.isfinite(ranks).sum() - 1)
    x = x - x.mean()
    by_trial = z @ x / (x @ x)  # a mean over trials of slopes is the slope of the mean

    def slopes(weights: Floats) -> Floats:
        return np.asarray(weights @ by_trial / weights.sum(-1))

    rng = np.random.default_rng(seed)
    slope = slopes(member)
    drawn = slopes(resampled(member, bootstrap, rng)).reshape(len(names), bootstrap)
    # One trial drawn with replacement is that trial: no interval, not one of width 0.
    drawn[member.sum(1) < 2] = np.nan
    at_random = np.stack(
        [slopes(member[:, rng.permutation(len(values))]) for _ in range(permutations)]
    )
    beyond = (np.abs(at_random) >= np.abs(slope) - 1e-12).sum(0)
    tails = [50 * (1 - confidence), 50 * (1 + confidence)]
    return ActivationSlopes(
        groups=names,
        slope=slope,
        interval=np.percentile(drawn, tails, axis=1).T,
        p=(1 + beyond) / (1 + permutations),
        confidence=confidence,
        constant_nodes=int((~varies).sum()),
    )


def mean_activation(series: Any, mask: Any = None) -> Floats:
    """Mean over time of each node in each trial, (trials, nodes) float64.

    Args:
        series: (trials, time, nodes), any kind of array.
        mask: (trials, time) bool, samples that count; None: all.

    Raises:
        ValueError: shapes that do not fit, or a trial without a sample that counts.
    """
    values = np.asarray(to_numpy(series), np.float64)
    if values.ndim != 3:
        raise ValueError(f"series has shape {values.shape}; give (trials, time, nodes)")
    if mask is None:
        return np.asarray(values.mean(1))
    counts = np.asarray(to_numpy(mask), bool)
    if counts.shape != values.shape[:2]:
        raise ValueError(f"mask has shape {counts.shape}; give (trials, time), {values.shape[:2]}")
    samples = counts.sum(1, keepdims=True)
    if not samples.all():
        raise ValueError(
            f"trial {int(samples.argmin())} has no sample that counts in mask; leave it out"
        )
    return np.asarray(np.where(counts[..., None], values, 0.0).sum(1) / samples)

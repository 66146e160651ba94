"""Profiles over depth that can be compared across models: three named normalisations.

A node's score by any ranking becomes its rank r among the N nodes of its model that have one (tied
ranks, 1 most redundant, N most synergistic), so that units and scales of scores play no part, and
the ranks of the nodes of a layer become one number:

- `node_quantile`: mean over the layer's nodes of (r - 1) / (N - 1). It keeps size: 0.9 says that
  the layer's nodes are on average above 90 % of all nodes, and a model whose layers hardly differ
  has a flat profile near 0.5.
- `layer_rank`: rank of that mean among the L layers, (rank - 1) / (L - 1). Figure 2c of
  arXiv:2601.06851 shows this (its caption says min-max). Every profile runs from 0 to 1, however
  little the layers differ.
- `minmax`: that mean, scaled so that the lowest layer is 0 and the highest 1, as in figure 3a.

`minmax` is a straight line of `node_quantile`, so rank correlations are the same under both.

Layers lie at relative depth from 0 (first recorded) to 1 (last), by their index; on a common grid
profiles are interpolated linearly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import synkern._checks as check
from synkern.analysis.profile import Axis
from synkern.analysis.scores import tied_rank

Floats = NDArray[np.float64]

NORMALISATIONS = ("node_quantile", "layer_rank", "minmax")
"""How the ranks of a layer's nodes become one number; see the module. The first is the default."""


def normalised(scores: ArrayLike, layers: ArrayLike) -> dict[str, Floats]:
    """Profiles of nodes' scores over depth, under each of `NORMALISATIONS`.

    Args:
        scores: (..., nodes), higher is more synergistic; NaN for a node without a score, which
            enters no mean.
        layers: (nodes,) integer, the layer of each node.

    Returns:
        By normalisation (..., layers) float64, layers in rising order, without a unit. NaN for a
        layer without any score, and everywhere where what is divided by is 0: one score, or layers
        that are all alike under `minmax`.

    Raises:
        ValueError: layers that do not fit the scores, or fewer than 3 of them.
    """
    values = np.asarray(scores, np.float64)
    if values.ndim == 0:
        raise ValueError("scores is a single number; give one for each node, (..., nodes)")
    axis = Axis.of(layers, values.shape[-1])
    rank = np.asarray(tied_rank(values), np.float64)
    # Means of ranks, which are halves of whole numbers: sums are exact, and equal layers stay so.
    means = axis.means(rank)
    count = np.isfinite(rank).sum(-1, keepdims=True)
    finite = np.isfinite(means)
    low = np.where(finite, means, np.inf).min(-1, keepdims=True)
    high = np.where(finite, means, -np.inf).max(-1, keepdims=True)
    return {
        "node_quantile": np.asarray((means - 1) / _not_zero(count - 1.0), np.float64),
        "layer_rank": ranked_layers(means),
        "minmax": np.asarray((means - low) / _not_zero(high - low), np.float64),
    }


def ranked_layers(profile: Floats) -> Floats:
    """`layer_rank` of a profile (..., layers) that has the layers in the same order."""
    count = np.isfinite(profile).sum(-1, keepdims=True)
    return np.asarray((tied_rank(profile) - 1) / _not_zero(count - 1.0), np.float64)


def on_grid(profiles: Floats, depth: Floats, points: int) -> Floats:
    """Profiles on a common grid over depth, interpolated linearly between layers.

    Args:
        profiles: (..., layers).
        depth: (layers,) rising from 0 to 1.
        points: of the grid, evenly spaced from 0 to 1, both included.

    Returns:
        (..., points); NaN beside a layer that is NaN.

    Raises:
        ValueError: fewer than 3 points.
    """
    check.whole("points", points, 3)
    grid = np.linspace(0.0, 1.0, points)
    left = np.clip(np.searchsorted(depth, grid, "right") - 1, 0, len(depth) - 2)
    share = (grid - depth[left]) / (depth[left + 1] - depth[left])
    before, after = profiles[..., left], profiles[..., left + 1]
    # At a layer only this layer counts, whatever its neighbour is.
    between = before * (1 - share) + np.where(share > 0, after, 0.0) * share
    return np.asarray(np.where(share < 1, between, after), np.float64)


def check_normalisation(name: str) -> None:
    """Raise ValueError unless it is one of `NORMALISATIONS`."""
    check.choice("normalisation", name, NORMALISATIONS)


def _not_zero(values: Any) -> Floats:
    """The values, NaN where they are 0, to divide by."""
    return np.where(np.asarray(values) > 0, values, np.nan)

"""A parabola over depth, fitted to layer means by least squares; see `synkern.analysis.profile`.

Profiles are (draws, layers), depth is (layers,) from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SHUFFLES = 9999

_FEWEST_ON_A_SIDE = 3
"""Two layers always lie on a line."""


def fitted(depth: Floats, profiles: Floats) -> tuple[Floats, Floats, Floats]:
    """Level, slope and quadratic term, (draws,) each, of profiles (draws, layers)."""
    u = 2 * depth - 1
    design = np.stack([np.ones_like(u), u, u**2], axis=1)
    level, slope, quadratic = np.linalg.pinv(design) @ profiles.T
    return level, slope, quadratic


def slopes(depth: Floats, profiles: Floats) -> Floats:
    """Slopes (draws,) of profiles (draws, layers) on depth; NaN where the layers are too few."""
    if len(depth) < _FEWEST_ON_A_SIDE:
        return np.full(len(profiles), np.nan)
    centred = depth - depth.mean()
    return np.asarray(profiles @ centred / (centred @ centred))


def shuffled_p(depth: Floats, mean: Floats, seed: int) -> float:
    """Share of random orders of layer means (layers,) that bend downwards as much, or more.

    The given order is counted in.
    """
    orders = np.tile(mean, (_SHUFFLES, 1))
    # Not the stream of the bootstrap, whose draws these have to be independent of.
    orders = np.random.default_rng((seed, 1)).permuted(orders, axis=1)
    quadratic = float(fitted(depth, mean[None])[2][0])
    # Orders that differ by rounding alone, such as the mirror image, count as equal.
    as_low = fitted(depth, orders)[2] <= quadratic + 1e-12
    return float((1 + as_low.sum()) / (1 + _SHUFFLES))


def vertex_of(slope: Floats, quadratic: Floats) -> Floats:
    """Relative depth of the vertex of each parabola; infinite for a straight line."""
    with np.errstate(divide="ignore", invalid="ignore"):
        vertex = 0.5 - slope / (4 * quadratic)
    return np.where(np.isnan(vertex), np.inf, vertex)

"""Subsets of nodes that a noise experiment compares: the beginnings of orders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from synkern.interventions.curves.orders import orders_of

Ints = npt.NDArray[np.int64]

SUBSETS = ("synergy", "redundancy", "random", "layer_matched")
"""What is compared, always with the same number of nodes: the nodes with the highest scores, those
with the lowest, any, and any with as many in every layer as the first."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Some nodes.

    Attributes:
        name: one of `SUBSETS`.
        draw: which one of them, from 0; 0 where there is only one.
        nodes: (size,) int64, rising places among all nodes.
    """

    name: str
    draw: int
    nodes: Ints


def subset_size(share: float, count: int) -> int:
    """How many of `count` nodes a share is, at least one.

    Raises:
        ValueError: not above 0, or above a half: the highest and the lowest would overlap.
    """
    if not 0 < share <= 1 / 2:
        raise ValueError(
            f"share must be above 0 and at most 0.5, or the most synergistic nodes would be among "
            f"the most redundant ones; got {share!r}"
        )
    size = max(1, round(share * count))
    if 2 * size > count:
        raise ValueError(f"share: {share!r} of {count} nodes leaves no two subsets apart")
    return size


def subsets_of(
    scores: npt.ArrayLike,
    layers: npt.ArrayLike,
    *,
    share: float = 0.25,
    draws: int = 5,
    seed: int = 0,
    names: Sequence[str] = SUBSETS,
) -> tuple[Subset, ...]:
    """The subsets of nodes to compare, each of the same size.

    Args:
        scores: (nodes,), high is synergistic. Nodes without one (NaN) are in no subset, and the
            share is one of the others.
        layers: (nodes,), the layer of each.
        share: of the nodes, at most a half.
        draws: of "random" and of "layer_matched".
        seed: of the draws.
        names: some of `SUBSETS`.
    """
    values = np.asarray(scores, dtype=np.float64)
    among = np.isfinite(values)
    size = subset_size(share, int(among.sum()))
    orders = orders_of(values, layers, names=names, draws=draws, seed=seed, among=among)
    return tuple(
        Subset(order.name, order.draw, np.sort(np.asarray(order.nodes[:size], dtype=np.int64)))
        for order in orders
    )

"""A matrix of pairs as a weighted graph: what is an edge, and what had to be left out to have one.

Efficiency and modularity are defined for weights that are not negative. What has no value (NaN) or
is negative is therefore no edge; both are kept by name and count, and where they are more than a
few the matrix is refused rather than made into another graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern._arrays import to_numpy
from synkern.analysis.profile import MISSING_TOLERATED

Floats = NDArray[np.float64]

NEGATIVE_TOLERATED = 0.05
"""A larger share of negative pairs is refused: without them it would be another graph."""

FEWEST_NODES = 4
"""The three weights between three nodes follow from the strengths of these: no null that keeps the
strengths could differ."""

DENSITIES = (0.05, 0.1, 0.15, 0.2, 0.3, 1.0)
"""Shares of the pairs that are kept, strongest first; 1 is the graph without threshold."""

_SYMMETRIC = 1e-9
"""Relative to the largest weight: the promise of the estimator for what is symmetric."""


class NoGraphError(ValueError):
    """Values of pairs make no graph, or a graph no null graph; the message says why."""


@dataclass(frozen=True, eq=False, repr=False)
class WeightedGraph:
    """An undirected graph of all nodes, whose edges are the positive pairs of a matrix.

    Attributes:
        weights: (nodes, nodes) float64, symmetric, in the unit of the matrix; 0 on the diagonal and
            where there is no edge.
        valued: (nodes, nodes) bool, symmetric, which pairs have a value; False on the diagonal.
        missing: (pairs, 2) int64, i < j: those without (NaN), which are no edges.
        negative: (pairs, 2) int64, i < j: those with a negative value, which are no edges.
        negative_sum: sum of the negative values, in the unit of the matrix.
    """

    weights: Floats
    valued: NDArray[np.bool_]
    missing: NDArray[np.int64]
    negative: NDArray[np.int64]
    negative_sum: float

    def __repr__(self) -> str:
        """One line: size, and what was left out."""
        return (
            f"WeightedGraph({self.nodes} nodes, {self.pairs} pairs: {len(self.missing)} without "
            f"value and {len(self.negative)} negative, which are no edges)"
        )

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return len(self.weights)

    @property
    def pairs(self) -> int:
        """Number of pairs of nodes, whether edges or not."""
        return _pairs(self.nodes)

    @property
    def negative_share(self) -> float:
        """Share of the pairs with a value that are negative."""
        return len(self.negative) / (self.pairs - len(self.missing))

    @property
    def mean_weight(self) -> float:
        """Mean weight of the pairs with a value, negative ones as 0."""
        return float(self.weights.sum() / self.valued.sum())

    @property
    def strengths(self) -> Floats:
        """Sum of the weights of each node's edges, (nodes,)."""
        return np.asarray(self.weights.sum(1))

    @classmethod
    def of(cls, matrix: Any, name: str = "matrix") -> WeightedGraph:
        """Make a graph of an atom.

        Args:
            matrix: (nodes, nodes) real, symmetric, of any kind of array, NaN where a pair has no
                value; the diagonal is ignored.
            name: of the matrix, for errors.

        Raises:
            ValueError: another shape, fewer than `FEWEST_NODES` nodes, no symmetry.
            NoGraphError: a ValueError: infinite values, too many pairs without value or negative
                (`NEGATIVE_TOLERATED`), or no edge at all.
        """
        values = _checked(np.array(to_numpy(matrix), np.float64), name)
        nodes = len(values)
        values = (values + values.T) / 2  # up to rounding, so that no order of nodes shows
        valued = np.isfinite(values)
        upper = np.triu(np.ones((nodes, nodes), bool), 1)
        missing, negative = np.argwhere(upper & ~valued), np.argwhere(upper & (values < 0))
        pairs = _pairs(nodes)
        _refuse_many(name, len(missing), pairs, "have no value", MISSING_TOLERATED)
        _refuse_many(name, len(negative), pairs - len(missing), "are negative", NEGATIVE_TOLERATED)
        weights = np.where(valued & (values > 0), values, 0.0)
        if not weights.any():
            raise NoGraphError(
                f"no pair of {name} is above 0, so the graph has no edge; take other "
                "nodes, or another redundancy function or estimator"
            )
        negative_sum = float(values[negative[:, 0], negative[:, 1]].sum())
        return cls(weights, valued, missing, negative, negative_sum)


def strongest(weights: Floats, density: float) -> Floats:
    """Keep the strongest edges, a share of all pairs; the rest becomes 0.

    Args:
        weights: (nodes, nodes) of a `WeightedGraph`.
        density: share of all nodes (nodes - 1) / 2 pairs, above 0 and up to 1. Equal weights at the
            limit are kept in order of the pairs; where fewer are edges at all, these are kept.

    Returns:
        (nodes, nodes) float64, symmetric.

    Raises:
        ValueError: the share of the pairs is less than one of them.
    """
    if density == 1:
        return weights
    rows, columns = np.triu_indices(len(weights), 1)
    count = edges_at("density", density, len(weights))
    kept = np.argsort(-weights[rows, columns], kind="stable")[:count]
    out = np.zeros_like(weights)
    out[rows[kept], columns[kept]] = weights[rows[kept], columns[kept]]
    return out + out.T


def edges_at(argument: str, density: float, nodes: int) -> int:
    """How many of the pairs of so many nodes are kept at a density.

    Raises:
        ValueError: no share, or less than one of the pairs.
    """
    if not 0 < density <= 1:
        raise ValueError(
            f"{argument} = {density!r}; give a share of the pairs, above 0 and up to 1"
        )
    pairs = _pairs(nodes)
    count = round(density * pairs)
    if count < 1:
        raise ValueError(
            f"{argument} = {density!r} of {pairs} pairs is none of them; give at least "
            f"{1 / pairs:.2g}"
        )
    return count


def densities_of(
    argument: str, densities: Sequence[float] | None, nodes: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The densities at which a graph of so many nodes is measured.

    By default those of `DENSITIES` that leave at least nodes - 1 edges. Fewer cannot join all
    nodes, whatever the weights: what is measured then is into how many pieces the graph falls,
    and this hangs on the number of nodes and not on what is between them.

    Args:
        argument: what they are called, for errors.
        densities: shares of the pairs, in any order; None: the default.
        nodes: of the graph.

    Returns:
        In rising order, 1 the last; and the default ones that are left out.

    Raises:
        ValueError: one is no share, or less than one of the pairs.
    """
    if densities is None:
        kept = [one for one in DENSITIES if round(one * _pairs(nodes)) >= nodes - 1]
        return tuple(kept), tuple(one for one in DENSITIES if one not in kept)
    for one in densities:
        edges_at(f"one of {argument}", one, nodes)
    return tuple(sorted({*map(float, densities), 1.0})), ()


def layer_distances(layers: Any, nodes: int) -> NDArray[np.int64]:
    """How many layers lie between two nodes, (nodes, nodes); `layers` is (nodes,) whole numbers.

    Raises:
        ValueError: not one whole number for each node.
    """
    checked = layers_checked(layers, nodes)
    return np.asarray(np.abs(checked[:, None] - checked))


def layers_checked(layers: Any, nodes: int) -> NDArray[np.int64]:
    """The layer of each node, (nodes,) int64; raises ValueError if not one for each node."""
    array = np.asarray(to_numpy(layers))
    if array.shape != (nodes,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"layers has shape {array.shape} and dtype {array.dtype}; give one whole number for "
            f"each of the {nodes} nodes"
        )
    return array.astype(np.int64)


def too_few(nodes: int, many: str, beginning: str) -> str:
    """Say that so few nodes make no network.

    Args:
        nodes: how many there are, fewer than `FEWEST_NODES`.
        many: what they are called.
        beginning: of the sentence: what has them.
    """
    return (
        f"{beginning} {nodes} {many}; a network needs at least {FEWEST_NODES}: with fewer, how "
        "strong each one is fixes every weight, and no null graph could differ"
    )


def _pairs(nodes: int) -> int:
    return nodes * (nodes - 1) // 2


def _checked(values: Floats, name: str) -> Floats:
    """The values (nodes, nodes), NaN on the diagonal; raises ValueError if they make no graph."""
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ValueError(
            f"{name} has shape {values.shape}; give (nodes, nodes): an atom of all pairs, averaged "
            "over trials"
        )
    if len(values) < FEWEST_NODES:
        raise ValueError(too_few(len(values), "nodes", f"{name} has"))
    np.fill_diagonal(values, np.nan)
    infinite = np.isinf(values)
    if infinite.any():
        pair = np.argwhere(infinite)[0].tolist()
        raise NoGraphError(
            f"{name} has {int(infinite.sum())} infinite values, the first at {pair}; nodes that "
            "are copies of each other give them: leave one of each out"
        )
    apart = np.nan_to_num(np.abs(values - values.T))
    scale = np.nan_to_num(np.abs(values)).max()
    wrong = (np.isnan(values) != np.isnan(values.T)) | (apart > _SYMMETRIC * scale)
    if wrong.any():
        pair = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{name} is not symmetric, see entry {pair} and its mirror image; these graphs have no "
            "direction: give an atom such as sts or rtr, or (matrix + matrix.T) / 2"
        )
    return values


def _refuse_many(name: str, count: int, pairs: int, what: str, tolerated: float) -> None:
    if count > tolerated * pairs:
        raise NoGraphError(
            f"{count} of {pairs} pairs of {name} {what} ({count / pairs:.1%}), and they would be "
            f"no edges; up to {tolerated:.0%} are taken. Leave out the nodes they belong to, or "
            "take another atom or estimator"
        )

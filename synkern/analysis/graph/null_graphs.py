"""Null graphs: what would be there anyhow, of the weights, the strengths or the layers alone.

Each keeps something of a graph and draws the rest. Pairs without a value keep their place.

`weights`: the weights are shuffled over all pairs. Keeps their distribution alone.

`strengths`: keeps the strength of every node (to 1e-9) and with it the part of the weights that is
a product of two numbers of nodes. That product, a_i a_j off the diagonal, is fitted so that the
strengths are those of the graph; the ratios of weights to it are shuffled over all pairs; and the
rows and columns of the outcome are scaled until the strengths are those of the graph again. The fit
and the scaling are iterative proportional fitting (Deming and Stephan 1940, Ann. Math. Stat. 11,
427) in its symmetric form (Knight, Ruiz and Uçar 2014, SIAM J. Matrix Anal. Appl. 35, 931). Of the
distribution of the weights it keeps what the scaling leaves. Rewiring of edges that keeps degrees
(Maslov and Sneppen 2002) changes nothing where all pairs are edges, as here.

`layers`: weights are shuffled among the pairs whose layers are equally far apart. Keeps what the
distance of layers alone gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.weights import Floats, NoGraphError, WeightedGraph

_CLOSE = 1e-9
"""Relative difference of strengths at which the scaling is done."""

_STEPS = 2000
"""Of scaling: fewer than 100 do for graphs of atoms."""


class Drawn(NamedTuple):
    """What nulls are drawn from.

    Attributes:
        graph: as it is.
        distances: (nodes, nodes) of layers.
    """

    graph: WeightedGraph
    distances: NDArray[np.int64]

    @property
    def pairs(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the pairs i < j with a value."""
        rows, columns = np.nonzero(np.triu(self.graph.valued, 1))
        return rows, columns


def shuffled(drawn: Drawn, rng: np.random.Generator) -> Floats:
    """Weights over all pairs, (nodes, nodes): the null `weights`."""
    rows, columns = drawn.pairs
    return _placed(drawn, rng.permutation(drawn.graph.weights[rows, columns]))


def within_distances(drawn: Drawn, rng: np.random.Generator) -> Floats:
    """Weights over pairs whose layers are equally far apart: the null `layers`."""
    rows, columns = drawn.pairs
    distance = drawn.distances[rows, columns]
    weights = drawn.graph.weights[rows, columns]
    # A random order, sorted by distance, beside the given one, sorted by distance.
    mixed = rng.permutation(len(distance))
    given = np.argsort(distance, kind="stable")
    out = np.empty_like(weights)
    out[given] = weights[mixed[np.argsort(distance[mixed], kind="stable")]]
    return _placed(drawn, out)


def of_strengths(drawn: Drawn, rng: np.random.Generator) -> Floats:
    """Ratios to the product of strengths over all pairs: the null `strengths`.

    Raises:
        NoGraphError: no scaling gives the strengths, as where one node holds most of the weight.
    """
    rows, columns = drawn.pairs
    graph = drawn.graph
    product = _scaled(graph.valued.astype(np.float64), graph.strengths)
    expected = product[rows, columns]
    # A node without edges expects none: its ratios say nothing, and none are put there.
    there = expected > 0
    ratios = graph.weights[rows, columns][there] / expected[there]
    out = np.zeros(len(rows))
    out[there] = expected[there] * rng.permutation(ratios)
    return _scaled(_placed(drawn, out), graph.strengths)


NULL_GRAPHS: dict[str, Callable[[Drawn, np.random.Generator], Floats]] = {
    "weights": shuffled,
    "strengths": of_strengths,
    "layers": within_distances,
}
"""Nulls by name; see the module for what each keeps."""


def _placed(drawn: Drawn, weights: Floats) -> Floats:
    """A symmetric matrix with these weights at `drawn.pairs`."""
    rows, columns = drawn.pairs
    out = np.zeros_like(drawn.graph.weights)
    out[rows, columns] = out[columns, rows] = weights
    return out


def _scaled(matrix: Floats, strengths: Floats) -> Floats:
    """The matrix d_i m_ij d_j whose rows have these sums; raises NoGraphError if there is none."""
    alive = strengths > 0
    factors = np.where(alive, 1.0, 0.0)
    for _ in range(_STEPS):
        sums = factors * (matrix @ factors)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(alive, strengths / sums, 1.0)
        if not np.isfinite(ratio).all():
            break
        if np.abs(ratio - 1).max() <= _CLOSE:
            return np.asarray(matrix * np.outer(factors, factors))  # symmetric to the last bit
        factors = factors * np.sqrt(ratio)
    raise NoGraphError(
        "null 'strengths': no scaling of shuffled weights keeps the strengths of the nodes; one "
        "node holds most of the weight, or most pairs are no edges. Leave this null out by nulls="
    )

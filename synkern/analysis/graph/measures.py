"""Measures of a weighted graph, given as (nodes, nodes) symmetric weights with a zero diagonal.

An edge of weight w has the length 1 / w (Brain Connectivity Toolbox, Rubinov and Sporns 2010,
NeuroImage 52, 1059). Efficiency then has the unit of the weights: it grows with them, and where
nearly all shortest paths are single edges it is their mean. So it says something of a network only
beside that of a null with the same weights.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.libraries import library

Floats = NDArray[np.float64]

_HUBS = 16
"""Strongest neighbours of a node by which a detour is looked for. Of 1,664 nodes 16 leave one edge
in ten, and 64 save no more time than they take."""


class Paths(NamedTuple):
    """What the shortest paths between all pairs of nodes say.

    Attributes:
        efficiency: mean over the pairs of 1 / distance, 0 for those without a path; in the unit of
            the weights (Latora and Marchiori 2001, Phys. Rev. Lett. 87, 198701).
        path_length: mean distance of the pairs with a path, in 1 / unit.
        unreachable: number of pairs i < j without a path.
    """

    efficiency: float
    path_length: float
    unreachable: int


def paths(weights: Floats) -> Paths:
    """Efficiency and mean length of the shortest paths of a graph with at least one edge."""
    scale = float(weights.max())
    with np.errstate(divide="ignore"):
        lengths = 1 / (weights / scale)  # so that no unit is too small to be inverted
    needed = _without_detours(lengths)
    distances = library("scipy.sparse.csgraph", "the efficiency of a graph").dijkstra(needed)
    pairs = distances[np.triu_indices(len(weights), 1)]
    reached = pairs[np.isfinite(pairs)]
    return Paths(
        efficiency=scale * float((1 / reached).sum()) / len(pairs),
        path_length=float(reached.mean()) / scale,
        unreachable=len(pairs) - len(reached),
    )


def _without_detours(lengths: Floats) -> object:
    """Leave out edges that are longer than a detour by one node: no shortest path has them.

    A strict comparison, so every distance stays what it is: a path with such an edge is longer than
    the one with the detour. Of a dense graph this leaves a tenth, and Dijkstra's algorithm, for
    which every edge counts, takes half the time.

    Args:
        lengths: (nodes, nodes), infinite on the diagonal and where there is no edge.

    Returns:
        The edges that are left, as a sparse matrix.
    """
    hubs = min(_HUBS, len(lengths) - 1)
    nearest = np.argpartition(lengths, hubs - 1, axis=1)[:, :hubs]
    detour = np.empty_like(lengths)
    for node, through in enumerate(nearest):
        detour[node] = (lengths[node, through, None] + lengths[through]).min(0)
    kept = (lengths <= np.minimum(detour, detour.T)) & np.isfinite(lengths)
    sparse = library("scipy.sparse", "the efficiency of a graph")
    return sparse.csr_matrix(np.where(kept, lengths, 0.0))


def clustering(weights: Floats) -> float:
    """Mean over the nodes of the weighted clustering coefficient; no unit.

    That of Onnela et al. 2005 (Phys. Rev. E 71, 065103): the mean over a node's pairs of neighbours
    of the cube root of the product of the three weights, each divided by the largest of the graph;
    0 for a node with fewer than two neighbours.
    """
    roots = np.cbrt(weights / weights.max())
    triangles = (roots @ roots * roots).sum(1)
    degree = (weights > 0).sum(1)
    return float((triangles / np.maximum(degree * (degree - 1), 1)).mean())


def modularity(weights: Floats, labels: NDArray[np.int64], resolution: float = 1.0) -> float:
    """Weight inside communities beyond what the nodes' strengths give; no unit.

    Q = 1 / 2m sum over (i, j) in one community of w_ij - resolution s_i s_j / 2m, with strengths s
    and 2m their sum (Newman 2004, Phys. Rev. E 70, 056131; Reichardt and Bornholdt 2006, Phys. Rev.
    E 74, 016110).

    Args:
        weights: (nodes, nodes), with at least one edge.
        labels: (nodes,), the community of each node, by any whole numbers.
        resolution: above 1 for smaller communities, below 1 for larger ones.
    """
    member = _members(labels)
    total = weights.sum()
    inside = (member * (weights @ member)).sum()
    strength = weights.sum(1) @ member
    return float(inside / total - resolution * ((strength / total) ** 2).sum())


def participation(weights: Floats, labels: NDArray[np.int64]) -> Floats:
    """How evenly each node's weights go to the communities, (nodes,), 0 (all to one) to below 1.

    1 - sum over communities of (strength to it / strength)**2 (Guimerà and Amaral 2005, Nature 433,
    895). NaN for a node without edges.
    """
    towards = weights @ _members(labels)
    with np.errstate(invalid="ignore"):
        share = towards / weights.sum(1, keepdims=True)
    return np.asarray(1 - (share**2).sum(1))


def _members(labels: NDArray[np.int64]) -> Floats:
    """(nodes, communities), 1 where a node belongs to a community."""
    _, place = np.unique(labels, return_inverse=True)
    return np.eye(int(place.max()) + 1)[place]

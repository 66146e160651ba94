"""Communities of a weighted graph: many runs of Louvain, what they agree on, and with what.

Louvain's result depends on the order in which it goes through the nodes, so one run is one draw.
Runs are seeded and many; the best and the mean modularity are told, and the partition they have in
common (Lancichinetti and Fortunato 2012, Sci. Rep. 2, 336).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.libraries import library
from synkern.analysis.graph.measures import modularity

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

_GAIN = 1e-5
"""Modularity that another pass has to gain. scikit-network's default, 1e-3, is a thirtieth of what
these dense graphs have; much below this its arithmetic in single precision would go round in
circles."""

_TOGETHER = 0.5
"""Share of runs below which two nodes count as apart in the consensus."""

NO_COMMUNITY = -1
"""Label of a node that is in no community, as runs did not agree on any."""

_ROUNDS = 20
"""Rounds after which runs on what runs agree on should agree: one or two do in practice."""


class Runs(NamedTuple):
    """Runs of Louvain on one graph.

    Attributes:
        labels: (runs, nodes) int64, the community of each node; 0 is that of node 0, and so on in
            the order of the nodes.
        modularity: (runs,) float64.
    """

    labels: Labels
    modularity: Floats

    @property
    def best(self) -> Labels:
        """The partition with the largest modularity, the first of equal ones."""
        return np.asarray(self.labels[int(np.argmax(self.modularity))])


def louvain(weights: Floats, seeds: Sequence[tuple[int, ...]], resolution: float = 1.0) -> Runs:
    """Maximise modularity by Louvain (Blondel et al. 2008), once for each seed.

    Args:
        weights: (nodes, nodes) symmetric, not negative, with at least one edge.
        seeds: of NumPy's generator, one for each run: the order of the nodes is drawn by it.
        resolution: see `measures.modularity`.
    """
    sparse = library("scipy.sparse", "the modularity of a graph")
    algorithm = library("sknetwork.clustering", "the modularity of a graph").Louvain
    found, reached = [], []
    for seed in seeds:
        order = np.random.default_rng(seed).permutation(len(weights))
        run = algorithm(
            resolution=resolution,
            modularity="newman",
            tol_optimization=_GAIN,
            tol_aggregation=_GAIN,
            # What comes of these is not used, and takes time.
            return_probs=False,
            return_aggregate=False,
        )
        labels = np.empty(len(weights), np.int64)
        labels[order] = run.fit_predict(sparse.csr_matrix(weights[np.ix_(order, order)]))
        found.append(_in_order(labels))
        # Anew: that of the library is in single precision.
        reached.append(modularity(weights, labels, resolution))
    return Runs(np.stack(found), np.array(reached))


def consensus(labels: Labels, seed: int = 0) -> Labels:
    """The partition that runs have in common.

    Louvain runs as often on the graph of how often two nodes are together, less what is below half
    of the runs, and so on until all runs agree.

    Args:
        labels: (runs, nodes).
        seed: of the runs.

    Returns:
        (nodes,) int64, numbered in the order of the nodes; all `NO_COMMUNITY` where the runs do not
        come to agree.
    """
    runs, nodes = labels.shape
    for again in range(_ROUNDS):
        if (labels == labels[0]).all():
            return np.asarray(labels[0])
        together = np.zeros((nodes, nodes))
        for run in labels:
            together += run[:, None] == run
        together /= runs
        together[together < _TOGETHER] = 0
        np.fill_diagonal(together, 0)
        if not together.any():
            return np.arange(nodes)  # no two nodes are together more often than not
        labels = louvain(together, [(seed, again, run) for run in range(runs)]).labels
    return np.full(nodes, NO_COMMUNITY)


def adjusted_rand(one: Labels, other: Labels) -> float:
    """How far two partitions agree on which nodes are together: 1 fully, 0 as by chance.

    Hubert and Arabie 1985, J. Classif. 2, 193. 1 where both are the same trivial partition.

    Args:
        one, other: (nodes,) whole numbers.
    """
    _, row = np.unique(one, return_inverse=True)
    _, column = np.unique(other, return_inverse=True)
    table = np.bincount(row * (column.max() + 1) + column).astype(np.float64)

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    rows = pairs(np.bincount(row).astype(np.float64))
    columns = pairs(np.bincount(column).astype(np.float64))
    expected = rows * columns / pairs(np.array([float(len(row))]))
    most = (rows + columns) / 2
    return 1.0 if most == expected else (pairs(table) - expected) / (most - expected)


def _in_order(labels: Labels) -> Labels:
    """Number communities in the order of their first nodes, so that equal ones look equal."""
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[place], np.int64)

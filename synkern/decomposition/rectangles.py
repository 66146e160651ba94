"""One of many blocks of a decomposition: all pairs of some nodes, or of some with some others."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from synkern._arrays import placed, to_numpy
from synkern.decomposition.asked import Options
from synkern.decomposition.batches import Batch, decomposed
from synkern.decomposition.options import unit_factor
from synkern.decomposition.sources import series_source
from synkern.kernels import Nodes, Pairs, Rectangle, Wanted, narrowed, steady


@dataclass(frozen=True)
class Block:
    """What became of the pairs of a block; all arrays are of NumPy.

    Attributes:
        atoms: by name (rows, columns), or (trials, rows, columns) with average=None, in the unit
            asked for; without entries where only sums by node were asked for.
        sums: (atoms + 3, trials, nodes) float64 sums over the pairs of each node, which is x, in
            the estimator's own unit: the atoms, the number of pairs, the sum of sts / (sts + rtr)
            and the number of pairs where sts + rtr exceeds 1e-12; one trial where trials are
            averaged. Rows come before columns. None where atoms were asked for.
        constant: (trials, nodes) bool; one trial where trials are pooled.
        flagged: (flags, 4) int64, trial, row, column, `Outcome`; nodes as numbered in the block.
        outcomes: number of (trial, pair) by `Outcome`, but for constant nodes.
        rescued: number of (trial, pair) recomputed from the data.
    """

    atoms: dict[str, npt.NDArray[Any]]
    sums: npt.NDArray[np.float64] | None
    constant: npt.NDArray[np.bool_]
    flagged: npt.NDArray[np.int64]
    outcomes: Counter[int]
    rescued: int


def decompose_block(
    series: Any, height: int | None, tau: int, options: Options, *, by_node: bool
) -> Block:
    """Decompose the pairs of a block at one lag; see `phiid` for what is raised.

    Args:
        series: (trials, time, nodes) of the block, without names.
        height: the first so many nodes are its rows and the others its columns; None: all pairs of
            its nodes.
        tau: lag in samples.
        options: of the decomposition; `pairs`, `groups` and `members` are not looked at.
        by_node: only sums by node.
    """
    estimator = options.estimator
    wanted = Wanted(estimator.key, by_node=by_node)
    source = series_source(series, (tau,), options, wanted)
    request = options.request(tau, estimator, by_node=by_node)
    if height is not None:
        sides = Rectangle(slice(0, height), slice(height, source.shape[2]))
        request = narrowed(request, sides)
    xp: Any = sys.modules[source.backend.arrays]
    with placed(source.given, source.like):
        given = [_settled(xp, batch, options.pooled) for batch in source.data(source.array, tau)]
        found = decomposed(xp, source.backend.run, given, request)
        if isinstance(found, Nodes):
            return _of_nodes(found, request.names)
        return _of_pairs(found, unit_factor(estimator.unit, options.unit))


def _settled(xp: Any, batch: Batch, pooled: str | None) -> Batch:
    if not batch.unsettled:
        return batch
    series = steady.settled(xp, batch.series, batch.tau, pooled, batch.unsettled)
    return batch._replace(series=series, unsettled=0.0)


def _of_pairs(found: Pairs, factor: float) -> Block:
    atoms = {name: to_numpy(value) for name, value in found.atoms.items()}
    if factor != 1.0:
        for value in atoms.values():
            value[...] = value * factor
    flagged = to_numpy(found.flagged)
    return Block(
        atoms=atoms,
        sums=None,
        constant=to_numpy(found.constant),
        flagged=flagged,
        outcomes=Counter(flagged[:, 3].tolist()),
        rescued=found.rescued,
    )


def _of_nodes(found: Nodes, names: tuple[str, ...]) -> Block:
    each = [*(found.sums[name] for name in names), found.pairs, found.shares, found.shared]
    sums = np.stack([to_numpy(value).astype(np.float64) for value in each])
    return Block(
        atoms={},
        sums=sums if sums.ndim == 3 else sums[:, None],
        constant=to_numpy(found.constant),
        flagged=np.zeros((0, 4), np.int64),
        outcomes=found.outcomes,
        rescued=found.rescued,
    )

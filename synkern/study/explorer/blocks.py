"""Matrices of more pairs than a page can carry: means over blocks of neighbouring nodes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 2000
"""Rows up to which a matrix is shown pair by pair."""

VALUES = 14_000_000
"""Pairs, of all matrices of a page together, up to which that is so: 56 MB of float32."""


@dataclass(frozen=True)
class Blocks:
    """Nodes of a group taken together, so that matrices are smaller.

    Attributes:
        of: (nodes,) int, the block of each node.
        count: of blocks.
        size: nodes that a block has at most.
    """

    of: NDArray[np.int64]
    count: int
    size: int

    def mean(self, matrix: NDArray[Any]) -> NDArray[np.float64]:
        """Return (blocks, blocks), the mean of the pairs between blocks that have a value."""
        nodes = np.argsort(self.of, kind="stable")
        starts = np.searchsorted(self.of[nodes], np.arange(self.count))
        known = np.isfinite(matrix)
        total, number = (
            np.add.reduceat(
                np.add.reduceat(values[nodes][:, nodes], starts, axis=0, dtype=np.float64),
                starts,
                axis=1,
            )
            for values in (np.where(known, matrix, 0.0), known)
        )
        return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def blocks_for(
    group_of: NDArray[Any], matrices: int, side: int = SIDE, values: int = VALUES
) -> Blocks | None:
    """Return the blocks that make so many matrices small enough; None where they are.

    A block has neighbouring nodes of one group, in the order of the nodes.

    Args:
        group_of: (nodes,) the group of each node, from 0.
        matrices: how many there are.
        side: rows that a matrix may have.
        values: pairs that all of them together may have, each counted once.
    """
    n = len(group_of)
    most = min(side, int((2 * values / max(matrices, 1)) ** 0.5))
    if n <= most:
        return None
    size, largest = -(-n // most), int(np.bincount(group_of).max())
    while (of := _blocks_of(group_of, size)).max() >= most and size < largest:
        size += 1
    return Blocks(of, int(of.max()) + 1, size)


def _blocks_of(group_of: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Number the blocks group by group."""
    of, begin = np.empty(len(group_of), np.int64), 0
    for group in np.unique(group_of):
        own = np.flatnonzero(group_of == group)
        of[own] = begin + np.arange(len(own)) // size
        begin = int(of[own[-1]]) + 1
    return of

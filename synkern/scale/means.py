"""Means by node of a store: sums over blocks in the order of their numbers, whoever came first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from synkern.kernels import NUMPY, quantities
from synkern.scale.grid import Grid
from synkern.scale.store import QUANTITIES

Sums = npt.NDArray[np.float64]


def kept_sums(group: Any, grid: Grid) -> Sums:
    """Add up the sums that the blocks have left: (quantities, trials, nodes)."""
    array = group["sums"]
    total = np.zeros((*array.shape[:2], grid.nodes))
    for i in range(grid.ranges):
        nodes = grid.range(i)
        part = np.asarray(array[..., nodes])
        for other in range(grid.ranges):
            total[..., nodes] += part[:, :, other]
    return total


def sums_of_pairs(group: Any, grid: Grid, names: tuple[str, ...]) -> Sums:
    """Add up the pairs of a store, a block at a time: (quantities, trials, nodes)."""
    shape = group[names[0]].shape
    trials = shape[0] if len(shape) == 3 else 1
    total = np.zeros((len(names) + QUANTITIES, trials, grid.nodes))
    for number in range(grid.blocks):
        i, j = grid.block(number)
        rows, columns = grid.range(i), grid.range(j)
        for trial in range(trials):
            at = (trial, rows, columns) if len(shape) == 3 else (rows, columns)
            atoms = {name: np.asarray(group[name][at]) for name in names}
            known = ~np.isnan(atoms[names[0]])
            if i == j:  # Of a pair and its mirror image, one counts.
                known = np.triu(known)
            atoms = {name: np.where(known, value, 0.0) for name, value in atoms.items()}
            for own, mirror, value in quantities(NUMPY, names, atoms, known):
                total[own, trial, rows] += value.sum(1)
                total[mirror, trial, columns] += value.sum(0)
    return total

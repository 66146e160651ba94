"""CCS with signs that are numbers: `formulas.saturated`, which torch takes without a gradient."""

import itertools

import numpy as np
import pytest

from support.optional import torch
from synkern.kernels.contract import Limits, Tile
from synkern.kernels.engine.libraries import NUMPY, TorchLibrary
from synkern.kernels.formulas import saturated
from synkern.kernels.formulas.estimators import GaussianCCS
from synkern.kernels.lattice import ATOMS


def kept(change, informations):
    """The change where it and all of the informations have one sign."""
    positive = all(i > 1 for i in informations) and change > 0
    negative = all(i < -1 for i in informations) and change < 0
    return change if positive or negative else 0.0


def by_definition(table):
    """Redundancies of one sample at the points rtx rty rts xtr ytr str rtr, in units of sign."""
    table = np.array(table).reshape(3, 3)
    both = [(list(row), row[0] + row[1] - row[2]) for row in (*table, *table.T)]
    shared = [kept(change, informations) for informations, change in both]
    terms = [shared[k] + shared[3 + k] - both[k][1] for k in range(3)]
    return [*shared, kept(terms[0] + terms[1] - terms[2], table[:2, :2].ravel())]


def test_signs_of_informations_decide_what_is_kept():
    rng = np.random.default_rng(3)
    values = np.array([-7.5, -2.25, -1.5, -0.75, 0.0, 0.5, 1.25, 3.0, 9.5])
    tables = list(itertools.product([-2.25, 0.5, 3.0], repeat=9))[::7]
    # Of one sign but for one, or all, as the values above rarely are.
    some = rng.choice(values[:3], (500, 9)) * rng.choice([-1, 1], (500, 1))
    tables = np.array([*tables, *rng.choice(values, (500, 9)), *some])
    # Of variables that are zero the informations are their means. Each table is one of a trial:
    # what is of one node is the same in its whole row or column.
    means = torch.from_numpy(tables.T.copy())[..., None, None]
    none = torch.zeros((len(tables), 1, 2), dtype=torch.float64)
    weights = torch.zeros((10, 4, len(tables), 1, 1), dtype=torch.float64)
    sides = [
        saturated.alone(none, none, weights[0, :2, ..., 0], means[own, ..., 0], 1.0)
        for own in (0, 4)
    ]
    row, column = (saturated.Alone(*(values[:, None] for values in side)) for side in sides)
    memory = torch.full((saturated.PLANES * none.numel(),), torch.nan, dtype=torch.float64)
    found = saturated.redundancies(torch, memory, row, column, weights, means)
    expected = np.array([by_definition(table) for table in tables]).T
    assert (np.count_nonzero(expected, axis=1) > 100).all()
    np.testing.assert_allclose(torch.cat(found)[..., 0, 0], expected, rtol=0, atol=1e-13)


class Poisoned(TorchLibrary):
    """torch, whose memory that is going to be written is NaN."""

    def empty(self, shape, dtype, like):
        return super().empty(shape, dtype, like).fill_(torch.nan)


@pytest.mark.parametrize("whole", [False, True], ids=["continuous", "whole numbers"])
@pytest.mark.parametrize("part", [1, 300, 1 << 15])
def test_torch_agrees_with_numpy_in_parts_of_any_size(part, whole):
    series = np.random.default_rng(5).standard_normal((3, 42, 9)).cumsum(1)
    series = np.round(series) if whole else series
    estimator, atoms = GaussianCCS(), []
    limits = Limits(part=part)
    for lib, array in ((NUMPY, series), (Poisoned(torch), torch.from_numpy(series))):
        features = estimator.features(lib, array, 1, None)
        tile = Tile(slice(0, 3), slice(0, 4), slice(4, 9))
        values = estimator.of_tile(lib, features, tile, ATOMS, "float64", limits)
        atoms.append([np.asarray(atom) for atom in values.atoms])
    # Of (n - 1)/2 times squares that add up to 1, each off by some units in the last place.
    np.testing.assert_allclose(*atoms, rtol=0, atol=1e-12)

"""Which nodes are constant is known without their unit vectors."""

import numpy as np
import pytest

from support.optional import torch
from synkern.kernels.formulas.unit_vectors import constant_nodes, unit_vectors


@pytest.mark.parametrize("xp", [np, torch], ids=["numpy", "torch"])
@pytest.mark.parametrize("pooled", [None, "moments", "concatenate"])
@pytest.mark.parametrize("tau", [1, 4, 7])
def test_nodes_are_constant_where_their_unit_vectors_say_so(rng, xp, pooled, tau):
    series = rng.standard_normal((3, 10, 12))
    series[0, :, 0] = 1  # in a trial
    series[:, :, 1] = 2  # in all, alike
    series[:, :, 2] = np.arange(3)[:, None]  # in all, each in its own way
    series[:, :-tau, 3] = 3  # in its past alone
    series[:, tau:, 4] = -3  # in its future alone
    series[1, :-tau, 5] = 5
    series[:, 9, 6] = series[:, 0, 6]  # ends as it began, and varies
    series[:, -1 - tau, 7] = series[:, 0, 7]
    series[:, :, 8] = rng.integers(0, 2, (3, 10))
    given = series if xp is np else torch.from_numpy(series)
    for some in (given, given[..., 9:]):
        found = np.asarray(constant_nodes(xp, some, tau, pooled))
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = np.asarray(unit_vectors(xp, some, tau, pooled).constant)
        np.testing.assert_array_equal(found, expected)
    assert not found.any()

"""Series for the tests of backend `cupy`, and its results against those of NumPy."""

import warnings

import numpy as np
import pytest

from support import cupy_stand_in
from support.bounded import verb

VARIANTS = [("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI"), ("discrete", "CCS")]
variants = pytest.mark.parametrize(("kind", "redundancy"), VARIANTS)

STREAM = 1234
"""Address of what passes for torch's current stream."""


def hard(rng, trials=3, time=40, nodes=37):
    """Walks, some nearly or quite the same, constant, or fixed by the past."""
    series = rng.standard_normal((trials, time, nodes)).cumsum(1)
    series[..., 5] = series[..., 4] + 1e-5 * series[..., 5]
    series[..., 20] = 3 - 2 * series[..., 3]
    series[0, :, 7] = 1.5
    series[-1, 1:, 9] = series[-1, :-1, 8]
    return series


def decomposed(series, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return verb(series, **options)


def assert_same(found, expected, tolerance=1e-12):
    assert found.backend == "cupy"
    for atom in expected:
        value = found[atom]
        assert isinstance(value, cupy_stand_in.ndarray)
        assert value.dtype == expected[atom].dtype
        np.testing.assert_allclose(value.get(), expected[atom], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.constant, expected.constant)
    assert found.rescued == expected.rescued
    assert found.degenerate == expected.degenerate
    if hasattr(expected, "flagged"):
        np.testing.assert_array_equal(
            np.unique(found.flagged, axis=0), np.unique(expected.flagged, axis=0)
        )

"""Centring and scaling by the Triton kernel, interpreted, against `formulas.unit_vectors`."""

import numpy as np
import pytest
import torch

import synkern
from synkern.kernels.formulas.unit_vectors import unit_vectors as standardise
from synkern.kernels.triton_backend import unit_vectors as module
from synkern.kernels.triton_backend.unit_vectors import LONGEST, unit_vectors

# Of triton 3.6's interpreter, about itself.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")


@pytest.fixture(autouse=True)
def poison(monkeypatch, addresses):
    """What the kernel does not write is NaN, and every address is checked."""
    empty = module._empty
    monkeypatch.setattr(module, "_empty", lambda *a: empty(*a).fill_(torch.nan))


def assert_same(series, tau):
    found, expected = unit_vectors(series, tau, None), standardise(torch, series, tau)
    # Unit vectors: a few roundings of values of at most 1, sums of `time` numbers in another order.
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=0, atol=1e-15 * 20)
    return found


@pytest.mark.parametrize(
    ("trials", "time", "nodes", "tau"),
    [(1, 4, 2, 1), (3, 38, 19, 2), (2, 16, 33, 15 - 3), (1, 17, 65, 1), (1, LONGEST, 5, 7)],
)
def test_odd_sizes(rng, trials, time, nodes, tau):
    assert_same(torch.from_numpy(rng.standard_normal((trials, time, nodes))), tau)


def test_offsets_and_extreme_magnitudes(rng):
    """From the least subnormal numbers to the largest that are finite, with and without an offset.

    The offset takes digits from the signal, the same of both: a factor of 1e3 in the tolerance.
    """
    base = rng.standard_normal((1, 40, 1))
    scales = [1e-310, 1e-200, 1e-160, 1.0, 3e150, 1e200, 4e307 / np.abs(base).max()]
    series = torch.from_numpy(np.concatenate([base * scale for scale in scales], -1))
    found = unit_vectors(series, 1, None)
    expected = standardise(torch, torch.from_numpy(base), 1)
    assert torch.isfinite(found.past).all()
    # A subnormal number of 1e-310 has 14 digits at most.
    torch.testing.assert_close(found.past, expected.past.expand_as(found.past), rtol=0, atol=2e-13)
    torch.testing.assert_close(
        found.future, expected.future.expand_as(found.future), rtol=0, atol=2e-13
    )
    assert_same(1e3 + series[..., 3:4], 1)
    assert_same(torch.cat([-series, series.flip(-1)], -1)[..., 1:-1], 3)


def test_constants_are_exact(rng):
    series = torch.from_numpy(rng.standard_normal((2, 30, 6)))
    series[0, :, 0] = 0.0
    series[0, :, 1] = 0.1  # its mean is not 0.1
    series[1, :-2, 2] = -1e300  # constant in the past alone, and the reverse
    series[1, 2:, 3] = 5e-324
    series[1, :, 4] = 0.1
    series[1, 20, 4] = np.nextafter(0.1, 1)  # one bit: no constant
    found = assert_same(series, 2)
    assert found.constant.nonzero().tolist() == [[0, 0], [0, 1], [1, 2], [1, 3]]


def test_other_layouts_and_dtypes(rng):
    series = torch.from_numpy(rng.standard_normal((40, 3, 7)).astype(np.float32)).transpose(0, 1)
    found = unit_vectors(series, 1, None)
    expected = standardise(torch, series.double(), 1)
    torch.testing.assert_close(tuple(found), tuple(expected), rtol=0, atol=2e-14)


def test_long_and_pooled_series_are_left_to_the_eager_engine(rng, monkeypatch):
    monkeypatch.setattr(module, "unit_vectors_kernel", None)
    series = torch.from_numpy(rng.standard_normal((1, LONGEST + 1, 2)))
    assert torch.equal(unit_vectors(series, 1, None).past, standardise(torch, series, 1).past)
    short = torch.from_numpy(rng.standard_normal((3, 40, 2)))
    for pooled in ("moments", "concatenate"):
        expected = standardise(torch, short, 1, pooled)
        assert torch.equal(unit_vectors(short, 1, pooled).past, expected.past)


def test_used_where_no_gradient_is_wanted(rng, monkeypatch):
    calls = []
    kernel = module.unit_vectors_kernel

    class Counted:
        def __getitem__(self, grid):
            calls.append(grid)
            return kernel[grid]

    monkeypatch.setattr(module, "unit_vectors_kernel", Counted())
    series = torch.from_numpy(rng.standard_normal((40, 3)))
    synkern.phiid(series, backend="triton")
    assert len(calls) == 1
    synkern.phiid(series.requires_grad_(), backend="triton")
    assert len(calls) == 1

"""Rectangles of pairs by the Triton kernels, interpreted, against the same entries of all pairs."""

import numpy as np
import pytest
import torch
from backends.triton.test_triton_kernels import every_address, kernel_sums, poison

from synkern.kernels.contract import Rectangle
from synkern.kernels.formulas.discrete import binarise
from synkern.kernels.formulas.moments import Moments
from synkern.kernels.formulas.unit_vectors import standardise
from synkern.kernels.lattice import ATOMS
from synkern.kernels.triton_backend import ccs, discrete
from synkern.kernels.triton_backend.mmi import fill_from_moments
from synkern.kernels.triton_backend.op import unpack
from synkern.kernels.triton_backend.plan import plan

# Of triton 3.6's interpreter, about itself.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning")

__all__ = ["every_address", "poison"]  # Fixtures of every test here too.

NODES = 37
RECTANGLES = {
    "one row": Rectangle(slice(3, 4), slice(5, 37)),
    "one column": Rectangle(slice(19, 37), slice(2, 3)),
    "one pair": Rectangle(slice(36, 37), slice(0, 1)),
    "odd sides": Rectangle(slice(1, 18), slice(20, 37)),
    "rows after columns": Rectangle(slice(21, 37), slice(0, 18)),
}
UNEVEN, CLOSED = ("xtr", "sts"), ("xtr", "sts", "ytr")
"""The first is not closed under exchange of x and y, which mirrored tiles would need."""

rectangles = pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=list(RECTANGLES))
paths = pytest.mark.parametrize("path", ["series", "moments"])


def part_of(matrices, rectangle):
    return matrices[..., rectangle.rows, rectangle.columns]


def marked_in(positions, rectangle):
    """Of pairs of all, in either direction, those that a rectangle has, as it has them."""
    both = {p for k, i, j in positions for p in ((k, i, j), (k, j, i))}
    rows, columns = (range(side.start, side.stop) for side in rectangle)
    return sorted(p for p in both if p[1] in rows and p[2] in columns)


@pytest.fixture
def close(rng):
    """Series with pairs that no closed form can do, some of them in every rectangle."""
    series = rng.standard_normal((9, 18, NODES))
    for k, i, j in ((0, 3, 7), (8, 3, 36), (4, 2, 19), (2, 0, 36), (5, 1, 20), (5, 17, 36)):
        series[k, :, j] = series[k, :, i] + 1e-6 * series[k, :, j]
    series[6, :, 3] = 1.0
    series[7, :, 25] = 1.0
    return series


@rectangles
@paths
@pytest.mark.parametrize("per_trial", [False, True])
def test_entries_are_those_of_all_pairs(close, rectangle, path, per_trial):
    segments = standardise(torch, torch.from_numpy(close), 1)
    options = {"per_trial": per_trial, "dtype": "float64"}
    everything, keys, number = kernel_sums(segments, CLOSED, path, **options)
    found, marked, count = kernel_sums(segments, UNEVEN, path, rectangle=rectangle, **options)
    torch.testing.assert_close(found, part_of(everything[:2], rectangle), rtol=0, atol=1e-12)
    listed = list(map(tuple, unpack(keys[:number], NODES).tolist()))
    expected = marked_in(listed, rectangle)
    assert sorted(map(tuple, unpack(marked[:count], NODES).tolist())) == expected
    assert expected
    assert (marked[count:] == -1).all()


@paths
def test_all_atoms_of_a_rectangle(rng, path):
    """Other terms, in other tiles; more trials than share a logarithm."""
    segments = standardise(torch, torch.from_numpy(rng.standard_normal((9, 20, 21))), 1)
    rectangle = Rectangle(slice(20, 21), slice(0, 19))
    options = {"per_trial": False, "dtype": "float64"}
    everything = kernel_sums(segments, ATOMS, path, **options)[0]
    found = kernel_sums(segments, ATOMS, path, rectangle=rectangle, **options)[0]
    torch.testing.assert_close(found, part_of(everything, rectangle), rtol=0, atol=1e-12)


@paths
@pytest.mark.parametrize("per_trial", [False, True])
def test_float32_is_promoted(rng, path, per_trial):
    series = rng.standard_normal((5, 40, 18))
    series[..., 1::5] = series[..., ::5] + 0.02 * series[..., 1::5]
    series[3, :, 12] = series[3, :, 4]
    segments = standardise(torch, torch.from_numpy(series), 1)
    rectangle = Rectangle(slice(10, 18), slice(1, 9))
    options = {"per_trial": per_trial, "rectangle": rectangle}
    single, _, count = kernel_sums(segments, UNEVEN, path, dtype="float32", **options)
    exact, _, exact_count = kernel_sums(segments, UNEVEN, path, dtype="float64", **options)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-6, atol=1e-5)
    assert count == exact_count == 1


@paths
def test_persistence_reference(rng, path):
    segments = standardise(torch, torch.from_numpy(rng.standard_normal((2, 30, 20)).cumsum(1)), 1)
    options = {"per_trial": False, "dtype": "float64", "alone": True}
    rectangle = Rectangle(slice(17, 20), slice(2, 17))
    everything = kernel_sums(segments, CLOSED, path, **options)[0][:2]
    found = kernel_sums(segments, UNEVEN, path, rectangle=rectangle, **options)[0]
    torch.testing.assert_close(found, part_of(everything, rectangle), rtol=0, atol=1e-12)


def test_moments_in_parts_are_the_same(rng):
    segments = standardise(torch, torch.from_numpy(rng.standard_normal((19, 30, 9))), 1)
    rectangle = Rectangle(slice(5, 9), slice(0, 5))
    for per_trial in (False, True):
        options = {"per_trial": per_trial, "dtype": "float64", "rectangle": rectangle}
        whole = kernel_sums(segments, ATOMS, "moments", **options)[0]
        nine = 9 * 4 * 8 * 4 * 5  # trials, of which eight are summed
        parts = kernel_sums(segments, ATOMS, "moments", workspace=nine, **options)[0]
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-13)


@rectangles
def test_moments_of_somebody_else(rng, rectangle):
    past, future, constant = standardise(
        torch, torch.from_numpy(rng.standard_normal((3, 30, NODES))), 1
    )
    constant[1, 3] = constant[2, 21] = True
    moments = Moments(past @ past.mT, future @ future.mT, past @ future.mT, constant, 29)
    results = []
    for area, names in ((None, CLOSED), (rectangle, UNEVEN)):
        marked, count = torch.full((9,), -1), torch.zeros(1, dtype=torch.int64)
        options = {"plan": plan(names), "per_trial": False, "dtype": "float64"}
        results.append(fill_from_moments(moments, marked, count, rectangle=area, **options))
        assert not count
    torch.testing.assert_close(results[1], part_of(results[0][:2], rectangle), rtol=0, atol=1e-12)


@paths
def test_list_that_overflows_counts_on_and_stays_in_bounds(rng, path):
    series = np.repeat(rng.standard_normal((2, 20, 1)), 9, axis=-1)
    segments = standardise(torch, torch.from_numpy(series), 1)
    rectangle = Rectangle(slice(4, 9), slice(1, 4))
    options = {"per_trial": False, "dtype": "float64", "rectangle": rectangle}
    _, marked, count = kernel_sums(segments, UNEVEN, path, capacity=7, **options)
    assert count == 2 * 5 * 3
    assert (marked >= 0).all()


OTHERS = [
    RECTANGLES["one row"],
    Rectangle(slice(18, 35), slice(0, 1)),
    Rectangle(slice(17, 19), slice(0, 17)),
]


@pytest.mark.parametrize("rectangle", OTHERS)
@pytest.mark.parametrize("per_trial", [False, True])
def test_ccs(rng, rectangle, per_trial):
    series = rng.standard_normal((2, 8, NODES))
    for k, i, j in ((1, 3, 9), (0, 0, 18)):
        series[k, :, j] = series[k, :, i] + 1e-6 * series[k, :, j]
    series[1, :, 18] = 5.0
    segments = standardise(torch, torch.from_numpy(series), 1)
    sums, positions = [], []
    for area, names in ((None, CLOSED), (rectangle, UNEVEN)):
        marked, count = torch.full((99,), -1), torch.zeros(1, dtype=torch.int64)
        options = {"names": names, "per_trial": per_trial, "dtype": "float64"}
        sums.append(ccs.fill(*segments, marked, count, rectangle=area, **options))
        positions.append(sorted(map(tuple, unpack(marked[:count], NODES).tolist())))
    torch.testing.assert_close(sums[1], part_of(sums[0][:2], rectangle), rtol=0, atol=1e-12)
    assert positions[1] == marked_in(positions[0], rectangle) != []


@pytest.mark.parametrize("rectangle", OTHERS)
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_discrete(rng, rectangle, redundancy, dtype):
    series = rng.standard_normal((2, 40, NODES))
    series[1, :, 18] = 5.0
    bits = binarise(torch, torch.from_numpy(series), 1)
    everything, found = (
        discrete.fill(
            bits, redundancy, names=names, per_trial=dtype == "float32", dtype=dtype, rectangle=area
        )
        for area, names in ((None, CLOSED), (rectangle, UNEVEN))
    )
    assert torch.equal(found, part_of(everything[:2], rectangle))

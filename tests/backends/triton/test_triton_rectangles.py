"""Rectangles of pairs by the Triton kernels, interpreted: as all pairs, and as other backends."""

import functools

import numpy as np
import pytest
import torch

from support.triton_sums import kernel_sums
from synkern.kernels import numpy_backend, torch_backend
from synkern.kernels.contract import Limits, Rectangle
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.engine.libraries import torch_library
from synkern.kernels.engine.marks import unpack
from synkern.kernels.formulas.discrete import binarise
from synkern.kernels.formulas.estimators import ESTIMATORS, PERSISTENCE
from synkern.kernels.formulas.moments import Moments
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.lattice import ATOMS
from synkern.kernels.triton_backend import backend, ccs, discrete
from synkern.kernels.triton_backend.mmi import fill_from_moments
from synkern.kernels.triton_backend.op import gaussian_mmi
from synkern.kernels.triton_backend.plan import plan

# Of triton 3.6's interpreter, about itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
    pytest.mark.usefixtures("addresses", "poisoned_outputs"),
]

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


def positions_of(keys):
    return sorted(map(tuple, unpack(torch_library(), keys, NODES).tolist()))


def marked_in(positions, rectangle):
    """Of pairs of all, in either direction, those that a rectangle has, as it has them."""
    both = {p for k, i, j in positions for p in ((k, i, j), (k, j, i))}
    rows, columns = (range(side.start, side.stop) for side in rectangle)
    return sorted(p for p in both if p[1] in rows and p[2] in columns)


@functools.cache
def close(trials=3, time=12):
    """Series with pairs that no closed form can do, some of them in every rectangle."""
    rng = np.random.default_rng(5)
    series = rng.standard_normal((trials, time, NODES))
    for k, i, j in ((0, 3, 7), (1, 3, 36), (1, 2, 19), (0, 0, 36), (0, 1, 20), (2, 17, 36)):
        if k < trials:
            series[k, :, j] = series[k, :, i] + 1e-6 * series[k, :, j]
    series[1, :, 5] = 1.0
    series[0, :, 25] = 1.0
    return unit_vectors(torch, torch.from_numpy(series), 1)


@functools.cache
def everything(path, per_trial):
    return kernel_sums(close(), CLOSED, path, per_trial=per_trial, dtype="float64")


@rectangles
@paths
@pytest.mark.parametrize("per_trial", [False, True])
def test_entries_are_those_of_all_pairs(rectangle, path, per_trial):
    matrices, keys, number = everything(path, per_trial)
    options = {"per_trial": per_trial, "dtype": "float64", "rectangle": rectangle}
    found, marked, count = kernel_sums(close(), UNEVEN, path, **options)
    torch.testing.assert_close(found, part_of(matrices[:2], rectangle), rtol=0, atol=1e-12)
    expected = marked_in(positions_of(keys[:number]), rectangle)
    assert positions_of(marked[:count]) == expected
    assert expected
    assert (marked[count:] == -1).all()


@paths
def test_all_atoms_of_a_rectangle(rng, path):
    """Other terms, in other tiles; more trials than share a logarithm."""
    vectors = unit_vectors(torch, torch.from_numpy(rng.standard_normal((9, 20, 21))), 1)
    rectangle = Rectangle(slice(20, 21), slice(0, 19))
    options = {"per_trial": False, "dtype": "float64"}
    matrices = kernel_sums(vectors, ATOMS, path, **options)[0]
    found = kernel_sums(vectors, ATOMS, path, rectangle=rectangle, **options)[0]
    torch.testing.assert_close(found, part_of(matrices, rectangle), rtol=0, atol=1e-12)


@paths
@pytest.mark.parametrize("per_trial", [False, True])
def test_float32_is_promoted(rng, path, per_trial):
    series = rng.standard_normal((5, 40, 18))
    series[..., 1::5] = series[..., ::5] + 0.02 * series[..., 1::5]
    series[3, :, 12] = series[3, :, 4]
    vectors = unit_vectors(torch, torch.from_numpy(series), 1)
    rectangle = Rectangle(slice(10, 18), slice(1, 9))
    options = {"per_trial": per_trial, "rectangle": rectangle}
    single, _, count = kernel_sums(vectors, UNEVEN, path, dtype="float32", **options)
    exact, _, exact_count = kernel_sums(vectors, UNEVEN, path, dtype="float64", **options)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=1e-6, atol=1e-5)
    assert count == exact_count == 1


def test_moments_in_parts_are_the_same(rng):
    vectors = unit_vectors(torch, torch.from_numpy(rng.standard_normal((19, 30, 9))), 1)
    rectangle = Rectangle(slice(5, 9), slice(0, 5))
    for per_trial in (False, True):
        options = {"per_trial": per_trial, "dtype": "float64", "rectangle": rectangle}
        whole = kernel_sums(vectors, ATOMS, "moments", **options)[0]
        nine = 9 * 4 * 8 * 4 * 5  # trials, of which eight are summed
        parts = kernel_sums(vectors, ATOMS, "moments", workspace=nine, **options)[0]
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-13)


@paths
def test_list_that_overflows_counts_on_and_stays_in_bounds(rng, path):
    series = np.repeat(rng.standard_normal((2, 20, 1)), 9, axis=-1)
    vectors = unit_vectors(torch, torch.from_numpy(series), 1)
    rectangle = Rectangle(slice(4, 9), slice(1, 4))
    options = {"per_trial": False, "dtype": "float64", "rectangle": rectangle}
    _, marked, count = kernel_sums(vectors, UNEVEN, path, capacity=7, **options)
    assert count == 2 * 5 * 3
    assert (marked >= 0).all()


@functools.cache
def moments():
    past, future, constant = close(time=30)
    return Moments(past @ past.mT, future @ future.mT, past @ future.mT, constant, 29)


@functools.cache
def by_fill_from_moments(area, names):
    marked, count = torch.full((99,), -1), torch.zeros(1, dtype=torch.int64)
    options = {"plan": plan(names), "per_trial": False, "dtype": "float64", "alone": False}
    rectangle = area and RECTANGLES[area]
    sums = fill_from_moments(moments(), marked, count, rectangle=rectangle, **options)
    return sums, positions_of(marked[:count])


@pytest.mark.parametrize("area", RECTANGLES)
def test_moments_of_somebody_else(area):
    matrices, listed = by_fill_from_moments(None, CLOSED)
    found, marked = by_fill_from_moments(area, UNEVEN)
    torch.testing.assert_close(found, part_of(matrices[:2], RECTANGLES[area]), rtol=0, atol=1e-12)
    assert marked == marked_in(listed, RECTANGLES[area])


@functools.cache
def by_ccs(area, names):
    marked, count = torch.full((99,), -1), torch.zeros(1, dtype=torch.int64)
    options = {"names": names, "per_trial": True, "dtype": "float64"}
    rectangle = area and RECTANGLES[area]
    sums = ccs.fill(*close(2, 8), marked, count, rectangle=rectangle, **options)
    return sums, positions_of(marked[:count])


@pytest.mark.parametrize("area", ["one row", "odd sides", "one column"])
def test_ccs(area):
    matrices, listed = by_ccs(None, CLOSED)
    found, marked = by_ccs(area, UNEVEN)
    torch.testing.assert_close(found, part_of(matrices[:2], RECTANGLES[area]), rtol=0, atol=1e-12)
    assert marked == marked_in(listed, RECTANGLES[area]) != []


@functools.cache
def by_counts(area, names, redundancy, dtype):
    series = torch.from_numpy(np.random.default_rng(6).standard_normal((2, 40, NODES)))
    series[1, :, 18] = 5.0
    options = {"names": names, "per_trial": dtype == "float32", "dtype": dtype}
    rectangle = area and RECTANGLES[area]
    return discrete.fill(binarise(torch, series, 1), redundancy, rectangle=rectangle, **options)


@pytest.mark.parametrize("area", ["one row", "one column"])
@pytest.mark.parametrize(("redundancy", "dtype"), [("MMI", "float64"), ("CCS", "float32")])
def test_discrete(area, redundancy, dtype):
    found = by_counts(area, UNEVEN, redundancy, dtype)
    expected = part_of(by_counts(None, CLOSED, redundancy, dtype)[:2], RECTANGLES[area])
    # The sums of a pair whose nodes are exchanged run in another order.
    tolerance = 1e-14 if dtype == "float64" else 1e-7
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)


# ---- The whole backend ---------------------------------------------------------------------------


@pytest.fixture
def degenerate(rng):
    """Two trials of 19 nodes: a constant, coinciding, a copy one step later, near singular."""
    series = rng.standard_normal((2, 20, 19))
    series[1, :, 2] = 4.0
    series[0, :, 18] = 2 - 3 * series[0, :, 1]
    series[0, 1:, 17] = series[0, :-1, 0]
    series[1, :, 16] = series[1, :, 3] + 1e-6 * series[1, :, 16]
    return series


SIDES = [Rectangle(slice(0, 4), slice(16, 19)), Rectangle(slice(16, 19), slice(0, 4))]


@pytest.mark.parametrize("rectangle", SIDES, ids=["rows first", "columns first"])
@pytest.mark.parametrize("key", [*ESTIMATORS, PERSISTENCE.key], ids=" ".join)
@pytest.mark.parametrize("per_trial", [False, True])
def test_backend_agrees_with_numpy(degenerate, rectangle, key, per_trial):
    """Values, what is NaN, flags by the nodes of the source, rescued; however short the list."""
    request = request_for(
        UNEVEN,
        per_trial=per_trial,
        dtype="float64",
        estimator=PERSISTENCE if key == PERSISTENCE.key else ESTIMATORS[key],
        rectangle=rectangle,
        limits=Limits(capacity=1),
    )
    found = backend.run(torch.from_numpy(degenerate), request)
    expected = numpy_backend.run(degenerate, request)
    assert list(found.atoms) == list(UNEVEN)
    for name, value in expected.atoms.items():
        # The two standardise to rounding, which a pair 1e-6 apart magnifies.
        np.testing.assert_allclose(found.atoms[name].numpy(), value, rtol=0, atol=1e-9)
    assert sorted(found.flagged.tolist()) == sorted(expected.flagged.tolist())
    assert found.rescued == expected.rescued
    np.testing.assert_array_equal(found.constant.numpy(), expected.constant)
    if key == ("gaussian", "MMI"):
        assert found.rescued == 1
        assert len(found.flagged) == 2


@pytest.mark.parametrize("rectangle", SIDES, ids=["rows first", "columns first"])
@pytest.mark.parametrize("key", [("gaussian", "MMI"), PERSISTENCE.key], ids=" ".join)
def test_backend_agrees_with_torch_on_moments(rectangle, key):
    request = request_for(
        UNEVEN,
        per_trial=False,
        dtype="float64",
        estimator=PERSISTENCE if key == PERSISTENCE.key else ESTIMATORS[key],
        rectangle=rectangle,
    )
    found, expected = (module.run(moments(), request) for module in (backend, torch_backend))
    for name, value in expected.atoms.items():
        torch.testing.assert_close(found.atoms[name], value, rtol=0, atol=1e-12, equal_nan=True)
    assert sorted(found.flagged.tolist()) == sorted(expected.flagged.tolist())


@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("names", [UNEVEN, ATOMS], ids=len)
@pytest.mark.parametrize("rectangle", SIDES, ids=["rows first", "columns first"])
def test_gradient_is_that_of_torch(degenerate, rectangle, names, per_trial):
    request = request_for(
        names,
        per_trial=per_trial,
        dtype="float64",
        estimator=ESTIMATORS["gaussian", "MMI"],
        rectangle=rectangle,
    )
    gradients = []
    for module in (backend, torch_backend):
        series = torch.tensor(degenerate, requires_grad=True)
        atoms = module.run(series, request).atoms
        weights = torch.linspace(-1, 1, 12, dtype=torch.float64)
        weights = weights.view(len(range(*rectangle.rows.indices(19))), -1)
        sum(torch.nansum(weights * n * value) for n, value in enumerate(atoms.values())).backward()
        gradients.append(series.grad)
    scale = gradients[1].abs().max()
    assert scale > 0
    torch.testing.assert_close(*(g / scale for g in gradients), rtol=0, atol=1e-10)
    # Nodes of neither side have no part in it.
    assert not gradients[0][..., 4:16].any()


@pytest.mark.parametrize("per_trial", [False, True])
def test_gradcheck(rng, per_trial):
    past, future, constant = unit_vectors(
        torch, torch.from_numpy(rng.standard_normal((2, 9, 5))), 1
    )

    def sums(x, a):
        options = {"workspace": 1 << 20, "bounds": [3, 5, 0, 2]}
        return gaussian_mmi(x, a, constant, "xtr,sts", per_trial, False, 8, **options)[0]

    leaves = past.requires_grad_(), future.requires_grad_()
    assert torch.autograd.gradcheck(sums, leaves, fast_mode=True)


def test_opcheck(rng):
    past, future, constant = unit_vectors(
        torch, torch.from_numpy(rng.standard_normal((2, 12, 5))), 1
    )
    torch.library.opcheck(
        torch.ops.synkern.gaussian_mmi,
        (past.requires_grad_(), future.requires_grad_(), constant, "xtr,sts", False, False, 4),
        {"bounds": [3, 5, 0, 2]},
        # The rest of the list is memory as it was found.
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )

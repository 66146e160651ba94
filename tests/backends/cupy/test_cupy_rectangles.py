"""Rectangles of pairs by backend `cupy`, against those of NumPy."""

import warnings

import numpy as np
import pytest

import synkern
from support import cupy_stand_in
from support.cupy_cases import assert_same, hard
from synkern.kernels import numpy_backend
from synkern.kernels.contract import Limits, Rectangle
from synkern.kernels.cupy_backend import backend
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.engine.libraries import NUMPY
from synkern.kernels.formulas.estimators import ESTIMATORS, PERSISTENCE
from synkern.kernels.formulas.moments import Moments
from synkern.kernels.lattice import ATOMS

TWO = ("rtr", "sts")

ALL = [*ESTIMATORS.values(), PERSISTENCE]
estimators = pytest.mark.parametrize("estimator", ALL, ids=lambda e: " ".join(e.key))

RECTANGLES = {
    "before": Rectangle(slice(0, 9), slice(9, 37)),
    "after": Rectangle(slice(9, 25), slice(0, 9)),
    "apart": Rectangle(slice(20, 22), slice(3, 10)),
    "a row": Rectangle(slice(4, 5), slice(5, 37)),
    "a column": Rectangle(slice(5, 37), slice(4, 5)),
    "a pair": Rectangle(slice(9, 10), slice(8, 9)),
}
rectangles = pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=list(RECTANGLES))


def both(cupy, series, estimator, names, **options):
    """What NumPy and CuPy make of a request."""
    request = request_for(names, dtype="float64", estimator=estimator, **options)
    with np.errstate(all="ignore"):
        expected = numpy_backend.run(series, request)
    if isinstance(series, Moments):
        given = Moments(*map(cupy.asarray, series[:-1]), series.samples)
    else:
        given = cupy.asarray(series)
    return expected, backend.run(given, request)


def assert_pairs(found, expected, tolerance):
    for name, values in expected.atoms.items():
        assert isinstance(found.atoms[name], cupy_stand_in.ndarray)
        np.testing.assert_allclose(found.atoms[name].get(), values, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.constant.get(), expected.constant)
    np.testing.assert_array_equal(
        np.unique(found.flagged.get(), axis=0), np.unique(expected.flagged, axis=0)
    )
    assert found.rescued == expected.rescued


def assert_nodes(found, expected, tolerance):
    for name, values in expected.sums.items():
        np.testing.assert_allclose(found.sums[name].get(), values, rtol=0, atol=tolerance)
    for counted in ("pairs", "constant"):
        np.testing.assert_array_equal(
            getattr(found, counted).get(), getattr(expected, counted), err_msg=counted
        )
    # A share is a quotient of atoms that may both be small.
    np.testing.assert_allclose(found.shares.get(), expected.shares, rtol=1e-7, atol=1e-7)
    np.testing.assert_array_equal(found.shared.get(), expected.shared)
    assert found.outcomes == expected.outcomes
    assert found.rescued == expected.rescued


@estimators
@rectangles
@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("names", [TWO, ATOMS, ("xtr",)], ids=["two", "all", "one"])
def test_matrices(cupy, rng, estimator, rectangle, per_trial, names):
    options = {"per_trial": per_trial, "rectangle": rectangle}
    expected, found = both(cupy, hard(rng), estimator, names, **options)
    rows, columns = (side.stop - side.start for side in rectangle)
    shape = (3, rows, columns) if per_trial else (rows, columns)
    assert {value.shape for value in found.atoms.values()} == {shape}
    assert tuple(found.atoms) == names
    assert_pairs(found, expected, 1e-9)


@estimators
@rectangles
@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("names", [TWO, ("xtr",)], ids=["two", "one"])
def test_sums_by_node(cupy, rng, estimator, rectangle, per_trial, names):
    options = {"per_trial": per_trial, "rectangle": rectangle, "by_node": True}
    expected, found = both(cupy, hard(rng), estimator, names, **options)
    assert_nodes(found, expected, 1e-8)


@pytest.mark.parametrize("by_node", [False, True])
@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("pooled", [None, "moments"])
@rectangles
def test_from_moments(cupy, rng, rectangle, per_trial, by_node, pooled):
    """With constant nodes on both sides; trials pooled before, or not."""
    estimator = ESTIMATORS["gaussian", "MMI"]
    options = {"per_trial": per_trial, "rectangle": rectangle, "by_node": by_node}
    series = rng.standard_normal((3, 60, 37))
    series[0, :, 7] = series[1, :, 4] = 1.5
    unit = estimator.features(NUMPY, series, 1, pooled)
    turned = unit.future.swapaxes(1, 2)
    given = Moments(
        unit.past @ unit.past.swapaxes(1, 2),
        unit.future @ turned,
        unit.past @ turned,
        unit.constant,
        unit.samples,
    )
    expected, found = both(cupy, given, estimator, TWO, **options)
    (assert_nodes if by_node else assert_pairs)(found, expected, 1e-10)


@pytest.mark.parametrize("per_trial", [False, True])
def test_through_memory_in_parts(cupy, shim, rng, per_trial):
    """Moments of the rectangle alone, in parts of two trials."""
    shim.capability = (8, 0)  # 9.0 takes it from one series
    rectangle = RECTANGLES["after"]
    limits = Limits(workspace=2 * 4 * 8 * 16 * 9)
    options = {"per_trial": per_trial, "rectangle": rectangle, "limits": limits}
    series = hard(rng, trials=5, time=130)
    expected, found = both(cupy, series, ESTIMATORS["gaussian", "MMI"], ATOMS, **options)
    assert {name.partition("<")[0] for name in shim.of_pairs} == {"phiid::mmi_moments"}
    assert len(shim.of_pairs) == 3
    assert_pairs(found, expected, 2e-9)


@pytest.mark.parametrize("by_node", [False, True])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_a_list_that_overflows(cupy, shim, rng, redundancy, by_node):
    series = np.repeat(rng.standard_normal((2, 40, 1)).cumsum(1), 40, axis=-1)
    options = {"per_trial": False, "rectangle": RECTANGLES["after"], "by_node": by_node}
    estimator = ESTIMATORS["gaussian", redundancy]
    _, whole = both(cupy, series, estimator, TWO, **options)
    once = len(shim.of_pairs)
    expected, found = both(cupy, series, estimator, TWO, limits=Limits(capacity=7), **options)
    assert len(shim.of_pairs) > 2 * once
    (assert_nodes if by_node else assert_pairs)(found, expected, 1e-9)
    of = "sums" if by_node else "atoms"
    for name in TWO:
        one, two = getattr(whole, of)[name].get(), getattr(found, of)[name].get()
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("per_trial", [False, True])
def test_sums_by_node_in_bands(cupy, shim, rng, per_trial):
    """Rows of tiles one by one, each with its totals; of every trial if they are apart."""
    rectangle = Rectangle(slice(0, 70), slice(70, 75))
    options = {"per_trial": per_trial, "rectangle": rectangle, "by_node": True}
    estimator = ESTIMATORS["gaussian", "MMI"]
    limits = Limits(workspace=1)
    series = hard(rng, nodes=75)
    expected, found = both(cupy, series, estimator, TWO, limits=limits, **options)
    assert len(shim.of_pairs) == 2 * 3 * (3 if per_trial else 1)
    assert_nodes(found, expected, 1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("estimator", ALL[:3], ids=lambda e: " ".join(e.key))
def test_they_agree_with_all_pairs(cupy, heads, estimator, dtype):
    """Entries of the matrices of all pairs; where rows come first, the same bits."""
    series = cupy.asarray(heads["trained"])
    request = {"per_trial": True, "dtype": dtype, "estimator": estimator}
    every = backend.run(series, request_for(TWO, **request))
    for rectangle in (Rectangle(slice(1, 9), slice(12, 25)), Rectangle(slice(12, 25), slice(0, 9))):
        part = backend.run(series, request_for(TWO, rectangle=rectangle, **request))
        for name in TWO:
            whole = every.atoms[name].get()[:, *rectangle]
            bound = 1e-12 if dtype == "float64" else 1e-5
            np.testing.assert_allclose(part.atoms[name].get(), whole, rtol=0, atol=bound)
            if rectangle.rows.start < rectangle.columns.start:
                np.testing.assert_array_equal(part.atoms[name].get(), whole)


@estimators
@pytest.mark.parametrize("average", ["trials", None, "moments"])
@pytest.mark.parametrize(
    "groups",
    [(range(30, 9, -1), [0, 3, 5, 7]), ([4, 20, 8], [5, 3, 9, 4, 8])],
    ids=["disjoint", "overlapping"],
)
def test_bipartite_pairs(cupy, shim, rng, estimator, average, groups):
    """Of `phiid`, which asks for rectangles: degenerate pairs and constant nodes among them."""
    kind, redundancy = estimator.key
    call = synkern.persistence_reference if kind == "persistence" else synkern.phiid
    options = {"pairs": "bipartite", "groups": groups, "average": average, "atoms": "all"}
    if kind != "persistence":
        options |= {"kind": kind, "redundancy": redundancy}
    series = hard(rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = call(series, backend="numpy", **options)
        found = call(cupy.asarray(series), backend="cupy", **options)
    assert any("Rectangle" in name for name in shim.of_pairs)
    assert found["sts"].shape == expected["sts"].shape
    assert_same(found, expected, 1e-9)


@estimators
@pytest.mark.parametrize("by_node", [False, True])
def test_two_nodes_alone(cupy, rng, estimator, by_node):
    """The one pair, exchanged; its matrices are left to whole arrays, as those of all pairs are."""
    rectangle = Rectangle(slice(1, 2), slice(0, 1))
    options = {"per_trial": False, "rectangle": rectangle, "by_node": by_node}
    series = rng.standard_normal((3, 40, 2)).cumsum(1)
    expected, found = both(cupy, series, estimator, ("rtr", "sts", "xtr"), **options)
    (assert_nodes if by_node else assert_pairs)(found, expected, 1e-12)

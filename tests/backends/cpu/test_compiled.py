"""Compiled kernels: a rectangle has the entries of all pairs; threads and limits change nothing."""

from dataclasses import replace

import numpy as np
import pytest

from synkern.kernels.backend import Wanted
from synkern.kernels.contract import Limits, Rectangle
from synkern.kernels.cpu_backend.backend import run
from synkern.kernels.cpu_backend.compiled import KERNELS, matrices
from synkern.kernels.cpu_backend.record import BACKEND
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.formulas import estimators
from synkern.kernels.formulas.moments import correlations, sums
from synkern.kernels.lattice import ATOMS, LEAST_SUM, swap_nodes

NODES = 139
TAU = 2
ESTIMATORS = {**estimators.ESTIMATORS, ("persistence", "MMI"): estimators.PERSISTENCE}
SOME = ("xts", "rtr", "sts", "str")
ALWAYS, NEVER = Limits(paired=1), Limits(paired=10**9)

RECTANGLES = {
    "tiles and a remainder": (0, 64, 64, 139),
    "begins no panel": (3, 75, 78, 139),
    "one row": (1, 2, 3, 139),
    "one column": (9, 137, 138, 139),
    "one pair": (6, 7, 7, 8),
    "ends within a vector": (77, 82, 85, 90),
    "side by side": (5, 67, 67, 131),
    "rows after columns": (71, 139, 5, 70),
    "one row after columns": (130, 131, 0, 129),
}


@pytest.fixture(params=RECTANGLES.values(), ids=RECTANGLES)
def rectangle(request):
    first, end, column, column_end = request.param
    return Rectangle(slice(first, end), slice(column, column_end))


@pytest.fixture(params=ESTIMATORS, ids=" ".join)
def key(request):
    return request.param


@pytest.fixture(scope="module")
def series():
    """Five trials with constant, equal and nearly equal nodes on both sides of most rectangles."""
    series = np.random.default_rng(7).standard_normal((5, 70, NODES)).cumsum(1)
    series[0, :, [6, 110]] = 1.0
    series[1, :, 78] = series[1, :, 7]
    series[1, :, 120] = -3 * series[1, :, 9] + 1
    series[2, :, 66] = series[2, :, 85] + 1e-6 * series[2, :, 67]
    series[3, :, 130] = series[3, :, 3] + 1e-5 * series[3, :, 67]
    return series


@pytest.fixture(scope="module")
def moments(series):
    return correlations(np, sums(np, series[:, :-TAU], series[:, TAU:], 2**-52), 2**-52)


def asked(key, names=SOME, **options):
    options = {"per_trial": False, "dtype": "float64", "tau": TAU} | options
    return request_for(names, estimator=ESTIMATORS[key], **options)


def closed_forms(source, request):
    """Sums of the closed form, of which nothing is rescued; and the set of marks."""
    with np.errstate(divide="ignore", invalid="ignore"):
        features = KERNELS[request.estimator.key].features(source, request)
        found, marks = matrices(features, request)
    listed = [tuple(mark) for mark in marks.tolist()]
    assert len(set(listed)) == len(listed)
    return found, set(listed)


def assert_entries_of_all_pairs(source, key, rectangle, tolerance, **options):
    whole, all_marks = closed_forms(source, asked(key, **options))
    found, marks = closed_forms(source, asked(key, rectangle=rectangle, **options))
    rows, columns = (range(side.start, side.stop) for side in rectangle)
    later = rectangle.rows.start > rectangle.columns.start
    for name in found:
        expected = whole[name][..., rectangle.rows, rectangle.columns]
        assert found[name].dtype == expected.dtype
        if later:
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=tolerance)
        else:  # The same work in the same order.
            np.testing.assert_array_equal(found[name], expected)
    mirrored = {(k, j, i) if later else (k, i, j) for k, i, j in all_marks}
    assert marks == {(k, i, j) for k, i, j in mirrored if i in rows and j in columns}


@pytest.mark.parametrize(
    "options",
    [
        {"names": ("rtr", "sts")},
        {"names": SOME},
        {"names": ATOMS, "per_trial": True},
        {"names": ("rtr", "sts"), "per_trial": True, "dtype": "float32"},
        {"names": ATOMS, "dtype": "float32"},
    ],
    ids=["two", "some", "all of trials", "two of trials in float32", "all in float32"],
)
def test_a_rectangle_has_the_entries_of_all_pairs(series, key, rectangle, options):
    tolerance = 1e-5 if "dtype" in options else 1e-9
    for limits in (ALWAYS, NEVER):  # As pairs of samples, as unit vectors: both sides alike.
        assert_entries_of_all_pairs(series, key, rectangle, tolerance, limits=limits, **options)


@pytest.mark.parametrize("names", [("rtr", "sts"), ATOMS], ids=len)
def test_a_rectangle_of_few_nodes_has_the_entries_of_many(series, rectangle, names):
    """Unit vectors of the one, pairs of samples of the other, but for those with marks."""
    key = ("gaussian", "MMI")
    whole, marks = closed_forms(series, asked(key, names, per_trial=True, limits=ALWAYS))
    request = asked(key, names, per_trial=True, limits=NEVER, rectangle=rectangle)
    found, others = closed_forms(series, request)
    rows, columns = rectangle
    for trial, *pair in marks | others:
        i, j = pair if rows.start < columns.start else pair[::-1]
        if i in range(*rows.indices(NODES)) and j in range(*columns.indices(NODES)):
            for values, place in ((whole, (i, j)), (found, (i - rows.start, j - columns.start))):
                for value in values.values():
                    value[trial, *place] = 0
    for name in names:
        expected = whole[name][..., rows, columns]
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-9)


def test_a_rectangle_of_pooled_trials(series, key, rectangle):
    assert_entries_of_all_pairs(series, key, rectangle, 1e-9, pooled="moments")


@pytest.mark.parametrize("key", [k for k in ESTIMATORS if k[0] != "discrete" and k[1] == "MMI"])
@pytest.mark.parametrize("names", [("rtr", "sts"), SOME], ids=len)
def test_a_rectangle_of_moments(moments, key, rectangle, names):
    assert_entries_of_all_pairs(moments, key, rectangle, 1e-6, names=names)


@pytest.mark.parametrize("tau", [1, 30, 65])
def test_constant_nodes_are_known_outside_of_the_rectangle_too(rng, tau):
    """Nodes that vary in their past or in their future alone, and ones that do not vary."""
    series = rng.standard_normal((3, 70, 700))
    series[0, :-tau, 3:700:50] = 2.5
    series[1, tau:, 4:700:50] = -1
    series[2, :, 5:700:50] = 0
    options = {"estimator": ESTIMATORS["gaussian", "MMI"], "per_trial": False, "dtype": "float64"}
    whole = run(series, request_for(SOME, tau=tau, **options))
    some = Rectangle(slice(301, 333), slice(17, 30))
    found = run(series, request_for(SOME, tau=tau, rectangle=some, **options))
    expected = np.zeros((3, 700), bool)
    for trial in range(3):
        expected[trial, 3 + trial :: 50] = True
    np.testing.assert_array_equal(found.constant, expected)
    np.testing.assert_array_equal(whole.constant, expected)


def test_a_rectangle_computes_only_what_is_asked_for(series, rectangle):
    found, _ = closed_forms(series, asked(("gaussian", "MMI"), ("xts",), rectangle=rectangle))
    assert list(found) == ["xts"]


# ---- With the stable path ------------------------------------------------------------------------


@pytest.mark.parametrize("per_trial", [False, True], ids=["mean", "trials"])
def test_constant_and_marked_pairs_of_a_rectangle(series, key, rectangle, per_trial):
    whole = run(series, asked(key, per_trial=per_trial))
    found = run(series, asked(key, per_trial=per_trial, rectangle=rectangle))
    np.testing.assert_array_equal(found.constant, whole.constant)
    for name in SOME:
        expected = whole.atoms[name][..., rectangle.rows, rectangle.columns]
        np.testing.assert_allclose(found.atoms[name], expected, rtol=0, atol=1e-9)
    rows, columns = (range(side.start, side.stop) for side in rectangle)
    flags = {(k, *pair, o) for k, i, j, o in whole.flagged.tolist() for pair in ((i, j), (j, i))}
    inside = {(k, i, j, o) for k, i, j, o in flags if i in rows and j in columns}
    assert {tuple(flag) for flag in found.flagged.tolist()} == inside


def summed(atoms, shape, rectangle):
    """Sums by node, as in `Nodes`, of matrices of a rectangle."""
    rows, columns = rectangle
    sums = {name: np.zeros(shape) for name in atoms}
    pairs, shared, shares = np.zeros(shape, int), np.zeros(shape, int), np.zeros(shape)
    for name, value in atoms.items():
        sums[name][..., rows] += np.nansum(value, -1)
        sums[swap_nodes(name)][..., columns] += np.nansum(value, -2)
    both = atoms["sts"] + atoms["rtr"]
    share = np.where(both > LEAST_SUM, atoms["sts"] / both, 0)
    for side, axis in ((rows, -1), (columns, -2)):
        pairs[..., side] += (~np.isnan(both)).sum(axis)
        shared[..., side] += (both > LEAST_SUM).sum(axis)
        shares[..., side] += share.sum(axis)
    return sums, pairs, shares, shared


@pytest.mark.parametrize(
    ("per_trial", "limits"),
    [(False, Limits()), (False, Limits(workspace=1)), (True, Limits(workspace=1))],
    ids=["mean", "mean in strips", "trials in strips"],
)
def test_sums_by_node_of_a_rectangle(series, key, rectangle, per_trial, limits):
    options = {"per_trial": per_trial, "rectangle": rectangle, "limits": limits}
    found = run(series, asked(key, ATOMS, by_node=True, **options))
    pairs = run(series, asked(key, ATOMS, **options))
    sums, *numbers = summed(pairs.atoms, found.pairs.shape, rectangle)
    for name in ATOMS:
        np.testing.assert_allclose(found.sums[name], sums[name], rtol=1e-11, atol=1e-9)
    np.testing.assert_array_equal(found.pairs, numbers[0])
    np.testing.assert_allclose(found.shares, numbers[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found.shared, numbers[2])
    flagged = np.bincount(pairs.flagged[:, 3], minlength=6)
    assert [found.outcomes[k] for k in range(6)] == flagged.tolist()
    assert found.rescued == pairs.rescued


@pytest.mark.parametrize("rectangle", [None, Rectangle(slice(11, 120), slice(123, 139))], ids=str)
def test_sums_by_node_of_pairs_that_are_all_marked(rng, rectangle):
    """Every pair of equal nodes takes the stable path, rows in several turns."""
    series = np.repeat(rng.standard_normal((2, 40, 1)).cumsum(1), NODES, axis=-1)
    options = {"by_node": True, "rectangle": rectangle, "limits": Limits(workspace=1)}
    found = run(series, asked(("gaussian", "MMI"), ("rtr", "sts"), **options))
    expected = np.full(NODES, NODES - 1)
    if rectangle is not None:
        expected = np.zeros(NODES, int)
        expected[11:120], expected[123:139] = 16, 109
    np.testing.assert_array_equal(found.pairs, expected)
    np.testing.assert_allclose(found.sums["sts"], 0, atol=1e-10)
    assert set(found.outcomes) == {3}
    assert found.outcomes[3] == expected.sum()  # Two trials of a pair, which has two nodes.


# ---- Trials that share logarithms ----------------------------------------------------------------

GROUPS = [1, 3, 4, 5, 7, 8, 9, 12, 13, 16, 21]


@pytest.mark.parametrize("trials", GROUPS)
@pytest.mark.parametrize("names", [ATOMS, ("rtr", "sts")], ids=len)
def test_trials_share_logarithms(rng, names, trials):
    """A trial alone, and its mean with itself, by products of up to eight factors."""
    one = rng.standard_normal((1, 90, 37)).cumsum(1)
    one[0, :, 5] = one[0, :, 6] + 1e-2 * one[0, :, 7]
    request = asked(("gaussian", "MMI"), names)
    alone, _ = closed_forms(one, request)
    together, _ = closed_forms(np.repeat(one, trials, axis=0), request)
    for name in names:
        # Up to 16 cumulative informations, of a product that eight roundings went into.
        bound = 16 * (8 + 4) * 2**-53
        np.testing.assert_allclose(together[name] / trials, alone[name], rtol=1e-14, atol=bound)


@pytest.mark.parametrize("trials", [8, 13])
def test_products_of_the_smallest_factors_are_in_range(rng, trials):
    """Conditional variances from just below the limit of trust on, in all trials of a group."""
    series = np.repeat(rng.standard_normal((trials, 60, 1)), 60, axis=-1)
    series += 10 ** np.linspace(-5, -3, 60) * rng.standard_normal((trials, 60, 60))
    source = correlations(np, sums(np, series[:, :-1], series[:, 1:], 2**-52), 2**-52)
    request = asked(("gaussian", "MMI"), ATOMS, per_trial=True)
    each = run(source, request)
    mean = run(source, replace(request, per_trial=False))
    known = ~np.isnan(each.atoms["rtr"])
    upper = np.triu(np.ones((60, 60), bool), 1)
    assert 100 < (known.all(0) & upper).sum() < upper.sum() - 100
    for name in ATOMS:
        total = np.where(known, each.atoms[name], 0).sum(0)
        expected = np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)
        np.testing.assert_allclose(mean.atoms[name], expected, rtol=0, atol=1e-12)


# ---- Threads -------------------------------------------------------------------------------------


def bits_of(found):
    """All numbers of `Pairs` or `Nodes`."""
    arrays = found.atoms if hasattr(found, "atoms") else {**found.sums, "shares": found.shares}
    return [np.ascontiguousarray(array).view(np.int64) for array in arrays.values()]


@pytest.mark.parametrize("rectangle", [None, Rectangle(slice(3, 75), slice(78, 139))], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"per_trial": True}, {"by_node": True}], ids=["mean", "trials", "nodes"]
)
def test_threads_and_runs_give_the_same_bits(series, key, rectangle, options):
    request = asked(key, ATOMS, rectangle=rectangle, **options)
    first = bits_of(run(series, request, threads=1))
    for threads in (1, 2, 7):
        for expected, found in zip(first, bits_of(run(series, request, threads)), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_every_estimator_has_a_kernel_and_what_has_none_is_refused(key):
    assert set(KERNELS) == set(ESTIMATORS)
    assert ESTIMATORS[key].key == key
    assert BACKEND.lacks(Wanted(key)) is None
    refused = BACKEND.lacks(Wanted(key, moments=True))
    enough = key[0] != "discrete" and key[1] == "MMI"
    assert refused == (None if enough else f"compute {' '.join(key)} of moments")
    assert BACKEND.lacks(Wanted(("other", "MMI"))) == "compute other MMI of a series"


def test_limits_change_nothing_but_rounding(series, key):
    request = asked(key, by_node=True)
    few = replace(request, limits=Limits(workspace=1, rescued=1))
    expected, found = run(series, request), run(series, few)
    for name in SOME:
        np.testing.assert_allclose(found.sums[name], expected.sums[name], rtol=1e-12, atol=1e-10)
    assert (found.outcomes, found.rescued) == (expected.outcomes, expected.rescued)

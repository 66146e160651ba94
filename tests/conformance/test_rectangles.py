"""Rows x columns of the matrix of pairs: what all pairs give there, whichever backend computes."""

import numpy as np
import pytest

import synkern
from support.backends import INTERPRETED
from support.bounded import asked
from support.optional import torch
from synkern.decomposition import backends
from synkern.kernels import (
    ATOMS,
    ESTIMATORS,
    LEAST_SUM,
    PERSISTENCE,
    Limits,
    Outcome,
    Rectangle,
    Wanted,
    swap_nodes,
)

RECTANGLES = {
    "beside": Rectangle(slice(0, 7), slice(7, 23)),
    "apart": Rectangle(slice(1, 9), slice(12, 21)),
    "rows after columns": Rectangle(slice(13, 23), slice(0, 6)),
    "one row": Rectangle(slice(3, 4), slice(4, 23)),
    "one column": Rectangle(slice(1, 20), slice(0, 1)),
    "one pair": Rectangle(slice(6, 7), slice(0, 1)),
}
rectangles = pytest.mark.parametrize("rectangle", RECTANGLES.values(), ids=RECTANGLES)
ALL = {**ESTIMATORS, PERSISTENCE.key: PERSISTENCE}
estimators = pytest.mark.parametrize("key", ALL, ids=" ".join)
SAME = {"float64": 1e-12, "float32": 2e-5}  # products in another order; twice what is promised
EXCHANGED = 1e-9  # x and y of a pair exchanged: the rounding of data 1e-6 apart, a few times
LIMITS = {
    "as they are": Limits(),
    "small": Limits(tile=30, workspace=1, capacity=1, rescued=1, part=1),
}
limited = pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)


def needs(backend, key, *, by_node=False):
    (record,) = (record for record in backends.BACKENDS if record.name == backend)
    if lack := record.lacks(Wanted(key, by_node=by_node)):
        pytest.skip(f"{backend} does not {lack}")


def thin_out(backend, rectangle, per_trial, dtype="float64", limits=None):
    """Leave out what an interpreter takes long for and other parameters show in another company."""
    if backend not in INTERPRETED:
        return
    thin = 1 in (side.stop - side.start for side in rectangle)
    if per_trial and (thin or rectangle == RECTANGLES["apart"]):
        pytest.skip(f"{backend}, interpreted: trials apart in two of the rectangles")
    if limits is not None and (limits == Limits()) != (dtype == "float64"):
        pytest.skip(f"{backend}, interpreted: float32 in small parts, float64 in large ones")


def tolerance(rectangle, dtype="float64"):
    after = rectangle.rows.start > rectangle.columns.start
    return max(SAME[dtype], EXCHANGED) if after else SAME[dtype]


@pytest.fixture
def series(rng):
    """Three trials of 23 walks; constant, coinciding, fixed and nearly equal nodes among them."""
    values = rng.standard_normal((3, 40, 23)).cumsum(1)
    values[1, :, 2] = 4.0
    values[:, :, 20] = 1.0
    values[2, :, 15] = 2 - 3 * values[2, :, 1]
    values[0, 1:, 5] = values[0, :-1, 14]
    values[1, :, 6] = values[1, :, 0] + 1e-6 * rng.standard_normal(40)
    values[:, :, 13] = values[:, :, 4] + 1e-5 * rng.standard_normal((3, 40))
    return values


def numpy_of(array):
    return np.asarray(array)


def flags_within(flagged, rectangle):
    """Flags of all pairs that lie in a rectangle, row node first."""
    found = set()
    rows, columns = (range(side.start, side.stop) for side in rectangle)
    for trial, i, j, outcome in numpy_of(flagged).tolist():
        for row, column in ((i, j), (j, i)):
            if row in rows and column in columns:
                found.add((trial, row, column, outcome))
    return found


@pytest.fixture(scope="module")
def all_pairs():
    """What a backend gives for all pairs, asked once for all rectangles held against it."""
    known = {}

    def once(backend, series, **options):
        asked_for = (backend, series.tobytes(), *sorted(options.items(), key=str))
        if asked_for not in known:
            known[asked_for] = asked(backend, series, **options)
        return known[asked_for]

    return once


@limited
@rectangles
@estimators
@pytest.mark.parametrize("per_trial", [False, True], ids=["averaged", "apart"])
@pytest.mark.parametrize("dtype", SAME)
def test_entries_are_those_of_all_pairs(
    series, all_pairs, backend, rectangle, key, per_trial, dtype, limits
):
    thin_out(backend, rectangle, per_trial, dtype, limits)
    if backend in INTERPRETED and key == ("gaussian", "CCS"):
        series = series[:, :12].copy()  # This estimator goes from sample to sample.
    options = {"estimator": ALL[key], "per_trial": per_trial, "dtype": dtype}
    wanted = ("rtr", "sts") if limits == Limits() else ("xty", "rtr", "sts", "yts")
    every = all_pairs(backend, series, wanted=wanted, **options)
    found = asked(backend, series, wanted=wanted, rectangle=rectangle, limits=limits, **options)
    assert tuple(found.atoms) == wanted
    for atom in wanted:
        value = numpy_of(found.atoms[atom])
        assert value.dtype == dtype
        expected = numpy_of(every.atoms[atom])[..., rectangle.rows, rectangle.columns]
        np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance(rectangle, dtype))
    np.testing.assert_array_equal(numpy_of(found.constant), numpy_of(every.constant))
    flags = [tuple(flag) for flag in numpy_of(found.flagged).tolist()]
    assert len(set(flags)) == len(flags)
    assert set(flags) == flags_within(every.flagged, rectangle)


def test_what_is_counted(series, backend):
    whole = asked(backend, series, rectangle=Rectangle(slice(0, 12), slice(12, 23)))
    assert whole.rescued == 3  # 4 with 13 in each trial
    kinds = [flag[3] for flag in numpy_of(whole.flagged).tolist()]
    assert sorted(kinds) == [Outcome.DETERMINISTIC, Outcome.DUPLICATE]
    turned = asked(backend, series, rectangle=Rectangle(slice(12, 23), slice(0, 12)))
    assert turned.rescued == 3
    for atom in ("rtr", "sts"):
        np.testing.assert_allclose(
            numpy_of(turned.atoms[atom]).T, numpy_of(whole.atoms[atom]), rtol=0, atol=EXCHANGED
        )


@rectangles
@estimators
@pytest.mark.parametrize("pooled", ["moments", "concatenate"])
def test_pooled_trials(series, all_pairs, backend, rectangle, key, pooled):
    if backend in INTERPRETED and key == ("gaussian", "CCS"):
        series = series[:, :12].copy()
    options = {"estimator": ALL[key], "pooled": pooled}
    every = all_pairs(backend, series, **options)
    found = asked(backend, series, rectangle=rectangle, **options)
    for atom, value in found.atoms.items():
        expected = numpy_of(every.atoms[atom])[rectangle.rows, rectangle.columns]
        same = tolerance(rectangle)
        np.testing.assert_allclose(numpy_of(value), expected, rtol=0, atol=same)


@rectangles
@pytest.mark.parametrize("per_trial", [False, True], ids=["averaged", "apart"])
@pytest.mark.parametrize("estimator", [ESTIMATORS["gaussian", "MMI"], PERSISTENCE])
def test_moments(series, backend, rectangle, estimator, per_trial):
    moments = synkern.LaggedMoments()
    moments.update(torch.from_numpy(series) if backend in ("torch", "triton") else series)
    options = {"estimator": estimator, "per_trial": per_trial, "wanted": ("rtr", "ytx")}
    every = asked(backend, moments, **options)
    found = asked(backend, moments, rectangle=rectangle, **options)
    for atom, value in found.atoms.items():
        expected = numpy_of(every.atoms[atom])[..., rectangle.rows, rectangle.columns]
        np.testing.assert_allclose(numpy_of(value), expected, rtol=0, atol=1e-12)
    assert {tuple(f) for f in numpy_of(found.flagged).tolist()} == flags_within(
        every.flagged, rectangle
    )


@limited
@rectangles
@estimators
@pytest.mark.parametrize("per_trial", [False, True], ids=["averaged", "apart"])
def test_sums_by_node(series, backend, rectangle, key, per_trial, limits):
    """Over the pairs of the rectangle alone, a node being x of its row and y of its column."""
    needs(backend, key, by_node=True)
    thin_out(backend, rectangle, per_trial)
    options = {"estimator": ALL[key], "per_trial": per_trial, "wanted": ATOMS}
    pairs = asked(backend, series, rectangle=rectangle, **options)
    found = asked(backend, series, rectangle=rectangle, by_node=True, limits=limits, **options)
    atoms = {name: numpy_of(value) for name, value in pairs.atoms.items()}
    known = np.isfinite(atoms["sts"])
    both = np.where(known, atoms["sts"] + atoms["rtr"], 0)
    share = np.where(both > LEAST_SUM, atoms["sts"] / np.where(both > LEAST_SUM, both, 1), 0)
    shape = (3, 23) if per_trial else (23,)

    def total(of_row, of_column):
        expected = np.zeros(shape)
        expected[..., rectangle.rows] += of_row.sum(-1)
        expected[..., rectangle.columns] += of_column.sum(-2)
        return expected

    for name in ATOMS:
        one, other = (np.where(known, atoms[n], 0) for n in (name, swap_nodes(name)))
        np.testing.assert_allclose(
            numpy_of(found.sums[name]), total(one, other), rtol=0, atol=1e-11
        )
    np.testing.assert_array_equal(numpy_of(found.pairs), total(known, known))
    # A share is large where sts + rtr is nearly zero, as CCS has it.
    np.testing.assert_allclose(numpy_of(found.shares), total(share, share), rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(numpy_of(found.shared), total(both > LEAST_SUM, both > LEAST_SUM))
    np.testing.assert_array_equal(numpy_of(found.constant), numpy_of(pairs.constant))
    outcomes = numpy_of(pairs.flagged)[:, 3].tolist()
    assert dict(found.outcomes) == {kind: outcomes.count(kind) for kind in set(outcomes)}
    assert found.rescued == pairs.rescued


@estimators
def test_triton_interpreted(series, key):
    """In little, what the tests above hold every backend to."""
    options = {"estimator": ALL[key], "rectangle": Rectangle(slice(12, 16), slice(0, 7))}
    found, expected = (asked(name, series, **options) for name in ("triton", "numpy"))
    for atom, value in found.atoms.items():
        np.testing.assert_allclose(numpy_of(value), expected.atoms[atom], rtol=0, atol=EXCHANGED)
    assert {tuple(flag) for flag in found.flagged.tolist()} == {
        tuple(flag) for flag in expected.flagged.tolist()
    }
    assert found.rescued == expected.rescued


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("per_trial", [False, True], ids=["averaged", "apart"])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_gradient_is_that_of_the_entries(series, backend, redundancy, per_trial, rng):
    """Of marked, degenerate and ordinary pairs together."""
    rectangle = Rectangle(slice(2, 7), slice(12, 17))
    if backend == "triton":
        series = series[:, :, :17]
    options = {"estimator": ESTIMATORS["gaussian", redundancy], "per_trial": per_trial}
    options |= {"wanted": ("sts", "xty")}
    gradients = []
    weight = torch.from_numpy(rng.standard_normal((5, 5)))
    for asked_for, at in (
        ({"rectangle": rectangle}, (..., slice(None), slice(None))),
        ({}, (..., rectangle.rows, rectangle.columns)),
    ):
        leaf = torch.tensor(series, requires_grad=True)
        found = asked(backend, leaf, **options, **asked_for)
        sum(torch.nansum(value[at] * weight) for value in found.atoms.values()).backward()
        gradients.append(leaf.grad)
    assert (gradients[0][:, :, [2, 16]] != 0).any()
    assert not gradients[0][:, :, [0, 7, 11]].any()
    scale = gradients[1].abs().max()
    torch.testing.assert_close(gradients[0] / scale, gradients[1] / scale, rtol=1e-9, atol=1e-12)

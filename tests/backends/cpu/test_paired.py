"""Compiled kernels: a series as pairs of samples says what its unit vectors do."""

import numpy as np
import pytest

from support.bounded import bounded
from synkern.decomposition.asked import Options
from synkern.decomposition.call import decompose
from synkern.kernels import ATOMS, ESTIMATORS, PERSISTENCE, Limits, Rectangle, request_for
from synkern.kernels.cpu_backend.backend import run
from synkern.kernels.cpu_backend.layouts import Packed, Paired, correlated
from synkern.kernels.cpu_backend.record import BACKEND
from synkern.kernels.formulas.unit_vectors import unit_vectors

pytestmark = [
    pytest.mark.skipif(not BACKEND.status().available, reason="needs a C++ compiler"),
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
]

ALWAYS, NEVER = Limits(paired=1), Limits(paired=10**9)
PROMISED = 2e-9  # 1e-9 for either
SUMMED = 1e-15  # unit vectors whose mean and norm were summed in another order


def request(tau=1, **options):
    return request_for(
        ("rtr", "sts"),
        estimator=ESTIMATORS["gaussian", "MMI"],
        per_trial=False,
        dtype="float64",
        tau=tau,
        limits=ALWAYS,
        **options,
    )


def persistent(rng, shape, rho):
    series = rng.standard_normal(shape)
    for t in range(1, shape[1]):
        series[:, t] += rho * series[:, t - 1]
    return series


@pytest.mark.parametrize("atoms", [("rtr", "sts"), ATOMS])
@pytest.mark.parametrize("time", [60, 61, 62, 63, 400])
@pytest.mark.parametrize("tau", [1, 2, 3])
def test_unrelated_nodes(rng, tau, time, atoms):
    """Correlations of some tenths: rounding of a sum of n products, a few times over."""
    series = persistent(rng, (5, time, 21), 0.5)
    found, expected = (
        bounded(series, limits, tau=tau, names=atoms, backend="cpu", average=None)
        for limits in (ALWAYS, NEVER)
    )
    for atom in atoms:
        np.testing.assert_allclose(
            found[atom], expected[atom], rtol=0, atol=100 * np.sqrt(time) * 2**-52
        )
    assert found.rescued == expected.rescued == 0


def test_it_is_used(rng):
    series = rng.standard_normal((2, 60, 9))
    assert isinstance(correlated(series, request()), Paired)
    for other in (request(pairs=np.array([[0, 1]])), request(pooled="moments"), request(tau=7)):
        assert isinstance(correlated(series, other), Packed)
    few = request_for(("sts",), per_trial=False, dtype="float64", estimator=request().estimator)
    assert isinstance(correlated(series, few), Packed)
    assert isinstance(correlated(rng.standard_normal((1, 9, few.limits.paired)), few), Paired)


@pytest.mark.parametrize("offset", [0, 1e3, -1e6])
@pytest.mark.parametrize("rho", [0.9, 0.999])
def test_persistent_nodes_far_from_zero(rng, rho, offset):
    series = persistent(rng, (3, 100, 17), rho) + offset
    series[1, :, 3] = series[1, :, 4] + 1e-5 * rng.standard_normal(100)
    series[2, :, 5] = 2 - 3 * series[2, :, 6]
    series[0, :, 7] = offset
    series[0, 1:, 8] = series[0, :-1, 9]
    found, expected = (
        bounded(series, limits, names=ATOMS, backend="cpu", average=None)
        for limits in (ALWAYS, NEVER)
    )
    assert found.degenerate == expected.degenerate
    for atom in ATOMS:
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=PROMISED)


@pytest.mark.parametrize("end", [0, -1])
@pytest.mark.parametrize("size", [3, 30, 1e4, 1e9])
def test_a_sample_at_an_end_that_outweighs_all_others(rng, size, end):
    """Past or future are small in the scale of the whole; pairs that this costs are recomputed."""
    series = rng.standard_normal((2, 100, 200))
    series[:, end, [3, 77]] = size
    found, expected = (
        bounded(series, limits, names=("rtr", "sts"), backend="cpu", by_node=True)
        for limits in (ALWAYS, NEVER)
    )
    features = correlated(series, request())
    assert isinstance(features, Paired)
    raised = features.magnified[:, 3] / (1 + size**2 / 98)
    assert ((raised > 0.7) & (raised < 1.4)).all()
    assert found.rescued == (0 if size < 1e4 else 2 * (199 + 198))
    for atom in found:
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=PROMISED)


@pytest.mark.filterwarnings("ignore:.*transposed:UserWarning")
@pytest.mark.parametrize("size", [1e20, 1e200])
def test_a_sample_at_an_end_beside_which_all_others_are_equal(rng, size):
    """In the scale of the whole no variance is left of past or future, or rounding alone."""
    unbounded = 0
    for time in range(9, 17):
        for end in (0, -1):
            series = rng.standard_normal((1, time, 200))
            series[:, end, 77] = size
            features = correlated(series, request())
            assert isinstance(features, Paired)
            unbounded += np.isinf(features.magnified[0, 77])
            found, expected = (
                bounded(series, limits, names=("rtr", "sts"), backend="cpu", average=None)
                for limits in (ALWAYS, NEVER)
            )
            # As the column of pairs and as their row; others of so few samples may be as well.
            assert found.rescued >= 199
            for atom in found:
                np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=PROMISED)
    assert unbounded


def test_series_that_all_begin_with_a_jump_are_taken_as_they_were(rng):
    series = rng.standard_normal((2, 100, 200))
    series[:, 0] *= 1e6
    assert isinstance(correlated(series, request()), Packed)


def test_a_rectangle_makes_ready_its_own_panels(rng):
    series = rng.standard_normal((3, 60, 90)).astype(np.float32)
    series[1, :, 50] = 1
    rectangle = Rectangle(slice(3, 20), slice(70, 90))
    whole = run(series, request())
    part = run(series, request(rectangle=rectangle))
    np.testing.assert_array_equal(part.constant, whole.constant)
    for atom in ("rtr", "sts"):
        expected = whole.atoms[atom][3:20, 70:90]
        np.testing.assert_array_equal(part.atoms[atom], expected)


def test_nodes_chosen_from_it_are_unit_vectors(rng):
    series = rng.standard_normal((3, 60, 30))
    features = correlated(series, request(tau=2))
    expected = unit_vectors(np, series, 2)
    pairs = np.array([[4, 9], [21, 2]])
    for found, same in (
        (features.of_nodes(slice(1, 3), pairs[0]), expected.of_nodes(slice(1, 3), pairs[0])),
        (features.of_pairs(pairs), expected.of_pairs(pairs)),
    ):
        for one, other in zip(found, same, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=SUMMED)
    listed = np.array([[0, 4, 9], [2, 21, 2]])
    for one, other in zip(features.gathered(listed), expected.gathered(listed), strict=True):
        np.testing.assert_allclose(
            one, other, rtol=0, atol=1e-15
        )  # Sums over time in other orders.
    assert features.samples == 58


def test_a_node_with_a_large_sample_at_an_end_keeps_its_reference(rng):
    """A pair that a reference is not trusted with cannot be recomputed: it has none."""
    series = persistent(rng, (2, 100, 200), 0.9)
    series[:, -1, 77] = 1e9
    found, expected = (
        decompose(series, 1, PERSISTENCE, Options(backend=backend, average=None, limits=ALWAYS))
        for backend in ("cpu", "numpy")
    )
    assert found.degenerate == expected.degenerate
    for atom in found:
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=PROMISED)


def test_threads_change_nothing(rng):
    series = rng.standard_normal((3, 60, 150))
    one, three = (run(series, request(by_node=True), threads=k) for k in (1, 3))
    for atom in one.sums:
        np.testing.assert_array_equal(one.sums[atom], three.sums[atom])

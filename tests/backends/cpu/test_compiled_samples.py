"""Atoms at every sample by the compiled kernel, beside the formulas of whole arrays."""

from itertools import product

import numpy as np
import pytest

from synkern import calc_PhiID
from synkern.decomposition import phyid_compat
from synkern.kernels import compiled_samples, pointwise
from synkern.kernels.contract import Outcome
from synkern.kernels.cpu_backend.compiled_samples import at_samples, of_pair
from synkern.kernels.cpu_backend.record import BACKEND
from synkern.kernels.engine.at_samples import at_samples as by_formulas

pytestmark = pytest.mark.skipif(not BACKEND.status().available, reason="needs a C++ compiler")

KEYS = list(product(["gaussian", "discrete"], ["MMI", "CCS"]))
keys = pytest.mark.parametrize("key", KEYS, ids="-".join)

EXACT = 2**-52
"""Spacing of float64."""


def same(variables, pairs, key, atol=1e-10):
    found, outcome = at_samples(np, variables, np.array(pairs), key)
    expected, wanted = by_formulas(np, variables, np.array(pairs), key)
    np.testing.assert_array_equal(outcome, wanted)
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    return found, outcome


@keys
@pytest.mark.parametrize("samples", [*range(6, 41), 511, 512, 1030])
def test_any_number_of_samples(rng, key, samples):
    """To u over the smallest spread, which is above 1e-4 in six samples."""
    series = rng.standard_normal((2, samples + 2, 3))
    same(pointwise.variables(np, series, 2), [[0, 1], [2, 0]], key)
    same(pointwise.variables(np, series[:1], 2), [[1, 2]], key)


@keys
@pytest.mark.parametrize("time", [3, 9, 64, 130])
def test_evaluated_elsewhere(rng, key, time):
    fit, series = rng.standard_normal((3, 50, 4)), rng.standard_normal((2, time, 4))
    one, other = (pointwise.variables(np, part, 1) for part in (series, fit))
    same(pointwise.fitted_to(np, one, other), [[0, 3], [2, 1]], key)


@keys
def test_degenerate_pairs_have_the_same_outcomes(rng, key):
    series = rng.standard_normal((2, 60, 5)).cumsum(1)
    series[0, :, 1] = 3
    series[1, :, 2] = 5 - 2 * series[1, :, 0]
    series[1, 1:, 3] = series[1, :-1, 4]
    pairs = [[0, 1], [0, 2], [3, 4], [0, 4], [2, 0]]
    _, outcome = same(pointwise.variables(np, series, 1), pairs, key, atol=1e-8)
    expected = np.zeros((2, 5), int)
    expected[0, 0] = Outcome.CONSTANT
    if key[0] == "gaussian":
        expected[1] = [0, Outcome.DUPLICATE, Outcome.DETERMINISTIC, 0, Outcome.DUPLICATE]
    np.testing.assert_array_equal(outcome.reshape(2, 5), expected)


@pytest.mark.parametrize("noise", 10.0 ** -np.arange(4, 10))
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_near_copies_keep_their_digits(rng, noise, redundancy):
    """An error of u over the spread, whatever the order of the variables; covariances lose all."""
    x, y = rng.standard_normal((2, 100)).cumsum(-1)
    variables = pointwise.variables(np, np.stack([x, x + noise * y], -1)[None], 1)
    for pair in ([[0, 1]], [[1, 0]]):
        found, _ = at_samples(np, variables, np.array(pair), ("gaussian", redundancy))
        expected, _ = by_formulas(np, variables, np.array(pair), ("gaussian", redundancy))
        # Squares of innovations, at most 100, to 2^-53 over a spread of a hundredth of the noise.
        atol = 2 * 100 * 2**-53 / (1e-2 * noise)
        np.testing.assert_allclose(found.mean(-1), expected.mean(-1), rtol=0, atol=atol)


@keys
@pytest.mark.parametrize("scale", [1e-310, 1e-170, 1.0, 1e200, 1e307])
def test_any_scale_and_offset(rng, key, scale):
    series = np.clip(rng.standard_normal((1, 50, 2)), -3, 3) * scale
    same(pointwise.variables(np, series, 1), [[0, 1]], key, atol=1e-8)
    same(pointwise.variables(np, series + 1e3 * min(scale, 1e200), 1), [[0, 1]], key, atol=1e-8)


@keys
def test_informations_that_are_zero_have_no_sign(rng, key):
    """Whole numbers of which every one follows every other as often."""
    cycle = np.array([-1.0, 0, 1, -1, 1, 0, 0, -1, 1, 1, -1, -1, 0])
    series = np.stack([np.tile(cycle, 4), rng.permutation(np.tile(cycle, 4))], -1)[None]
    same(pointwise.variables(np, series, 1), [[0, 1], [1, 0]], key, atol=1e-12)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("step", [1.0, 0.1])
def test_samples_that_equal_their_mean_are_not_above(rng, redundancy, step):
    """Whole numbers are told apart by the kernel, tenths by the formulas, both exactly."""
    series = step * rng.permuted(np.tile([0.0, 1, 2, 3, 4], (2, 20)), axis=1).T[None]
    same(pointwise.variables(np, series, 1), [[0, 1]], ("discrete", redundancy), atol=1e-12)
    doubled = np.concatenate([series, series], 1)  # half of it as lag: the means are levels
    variables = pointwise.variables(np, doubled, 100)
    assert (variables.fitted.mean(-1) == 2 * step).any()
    same(variables, [[0, 1]], ("discrete", redundancy), atol=1e-12)


@keys
def test_threads_change_nothing(rng, key):
    variables = pointwise.variables(np, rng.standard_normal((4, 37, 9)), 2)
    pairs = np.stack(np.triu_indices(9, 1), -1)
    one, _ = at_samples(np, variables, pairs, key, threads=1)
    other, _ = at_samples(np, variables, pairs, key, threads=3)
    np.testing.assert_array_equal(one, other)


# ---- One pair ------------------------------------------------------------------------------------


@keys
def test_arrays_of_any_steps_are_read_and_left_alone(rng, key):
    series = rng.standard_normal((2, 100)).cumsum(1)
    expected = of_pair(*series, 3, key, EXACT)
    apart = np.zeros((2, 300))[:, ::-3]
    apart[:] = series
    unaligned = np.frombuffer(b"-" + series.tobytes(), np.uint8)[1:].view(np.float64)
    for x, y in (apart, series.T.copy().T, unaligned.reshape(2, 100)):
        x.flags.writeable = y.flags.writeable = False
        np.testing.assert_array_equal(of_pair(x, y, 3, key, EXACT), expected)
        np.testing.assert_array_equal(np.stack([x, y]), series)


@keys
def test_atoms_are_those_of_chosen_pairs(rng, key):
    series = rng.standard_normal((2, 77)).cumsum(1)
    variables = pointwise.variables(np, series.T[None], 2)
    expected, _ = at_samples(np, variables, np.array([[0, 1]]), key)
    np.testing.assert_array_equal(of_pair(*series, 2, key, EXACT)[-16:], expected[0, 0])


def changed(series, change):
    series = series.copy()
    change(series)
    return series


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.put(50, np.nan),
        lambda v: v.put(0, np.inf),
        lambda v: v.put(99, -np.inf),
        lambda v: v.fill(0.1),
        lambda v: v.__setitem__(slice(1, None), 0.1),
        lambda v: v.__setitem__(slice(0, -1), 0.1),
        lambda v: v.__iadd__(3e15),
        lambda v: v.__imul__(1e-13),
        lambda v: v.__imul__(1e-300),
    ],
)
@keys
def test_what_has_to_be_said_is_left_to_others(rng, key, change):
    series = rng.standard_normal((2, 100))
    assert of_pair(*series, 1, key, EXACT) is not None
    for node in range(2):
        both = list(series)
        both[node] = changed(series[node], change)
        assert of_pair(*both, 1, key, EXACT) is None


def test_states_are_left_to_others_unless_two(rng):
    x = rng.standard_normal(100)
    for levels, taken in ((2, True), (3, False), (19, False)):
        states = rng.permutation(np.arange(100) % levels).astype(float)
        for redundancy in ("MMI", "CCS"):
            found = of_pair(x, states, 1, ("discrete", redundancy), EXACT)
            assert (found is not None) == taken
    third = np.where(np.arange(100) == 90, 7.0, np.arange(100) % 2)
    assert of_pair(third, x, 1, ("discrete", "MMI"), EXACT) is None


def test_a_single_pair_is_no_reason_to_wait_for_a_compiler(library_cache, monkeypatch, rng):
    """But many are; the library is then taken."""
    monkeypatch.setattr(phyid_compat, "_compiled", phyid_compat._Compiled())
    monkeypatch.setattr(phyid_compat, "PATIENCE", 3)
    x, y = rng.standard_normal((2, 60))
    for _ in range(3):
        calc_PhiID(x, y, 1)
        assert not compiled_samples.is_loaded()
        assert not library_cache.exists()
    calc_PhiID(x, y, 1)
    assert compiled_samples.is_loaded()
    calc_PhiID(x, y, 1)
    assert phyid_compat._compiled._there


def test_a_library_that_others_built_is_taken_at_once(library_cache, monkeypatch, rng):
    compiled_samples.build.library()
    assert not compiled_samples.is_loaded()
    monkeypatch.setattr(phyid_compat, "_compiled", phyid_compat._Compiled())
    calc_PhiID(*rng.standard_normal((2, 60)), 1)
    assert compiled_samples.is_loaded()

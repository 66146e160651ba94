import numpy as np
import pytest

from synkern import ATOMS
from synkern.decomposition.reference import local_pair, phiid_pair


def test_golden_averages(variant):
    atoms = phiid_pair(*variant.series.T, variant.tau, variant.kind, variant.redundancy)
    assert list(atoms) == list(ATOMS)
    np.testing.assert_allclose(list(atoms.values()), variant.average, rtol=0, atol=1e-10)


def test_golden_local(variant):
    atoms = local_pair(*variant.series.T, variant.tau, variant.kind, variant.redundancy)
    assert list(atoms) == list(ATOMS)
    found = np.stack(list(atoms.values()))
    np.testing.assert_allclose(found.mean(1), variant.average, rtol=0, atol=1e-10)
    if variant.local is not None:
        np.testing.assert_allclose(found, variant.local, rtol=0, atol=1e-8)


def test_atoms_sum_to_the_time_delayed_mutual_information(rng):
    x, y = rng.standard_normal((2, 300)).cumsum(-1)
    past, future = np.stack([x[:-2], y[:-2]]), np.stack([x[2:], y[2:]])
    log_det = [np.linalg.slogdet(np.cov(v))[1] for v in (past, future, np.r_[past, future])]
    expected = 0.5 * (log_det[0] + log_det[1] - log_det[2])
    assert sum(phiid_pair(x, y, 2).values()) == pytest.approx(expected, abs=1e-12)
    assert sum(phiid_pair(x, y, 2, redundancy="CCS").values()) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_a_copied_bit_is_one_bit(redundancy):
    """x's past bit is the future bit of both nodes, and y's past is a coin of its own."""
    x = np.array([0, 0, 1, 1] * 2 + [0, 0, 1, 1] * 2)
    y = np.array([0, 1, 0, 1] * 2 + [0, 0, 1, 1] * 2)
    expected = dict.fromkeys(ATOMS, 0.0) | {"xtr": 1.0}
    assert phiid_pair(x, y, 8, "discrete", redundancy) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_xor_of_the_past_is_synergy(redundancy):
    x = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    y = np.array([0, 1, 0, 1, 0, 1, 1, 0])
    expected = dict.fromkeys(ATOMS, 0.0) | {"str": 1.0}
    assert phiid_pair(x, y, 4, "discrete", redundancy) == pytest.approx(expected, abs=1e-12)


def test_constant_bits_have_no_information(rng):
    atoms = phiid_pair(np.ones(40), rng.standard_normal(40), 1, "discrete")
    assert atoms["yty"] == pytest.approx(sum(atoms.values()), abs=1e-12)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_singular_pair_has_no_value(rng, redundancy):
    x = rng.standard_normal(50)
    with pytest.raises(np.linalg.LinAlgError, match="constant"):
        phiid_pair(np.ones(50), x, 1, redundancy=redundancy)
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        phiid_pair(np.r_[0.0, x], np.r_[x, 0.0], 1, redundancy=redundancy)


def test_unknown_options(rng):
    x, y = rng.standard_normal((2, 50))
    with pytest.raises(
        ValueError, match="kind must be one of 'gaussian', 'discrete'; got 'kraskov'"
    ):
        phiid_pair(x, y, 1, "kraskov")
    with pytest.raises(ValueError, match="redundancy must be one of 'MMI', 'CCS'; got 'Imin'"):
        local_pair(x, y, 1, "discrete", "Imin")

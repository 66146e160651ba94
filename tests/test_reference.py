import numpy as np
import pytest

from synkern import ATOMS
from synkern.reference import phiid_pair


def test_golden_averages(golden):
    atoms = phiid_pair(*golden.series.T, golden.tau)
    assert list(atoms) == list(ATOMS)
    np.testing.assert_allclose(list(atoms.values()), golden.average, rtol=0, atol=1e-10)


def test_atoms_sum_to_the_time_delayed_mutual_information(rng):
    x, y = rng.standard_normal((2, 300)).cumsum(-1)
    past, future = np.stack([x[:-2], y[:-2]]), np.stack([x[2:], y[2:]])
    log_det = [np.linalg.slogdet(np.cov(v))[1] for v in (past, future, np.r_[past, future])]
    expected = 0.5 * (log_det[0] + log_det[1] - log_det[2])
    assert sum(phiid_pair(x, y, 2).values()) == pytest.approx(expected, abs=1e-12)


def test_singular_pair_has_no_value(rng):
    x = rng.standard_normal(50)
    with pytest.raises(np.linalg.LinAlgError, match="constant"):
        phiid_pair(np.ones(50), x, 1)
    with pytest.raises(np.linalg.LinAlgError, match="singular"):
        phiid_pair(np.r_[0.0, x], np.r_[x, 0.0], 1)

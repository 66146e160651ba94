"""How trials combine, and units."""

import itertools

import numpy as np
import pytest

import synkern
from synkern import ATOMS
from synkern.kernels.lattice import zeta_matrix


def atoms_of(variables):
    """Gaussian MMI atoms of (4, samples) x, y, a, b, by log-determinants."""
    correlation = np.corrcoef(variables)

    def entropy(names):
        index = ["xyab".index(name) for name in names]
        return 0.5 * np.linalg.slogdet(correlation[np.ix_(index, index)])[1]

    sets = (
        {"r": "xy", "x": "x", "y": "y", "s": ["xy"]},
        {"r": "ab", "x": "a", "y": "b", "s": ["ab"]},
    )
    cumulative = [
        min(
            entropy(u) + entropy(v) - entropy(u + v)
            for u, v in itertools.product(sets[0][atom[0]], sets[1][atom[2]])
        )
        for atom in ATOMS
    ]
    return dict(zip(ATOMS, np.linalg.solve(zeta_matrix(), cumulative), strict=True))


@pytest.fixture
def series(rng):
    """Trials of different level and spread."""
    values = rng.standard_normal((4, 60, 5)).cumsum(1)
    return values * rng.uniform(0.5, 2, (4, 1, 5)) + 20 * rng.standard_normal((4, 1, 5))


def joined(series, tau, centre):
    past, future = series[:, :-tau], series[:, tau:]
    if centre:
        past, future = (part - part.mean(1, keepdims=True) for part in (past, future))
    both = np.concatenate([part.reshape(-1, part.shape[-1]) for part in (past, future)], axis=-1)
    nodes = series.shape[-1]
    return lambda i, j: both[:, [i, j, nodes + i, nodes + j]].T


@pytest.mark.parametrize(("average", "centre"), [("moments", True), ("concatenate", False)])
def test_pooled_trials(series, backend, average, centre):
    result = synkern.phiid(series, tau=2, atoms="all", average=average, backend=backend)
    variables = joined(series, 2, centre)
    for i, j in [(0, 1), (2, 4), (3, 1)]:
        found = {atom: result[atom][i, j] for atom in ATOMS}
        assert found == pytest.approx(atoms_of(variables(i, j)), abs=1e-10)
    assert result.average == average
    assert result.trials == 4
    np.testing.assert_array_equal(result.valid_trials(), 1 - np.eye(5))


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_one_trial_has_nothing_to_combine(series, backend, redundancy):
    one = series[:1]
    expected = synkern.phiid(one, average=None, redundancy=redundancy, backend=backend)
    for average in ("trials", "moments", "concatenate"):
        result = synkern.phiid(one, average=average, redundancy=redundancy, backend=backend)
        for atom in result:
            np.testing.assert_allclose(result[atom], expected[atom][0], rtol=0, atol=1e-11)


def test_node_constant_in_some_trials_takes_part_when_pooled(series, backend):
    series[1, :, 2] = series[0, :, 2].mean()
    result = synkern.phiid(series, average="moments", backend=backend)
    assert np.isfinite(result["sts"][2, [0, 1, 3, 4]]).all()
    assert sum(result.degenerate.values()) == 0


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
def test_degenerate_pooled_pairs_are_counted_once(series, backend):
    series[:, :, 3] = series[:, :, 1]
    result = synkern.phiid(series, average="concatenate", backend=backend)
    assert result.degenerate == {"constant": 0, "deterministic": 0, "duplicate": 1}
    assert result["sts"][1, 3] == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_units(series, backend, kind):
    own = synkern.phiid(series, kind=kind, backend=backend)
    nats, bits = (
        synkern.phiid(series, kind=kind, unit=u, backend=backend) for u in ("nats", "bits")
    )
    assert (own.unit, nats.unit, bits.unit) == (
        {"gaussian": "nats", "discrete": "bits"}[kind],
        "nats",
        "bits",
    )
    np.testing.assert_allclose(nats["sts"], bits["sts"] * np.log(2), rtol=1e-14)
    np.testing.assert_array_equal(own["sts"], (nats if kind == "gaussian" else bits)["sts"])

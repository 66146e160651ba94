import itertools
import tracemalloc

import numpy as np
import pytest

import synkern
import synkern.decomposition.measures
from support.optional import torch
from synkern.analysis.persistence import persistence_reference
from synkern.kernels.contract import Outcome
from synkern.kernels.lattice import zeta_matrix


@pytest.fixture
def series(rng):
    """Three trials of six nodes, persistent to different degrees and correlated."""
    out = rng.standard_normal((3, 120, 6)) @ (np.eye(6) + 0.4)
    for t in range(1, 120):
        out[:, t] += np.linspace(-0.3, 0.9, 6) * out[:, t - 1]
    return out


@pytest.fixture
def drifting(series):
    """In trial 1, node 0 correlates more with others than AR(1) nodes of its persistence can."""
    series[1, :, 0] = np.sin(np.linspace(0, 3, 120))
    series[1, :, 1] = series[1, :, 0] + 0.2 * series[1, :, 2]
    return series


def impossible(series):
    """Trial, row and column of pairs beyond the bound on their correlation."""
    out = []
    for k, trial in enumerate(series):
        for i, j in itertools.combinations(range(series.shape[-1]), 2):
            r_x, r_y, q = moments(trial, i, j, 1)
            if abs(q) >= np.sqrt((1 - r_x**2) * (1 - r_y**2)) / (1 - r_x * r_y):
                out.append((k, i, j))
    return out


def moments(trial, i, j, tau):
    x, y = trial[:, i], trial[:, j]
    r_x, r_y = (np.corrcoef(v[:-tau], v[tau:])[0, 1] for v in (x, y))
    q = (np.corrcoef(x[:-tau], y[:-tau])[0, 1] + np.corrcoef(x[tau:], y[tau:])[0, 1]) / 2
    return r_x, r_y, q


def ar1_matrix(r_x, r_y, q):
    """Covariance of (x, y) at t and t + tau under diagonal dynamics: [[S, S R], [R S, S]]."""
    same, dynamics = np.array([[1, q], [q, 1]]), np.diag([r_x, r_y])
    return np.block([[same, same @ dynamics], [dynamics @ same, same]])


def atoms_of_matrix(correlation):
    """The 16 atoms from log-determinants of sub-matrices, nats."""

    def entropy(names):
        index = ["xyab".index(name) for name in names]
        return 0.5 * np.linalg.slogdet(correlation[np.ix_(index, index)])[1]

    def least(sources, targets):
        return min(
            entropy(s) + entropy(t) - entropy(s + t) for s, t in itertools.product(sources, targets)
        )

    past = {"r": ["x", "y"], "x": ["x"], "y": ["y"], "s": ["xy"]}
    future = {"r": ["a", "b"], "x": ["a"], "y": ["b"], "s": ["ab"]}
    return np.linalg.solve(
        zeta_matrix(), [least(past[name[0]], future[name[2]]) for name in synkern.ATOMS]
    )


@pytest.mark.parametrize("tau", [1, 3])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_equals_the_definitions(series, kind, tau):
    each = persistence_reference(kind(series), tau=tau, atoms="all", average=None)
    mean = persistence_reference(kind(series), tau=tau, atoms="all")
    for i, j in itertools.permutations(range(6), 2):
        expected = [atoms_of_matrix(ar1_matrix(*moments(trial, i, j, tau))) for trial in series]
        for k, atom in enumerate(synkern.ATOMS):
            column = np.array([values[k] for values in expected])
            np.testing.assert_allclose(np.asarray(each[atom])[:, i, j], column, atol=1e-11)
            assert float(mean[atom][i, j]) == pytest.approx(column.mean(), abs=1e-11)
    assert np.isnan(np.asarray(mean["sts"]).diagonal()).all()
    assert each.average is None
    assert each.shape == (3, 120, 6)


def test_ar1_nodes_have_no_excess(rng):
    """A long recording of two AR(1) nodes with correlated innovations is its own reference."""
    noise = rng.standard_normal((60_000, 2)) @ np.array([[1, 0.6], [0, 0.8]])
    nodes = np.zeros_like(noise)
    for t in range(1, len(noise)):
        nodes[t] = [0.9, 0.7] * nodes[t - 1] + noise[t]
    result = synkern.phiid(nodes, atoms="all")
    reference = persistence_reference(nodes, atoms="all")
    assert result["sts"][0, 1] > 0.2
    for atom in synkern.ATOMS:
        assert result.excess(reference)[atom][0, 1] == pytest.approx(0, abs=0.02)


def test_influence_is_excess(rng):
    noise = rng.standard_normal((5000, 2))
    nodes = noise.copy()
    for t in range(1, 5000):
        nodes[t] += [0.5 * nodes[t - 1, 0], 0.5 * nodes[t - 1, 1] + nodes[t - 1, 0]]
    atoms = synkern.decomposition.measures.atoms_of("transfer_entropy_xy")
    beyond = synkern.phiid(nodes, atoms=atoms).excess(persistence_reference(nodes, atoms=atoms))
    transfer = beyond.measure("transfer_entropy_xy")
    assert transfer[0, 1] == pytest.approx(0.5 * np.log(2 + 1 / 3), abs=0.12)
    assert abs(transfer[1, 0]) < 0.01


def test_bound_on_the_correlation(rng):
    """The condition in the module's text is that of a positive definite matrix."""
    r_x, r_y, q = rng.uniform(-1, 1, (3, 2000))
    limit = np.sqrt((1 - r_x**2) * (1 - r_y**2)) / (1 - r_x * r_y)
    smallest = [np.linalg.eigvalsh(ar1_matrix(*row))[0] for row in zip(r_x, r_y, q, strict=True)]
    np.testing.assert_array_equal(np.abs(q) < limit, np.array(smallest) > 0)


def test_impossible_pairs_are_counted_not_decomposed(drifting):
    expected = impossible(drifting)
    assert (1, 0, 1) in expected
    assert {k for k, _, _ in expected} == {1}
    with pytest.warns(UserWarning, match=rf"{len(expected)} of 45 .* 0 with a constant node"):
        each = persistence_reference(drifting, average=None)
    np.testing.assert_array_equal(each.flagged, [(*at, Outcome.NO_AR1_PAIR) for at in expected])
    assert np.isnan(each["sts"][1, [0, 1], [1, 0]]).all()
    assert np.isnan(each["sts"]).sum() == 3 * 6 + 2 * len(expected)
    with pytest.warns(UserWarning, match="of 45"):
        mean = persistence_reference(drifting)
    np.testing.assert_allclose(mean["sts"][0, 1], each["sts"][[0, 2], 0, 1].mean(), rtol=1e-14)
    assert mean.valid_trials()[0, 1] == 2


def test_coinciding_nodes_have_no_reference(series):
    series[..., 3] = series[..., 5]
    with pytest.warns(UserWarning, match="3 with a correlation"):
        reference = persistence_reference(series)
    assert np.isnan(reference["rtr"][3, 5])


def test_constant_nodes(series):
    series[0, :, 4] = 2
    with pytest.warns(UserWarning, match="5 of 45 .* 5 with a constant node, 0 with"):
        each = persistence_reference(series, average=None)
    assert np.isnan(each["sts"][0, 4]).all()
    np.testing.assert_array_equal(np.argwhere(each.constant), [[0, 4]])
    assert each.degenerate["constant"] == 5
    assert each.valid_trials()[4, 0] == 2


def test_exchanged_nodes(series):
    reference = persistence_reference(series, atoms="all")
    for atom in synkern.ATOMS:
        mirrored = reference[synkern.kernels.lattice.swap_nodes(atom)].T
        np.testing.assert_array_equal(reference[atom], mirrored)


def test_memory_is_bounded(rng):
    series = rng.standard_normal((24, 40, 250))
    tracemalloc.start()
    persistence_reference(series)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Segments and their temporaries take some copies of the series; a single temporary of all
    # pairs and trials would take 12 MB, and the arithmetic has some twenty of them.
    assert peak < 8 * series.nbytes + 16 * 2**20


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_kind_and_dtype(series, dtype):
    tensor = torch.from_numpy(series).requires_grad_()
    reference = persistence_reference(tensor, dtype=dtype)
    assert reference["sts"].dtype == getattr(torch, dtype)
    host = persistence_reference(series, dtype=dtype)
    assert host["sts"].dtype == dtype
    assert (host.backend, reference.backend, host.dtype) == ("cpu", "torch", dtype)
    np.testing.assert_allclose(reference["sts"].detach(), host["sts"], rtol=0, atol=1e-6)


def test_gradient():
    torch.manual_seed(0)
    series = torch.randn(2, 40, 3, dtype=torch.float64).cumsum(1)
    above = torch.triu_indices(3, 3, 1)

    def values(series):
        reference = persistence_reference(series, atoms="all")
        return tuple(reference[atom][*above] for atom in reference)

    assert not len(persistence_reference(series).flagged)
    assert torch.autograd.gradcheck(values, (series.requires_grad_(),))


def test_single_trial(series):
    np.testing.assert_array_equal(
        persistence_reference(series[1])["sts"], persistence_reference(series[1:2])["sts"]
    )


def test_excess_is_a_difference(series):
    result, reference = synkern.phiid(series), persistence_reference(series, atoms="all")
    beyond = result.excess(reference)
    assert beyond.atoms == ("rtr", "sts")
    for atom in beyond:
        np.testing.assert_array_equal(beyond[atom], result[atom] - reference[atom])


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_excess_of_averages_needs_the_same_trials(drifting, kind, dtype):
    with pytest.warns(UserWarning, match="of 45"):
        reference = persistence_reference(kind(drifting), dtype=dtype)
    result = synkern.phiid(kind(drifting), dtype=dtype)
    lost = [(i, j) for _, i, j in impossible(drifting)]
    with pytest.warns(UserWarning, match=rf"{len(lost)} of 15 pairs have a value in other trials"):
        beyond = result.excess(reference)
    assert isinstance(beyond["sts"], type(kind(drifting)))
    assert beyond["sts"].dtype == result["sts"].dtype
    missing = np.isnan(np.asarray(beyond["sts"])) & ~np.eye(6, dtype=bool)
    np.testing.assert_array_equal(np.argwhere(np.triu(missing)), lost)
    np.testing.assert_array_equal(missing, missing.T)
    assert np.isfinite(float(result["sts"][0, 1]))
    assert np.isfinite(float(reference["sts"][0, 1]))


def test_a_trial_that_both_lost_is_no_difference(series):
    """The past of a straight line fixes its future: no value, and no AR(1) node either."""
    series[1, :, 0] = np.arange(120)
    with pytest.warns(UserWarning, match="5 with a correlation"):
        reference = persistence_reference(series)
    with pytest.warns(UserWarning, match="5 deterministic"):
        result = synkern.phiid(series)
    beyond = result.excess(reference)
    np.testing.assert_array_equal(beyond["sts"], result["sts"] - reference["sts"])
    assert np.isfinite(beyond["sts"][0, 1])
    np.testing.assert_array_equal(beyond.flagged, result.flagged)


def test_excess_of_trials_keeps_what_both_have(drifting):
    with pytest.warns(UserWarning, match="of 45"):
        reference = persistence_reference(drifting, average=None)
    result = synkern.phiid(drifting, average=None)
    mean = result.excess(reference).trial_mean()
    assert mean.average == "trials"
    expected = (result["sts"] - reference["sts"])[[0, 2], 0, 1].mean()
    assert mean["sts"][0, 1] == pytest.approx(expected, abs=1e-14)
    assert mean.valid_trials()[0, 1] == 2
    assert np.isnan(mean["sts"].diagonal()).all()
    assert np.isfinite(mean["sts"][~np.eye(6, dtype=bool)]).all()


def test_trial_mean_equals_average(series):
    for kind in (np.asarray, torch.from_numpy):
        mean = synkern.phiid(kind(series), average=None).trial_mean()
        expected = synkern.phiid(kind(series))
        for atom in expected:
            np.testing.assert_allclose(mean[atom], expected[atom], rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="result has average 'trials'.*average=None"):
        mean.trial_mean()


def test_excess_refuses_what_does_not_belong_together(series):
    result = synkern.phiid(series, atoms=["rtr", "sts", "xtx"])
    with pytest.raises(KeyError, match="reference lacks xtx"):
        result.excess(persistence_reference(series))
    with pytest.raises(ValueError, match="result has tau 1 and reference 2"):
        synkern.phiid(series).excess(persistence_reference(series, tau=2))
    with pytest.raises(ValueError, match="result has average 'trials' and reference None"):
        synkern.phiid(series).excess(persistence_reference(series, average=None))
    with pytest.raises(ValueError, match="result has shape"):
        synkern.phiid(series).excess(persistence_reference(series[:2]))
    other = series.copy()
    other[0, :, 1] = 0
    with pytest.warns(UserWarning, match="5 with a constant"):
        reference = persistence_reference(other)
    with pytest.raises(ValueError, match="other constant nodes"):
        synkern.phiid(series).excess(reference)


def test_bad_input(series):
    with pytest.raises(ValueError, match="tau must be a positive whole number"):
        persistence_reference(series, tau=0)
    with pytest.raises(ValueError, match="atoms must be"):
        persistence_reference(series, atoms="synergy")
    with pytest.raises(ValueError, match="average must be"):
        persistence_reference(series, average="mean")
    series[1, 7, 2] = np.inf
    with pytest.raises(ValueError, match="trial 1, time 7, node 2"):
        persistence_reference(series)


@pytest.mark.filterwarnings("ignore:.*no persistence reference:UserWarning")
@pytest.mark.parametrize("model", ["trained", "random"])
def test_recorded_heads(heads, model):
    """Real nodes: every value comes from a possible matrix, and no value is silently missing."""
    series = heads[model]
    each = persistence_reference(series, average=None)
    for trial in range(len(series)):
        for i, j in itertools.combinations(range(0, 25, 3), 2):
            value = each["sts"][trial, i, j]
            matrix = ar1_matrix(*moments(series[trial], i, j, 1))
            if np.linalg.eigvalsh(matrix)[0] > 1e-7:
                expected = atoms_of_matrix(matrix)[-1]
                assert value == pytest.approx(expected, abs=1e-6)
    missing = np.isnan(each["sts"][:, *np.triu_indices(25, 1)]).sum()
    assert missing == len(each.flagged)

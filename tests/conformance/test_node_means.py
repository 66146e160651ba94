"""`phiid_nodes`: what the matrices of all pairs would give, without them."""

import tracemalloc

import numpy as np
import pytest

import synkern
from support.bounded import bounded
from support.optional import torch
from synkern.kernels import ESTIMATORS, Limits

pytestmark = pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")

ROUNDING = 1e-13  # sums of at most 23 pairs in another order


@pytest.fixture
def mixture(rng):
    """Three trials of 23 nodes, degenerate in all ways; one node has no pair in any trial."""
    series = rng.standard_normal((3, 40, 23)).cumsum(1)
    series[1, :, 2] = 4.0
    series[:, :, 20] = 1.0
    series[2, :, 3] = 2 - 3 * series[2, :, 1]
    series[0, 1:, 5] = series[0, :-1, 4]
    series[1, :, 6] = series[1, :, 0] + 1e-6 * rng.standard_normal(40)
    return series


@pytest.mark.parametrize("tile", [None, 300])
@pytest.mark.parametrize("average", ["trials", "moments", None])
@pytest.mark.parametrize(("kind", "redundancy"), ESTIMATORS)
def test_means_are_those_of_the_matrices(mixture, backend, kind, redundancy, average, tile):
    limits = Limits(tile=tile)
    options = {"kind": kind, "redundancy": redundancy, "average": average, "backend": backend}
    for atoms in (("rtr", "sts"), synkern.ATOMS):
        result = bounded(mixture, limits, names=atoms, **options)
        means = bounded(mixture, limits, names=atoms, by_node=True, **options)
        assert (means.degenerate, means.rescued) == (result.degenerate, result.rescued)
        np.testing.assert_array_equal(means.constant, result.constant)
        np.testing.assert_array_equal(means.pairs, np.isfinite(result["sts"]).sum(-1))
        for atom in result:
            expected = np.full(means.pairs.shape, np.nan)
            some = means.pairs > 0
            expected[some] = np.nanmean(result[atom][some], -1)
            np.testing.assert_allclose(means[atom], expected, rtol=0, atol=ROUNDING)
        assert np.isnan(means["sts"][..., 20]).all()


@pytest.mark.parametrize("ranking", synkern.RANKINGS)
def test_scores_are_those_of_the_matrices(mixture, backend, ranking):
    expected = synkern.node_scores(synkern.phiid(mixture, backend=backend), ranking)
    found = synkern.node_scores(synkern.phiid_nodes(mixture, backend=backend), ranking)
    for field in ("synergy", "redundancy", "score", "rank", "pairs"):
        np.testing.assert_allclose(
            getattr(found, field), getattr(expected, field), rtol=0, atol=ROUNDING
        )


def test_another_lag_and_moments(mixture):
    one = synkern.phiid_nodes(mixture, tau=3)
    assert one.tau == 3
    assert (one["sts"] != synkern.phiid_nodes(mixture)["sts"]).any()
    benign = np.random.default_rng(1).standard_normal((2, 60, 5))
    moments = synkern.LaggedMoments().update(benign)
    np.testing.assert_allclose(
        synkern.phiid_nodes(moments)["sts"],
        synkern.phiid_nodes(benign)["sts"],
        rtol=0,
        atol=1e-12,
    )


def test_kind_dtype_and_unit(mixture):
    nats = synkern.phiid_nodes(torch.from_numpy(mixture))
    bits = synkern.phiid_nodes(mixture, unit="bits", dtype="float32")
    assert isinstance(nats["sts"], torch.Tensor)
    assert nats["sts"].dtype == torch.float64
    assert nats.pairs.dtype == torch.int64
    np.testing.assert_allclose(bits["sts"] * np.log(2), nats["sts"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(bits.balance, nats.balance, rtol=0, atol=1e-5)
    assert "NodeMeans(rtr sts; 3 trials x 40 time x 23 nodes" in repr(nats)


@pytest.mark.filterwarnings("ignore:.*below 30 the bias:UserWarning")
def test_a_sum_that_is_rounding_has_no_share(backend):
    # Of ten samples: the sums of some pairs are zero, and compute to 1e-16 of either sign.
    few = np.random.default_rng(0).standard_normal((3, 10, 23))
    options = {"kind": "discrete", "redundancy": "CCS", "average": None}
    exact = synkern.phiid(few, **options, backend="numpy")
    found = synkern.phiid_nodes(few, **options, backend=backend)
    total = exact["sts"] + exact["rtr"]
    assert 0 < (np.abs(total) < 1e-14).sum() < total.size / 10
    with np.errstate(invalid="ignore"):
        share = np.where(total > 1e-7, exact["sts"] / total, np.nan)
    np.testing.assert_allclose(found.balance, np.nanmean(share, -1), rtol=0, atol=1e-10)
    of_matrices = synkern.analysis.scores.scores_from_matrices(
        exact["sts"], exact["rtr"], "balance"
    )
    np.testing.assert_allclose(of_matrices, found.balance, rtol=0, atol=1e-10)


def test_balance_needs_both_atoms(mixture):
    means = synkern.phiid_nodes(mixture, atoms=["sts"])
    assert means.balance is None
    with pytest.raises(KeyError, match=r"'rtr' was not computed.*phiid_nodes"):
        synkern.node_scores(means)


def test_runs_are_bitwise_equal(mixture, backend):
    first, second = (synkern.phiid_nodes(mixture, atoms="all", backend=backend) for _ in range(2))
    for atom in first:
        np.testing.assert_array_equal(first[atom], second[atom])


def test_memory_grows_with_nodes_not_pairs(rng):
    series = rng.standard_normal((1, 20, 3000))
    tracemalloc.start()
    with pytest.warns(UserWarning, match="transposed"):
        synkern.phiid_nodes(series)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Two matrices of all pairs would take 144 MB; a tile of 2^16 entries and its temporaries 20.
    assert peak < 40 * 2**20


def test_what_cannot_be_reduced(mixture):
    with pytest.raises(TypeError, match=r"no option 'reduce': .* are phiid_nodes\(series, ...\)"):
        synkern.phiid(mixture, reduce="nodes")
    with pytest.raises(TypeError, match=r"phiid_lags\(\) has no option 'reduce': "):
        synkern.phiid_lags(mixture, reduce="nodes")  # Said before the lags that are missing, too.
    with pytest.raises(TypeError, match=r"no option 'pairs': means by node are over all pairs"):
        synkern.phiid_nodes(mixture, pairs=[[0, 1]])
    for function in (synkern.phiid, synkern.phiid_nodes, synkern.phiid_lags):
        with pytest.raises(TypeError, match=f"{function.__name__}\\(\\) has no option 'atom'$"):
            function(mixture, tau=1, atom="sts")
    with pytest.raises(ValueError, match="no gradient, and series requires one; detach it"):
        synkern.phiid_nodes(torch.tensor(mixture, requires_grad=True))

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern.analysis.scores import scores_from_matrices, tied_rank


def result_with(sts, rtr):
    base = synkern.phiid(np.random.default_rng(0).standard_normal((40, len(sts))))
    return synkern.PhiIDResult(**{**vars(base), "arrays": {"sts": sts, "rtr": rtr}})


@pytest.fixture
def result():
    nan = np.nan
    sts = np.array([[nan, 1.0, 3.0], [1.0, nan, 2.0], [3.0, 2.0, nan]])
    rtr = np.array([[nan, 1.0, 1.0], [1.0, nan, 6.0], [1.0, 6.0, nan]])
    return result_with(sts, rtr)


def test_means_leave_out_the_diagonal(result):
    scores = synkern.node_scores(result)
    np.testing.assert_allclose(scores.synergy, [2, 1.5, 2.5])
    np.testing.assert_allclose(scores.redundancy, [1, 3.5, 3.5])
    np.testing.assert_array_equal(scores.pairs, [2, 2, 2])


def test_rankings_by_hand(result):
    by_rank = synkern.node_scores(result, ranking="rank_difference")
    np.testing.assert_allclose(by_rank.score, [2 - 1, 1 - 2.5, 3 - 2.5])
    np.testing.assert_allclose(by_rank.rank, [3, 1, 2])
    by_mean = synkern.node_scores(result)
    assert by_mean.ranking == "mean_difference"  # that of the published figures
    np.testing.assert_allclose(by_mean.score, [1, -2, -1])
    balance = synkern.node_scores(result, ranking="balance")
    np.testing.assert_allclose(balance.score, [(1 / 2 + 3 / 4) / 2, (1 / 2 + 1 / 4) / 2, 0.5])


def test_missing_pairs_are_left_out_not_zero(result):
    for name in ("sts", "rtr"):
        result[name][0, 1] = result[name][1, 0] = np.nan
    scores = synkern.node_scores(result)
    np.testing.assert_allclose(scores.synergy, [3, 2, 2.5])
    np.testing.assert_array_equal(scores.pairs, [1, 1, 2])


def test_node_without_any_pair_has_no_rank(result):
    for name in ("sts", "rtr"):
        result[name][1] = result[name][:, 1] = np.nan
    for ranking in synkern.RANKINGS:
        scores = synkern.node_scores(result, ranking=ranking)
        np.testing.assert_array_equal(np.isnan(scores.rank), [False, True, False])
        np.testing.assert_array_equal(np.isnan(scores.score), [False, True, False])


def test_balance_skips_pairs_without_information():
    nan = np.nan
    sts = np.array([[nan, 0.0, 1.0], [0.0, nan, 1.0], [1.0, 1.0, nan]])
    scores = synkern.node_scores(result_with(sts, np.zeros((3, 3))), ranking="balance")
    np.testing.assert_allclose(scores.score, 1)


def test_trials_apart(rng):
    series = rng.standard_normal((4, 60, 7)).cumsum(1)
    each = synkern.phiid(series, average=None)
    for ranking in synkern.RANKINGS:
        scores = synkern.node_scores(each, ranking=ranking)
        assert scores.rank.shape == (4, 7)
        single = synkern.node_scores(synkern.phiid(series[2]), ranking=ranking)
        np.testing.assert_allclose(scores.score[2], single.score, rtol=0, atol=1e-12)


def test_same_kind_as_the_result(rng):
    tensor = torch.from_numpy(rng.standard_normal((60, 5)))
    assert isinstance(synkern.node_scores(synkern.phiid(tensor)).rank, torch.Tensor)


def test_ties_share_their_mean_rank():
    np.testing.assert_array_equal(
        tied_rank(np.array([3.0, 1, 3, np.nan, 2])), [3.5, 1, 3.5, np.nan, 2]
    )


def test_unknown_ranking(result):
    with pytest.raises(ValueError, match="ranking must be one of 'mean_difference'.*'gradient'"):
        synkern.node_scores(result, ranking="gradient")


def test_result_without_synergy(rng):
    with pytest.raises(KeyError, match="sts"):
        synkern.node_scores(synkern.phiid(rng.standard_normal((40, 3)), atoms=["rtr"]))


def test_batched_matrices(rng):
    sts, rtr = np.abs(rng.standard_normal((2, 5, 6, 6)))
    for ranking in synkern.RANKINGS:
        batch = scores_from_matrices(sts, rtr, ranking)
        for k in range(5):
            np.testing.assert_allclose(batch[k], scores_from_matrices(sts[k], rtr[k], ranking))

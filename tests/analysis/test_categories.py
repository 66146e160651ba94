"""Groups of prompts: planted differences are found, random groups do not differ."""

import numpy as np
import pytest

import synkern
from synkern.analysis import NodeAverages, TrialAverages, compare_groups
from synkern.analysis.categories import _as_low, _by_node, correlations
from synkern.analysis.reliability import stepped_up
from synkern.analysis.scores import scores_from_matrices

NODES, TRIALS = 20, 24
LAYERS = np.repeat(np.arange(5), 4)
GROUPS = np.tile(["sums", "words", "poems"], 8)
FAST = {"permutations": 199, "splits": 20, "bootstrap": 100}


def averages_of(rng, by_group, level=0.3):
    """Trials whose synergy of a pair is the sum of its nodes' levels in the group, and noise."""
    sts, rtr = np.empty((2, TRIALS, NODES, NODES))
    for trial, group in enumerate(GROUPS):
        node = by_group[group]
        for out, base in ((sts, node[:, None] + node), (rtr, np.ones((NODES, NODES)))):
            drawn = np.triu(base * np.exp(level * rng.standard_normal(base.shape)), 1)
            out[trial] = drawn + drawn.T
    return TrialAverages.of([{"sts": sts, "rtr": rtr}])


@pytest.fixture
def alike(rng):
    node = rng.uniform(1, 2, NODES)
    return averages_of(rng, dict.fromkeys(GROUPS, node))


@pytest.fixture
def differing(rng):
    """Sums and words rank the nodes alike, poems the other way round in part."""
    node = rng.uniform(1, 2, NODES)
    other = np.where(np.arange(NODES) < 10, 3 - node, node)
    return averages_of(rng, {"sums": node, "words": node, "poems": other})


def test_a_group_that_differs_is_found(differing):
    found = compare_groups(differing, GROUPS, LAYERS, **FAST)
    assert found.groups == ("sums", "words", "poems")
    assert found.trials.tolist() == [8, 8, 8]
    assert found.p == 1 / 200
    poems = found.pair_p[2, :2]
    assert (poems <= 0.01).all()
    assert found.pair_p[0, 1] > 0.1
    assert (found.similarity[2, :2] < found.ceiling[2, :2] - 0.2).all()
    assert abs(found.similarity[0, 1] - found.ceiling[0, 1]) < 0.1
    assert np.isnan(np.diag(found.ceiling)).all()


def test_groups_that_are_alike_are_as_random_ones(alike):
    found = compare_groups(alike, GROUPS, LAYERS, **FAST)
    assert found.p > 0.1
    assert found.profile_p > 0.1
    assert np.nanmin(found.pair_p) > 0.05
    low, high = np.percentile(found.random_similarity, [1, 99])
    observed = found.similarity[np.triu_indices(3, 1)]
    assert ((low <= observed) & (observed <= high)).all()


def test_random_labels_are_told_apart_as_often_as_chance_has_it(differing):
    """Whatever the prompts: labels that mean nothing give p below 0.2 in a fifth of the cases."""
    rng = np.random.default_rng(0)
    p = [
        compare_groups(
            differing, rng.permutation(GROUPS), LAYERS, permutations=19, splits=1, bootstrap=100
        ).p
        for _ in range(30)
    ]
    # Binomial(30, 0.2): more than 14 have a chance of 0.0002.
    assert sum(one <= 0.2 for one in p) <= 14


@pytest.mark.parametrize("ranking", synkern.RANKINGS)
def test_scores_are_those_of_the_mean_over_the_group(rng, ranking):
    series = rng.standard_normal((6, 60, NODES)).cumsum(1)
    groups = [2, 1, 1, 2, 1, 2]
    result = synkern.phiid(series, average=None)
    found = compare_groups(TrialAverages.of([result]), groups, LAYERS, ranking=ranking, **FAST)
    assert found.groups == (2, 1)
    assert found.ranking == ranking
    for place, trials in enumerate(([0, 3, 5], [1, 2, 4])):
        sts, rtr = (result[name][trials].mean(0) for name in ("sts", "rtr"))
        expected = scores_from_matrices(sts, rtr, ranking)
        np.testing.assert_allclose(found.scores[place], expected, rtol=1e-9, atol=1e-12)
        by_layer = found.profile[place]
        low, high = expected.min(), expected.max()
        scaled = ((expected - low) / (high - low)).reshape(5, 4).mean(1)
        np.testing.assert_allclose(by_layer, scaled, rtol=1e-9)
    assert ((found.lower <= found.upper) | np.isnan(found.lower)).all()
    assert found.rank.min() == 1
    ranks = np.argsort(np.argsort(found.scores, axis=1), axis=1) + 1
    if ranking != "rank_difference":  # which has ties
        np.testing.assert_array_equal(found.rank, ranks)
        np.testing.assert_allclose(found.similarity[0, 1], np.corrcoef(ranks)[0, 1])


def test_means_by_node_are_taken_where_they_give_the_same(alike, rng):
    fast = _by_node(alike, "mean_difference")
    assert isinstance(fast, NodeAverages)
    weights = rng.integers(0, 3, (4, TRIALS)).astype(float)
    slow = alike.weighted(weights)
    for name, atom in fast.weighted(weights).items():
        np.testing.assert_allclose(atom, alike.by_node(slow[name]), rtol=1e-12)
    assert _by_node(alike, "balance") is alike


def test_pairs_without_value_are_left_out_of_a_group(rng):
    sts, rtr = rng.lognormal(size=(2, 6, NODES, NODES))
    sts, rtr = sts + sts.swapaxes(1, 2), rtr + rtr.swapaxes(1, 2)
    sts[:3, 0, 1] = sts[:3, 1, 0] = np.nan
    averages = TrialAverages.of([{"sts": sts, "rtr": rtr}])
    found = compare_groups(averages, [0, 0, 0, 1, 1, 1], LAYERS, **FAST)
    off = np.where(np.eye(NODES) > 0, np.nan, sts[:3].mean(0) - rtr[:3].mean(0))
    off[0, 1] = off[1, 0] = np.nan
    np.testing.assert_allclose(found.scores[0], np.nanmean(off, axis=1), rtol=1e-9)


def test_a_group_without_a_ranking_is_refused_by_name(rng):
    sts, rtr = np.ones((2, 6, NODES, NODES))
    sts[3:] += rng.uniform(size=(3, NODES, NODES))
    averages = TrialAverages.of([{"sts": sts + sts.swapaxes(1, 2), "rtr": rtr}])
    with pytest.raises(ValueError, match="group 'flat': all its nodes score alike by mean_diff"):
        compare_groups(averages, ["flat"] * 3 + ["other"] * 3, LAYERS, **FAST)


def test_what_has_no_value_is_no_evidence():
    """A correlation without a value has no p; random ones without a value do not make p small."""
    at_random = np.array([0.5, np.nan, 0.7])
    assert np.isnan(_as_low(np.nan, at_random))
    assert _as_low(0.1, at_random) == (1 + 1) / 4
    assert _as_low(0.6, at_random) == (1 + 2) / 4


def test_one_trial_has_no_interval_and_halves_that_disagree_no_reliability(rng):
    averages = averages_of(rng, dict.fromkeys(GROUPS, rng.uniform(1, 2, NODES)), level=1.0)
    found = compare_groups(averages, ["alone", *["many"] * (TRIALS - 1)], LAYERS, **FAST)
    assert np.isnan(found.quadratic_interval).tolist() == [[True, True], [False, False]]
    assert np.isnan(found.lower[0]).all()
    assert np.isfinite(found.lower[1]).any()
    assert stepped_up(-1.0) == stepped_up(-0.4) == stepped_up(0.0) == 0
    assert np.isnan(stepped_up(np.nan))
    assert stepped_up(0.5) == pytest.approx(2 / 3)


def test_reliability_is_one_without_noise_and_none_with_one_trial(rng):
    node = rng.uniform(1, 2, NODES)
    averages = averages_of(rng, dict.fromkeys(GROUPS, node), level=0)
    groups = ["alone", *["many"] * (TRIALS - 1)]
    found = compare_groups(averages, groups, LAYERS, **FAST)
    assert np.isnan(found.reliability[0])
    assert found.reliability[1] == pytest.approx(1)


def test_reliability_is_the_correlation_with_other_trials_of_as_many(rng):
    """Halves, stepped up, tell how two whole groups of the same kind correlate."""
    node = rng.uniform(1, 2, NODES)
    averages = averages_of(rng, dict.fromkeys(GROUPS, node), level=1.0)
    found = compare_groups(averages, GROUPS, LAYERS, **FAST)
    stepped, whole = found.reliability.mean(), found.random_similarity.mean()
    assert 0.2 < whole < 0.9
    # Both estimate the same; their spread over random groups is the yardstick.
    assert abs(stepped - whole) < 3 * found.random_similarity.std()


def test_a_seed_gives_the_same(alike):
    one, again = (compare_groups(alike, GROUPS, LAYERS, seed=5, **FAST) for _ in range(2))
    np.testing.assert_array_equal(one.random_similarity, again.random_similarity)
    np.testing.assert_array_equal(one.lower, again.lower)
    np.testing.assert_array_equal(one.reliability, again.reliability)
    other = compare_groups(alike, GROUPS, LAYERS, seed=6, **FAST)
    assert (one.random_similarity != other.random_similarity).any()


def test_correlations_over_what_both_rows_have():
    nan = np.nan
    rows = np.array([[1.0, 2, 3, 4, nan], [10, 20, 40, nan, 0], [-1, -2, -3, -4, -5]])
    found = correlations(rows)  # ranks 2 3 4 1 and 4 3 2 1: 1 - 6 (2² + 2²) / 60
    np.testing.assert_allclose(found, [[1, 1, -1], [1, 1, 0.2], [-1, 0.2, 1]], atol=1e-12)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": GROUPS[:5]}, "groups has 5 labels; give one for each of 24 trials"),
        ({"groups": ["one"] * TRIALS}, r"groups names 1 group\(s\), \['one'\]"),
        ({"ranking": "synergy"}, "ranking must be one of"),
        ({"permutations": 5}, "permutations = 5"),
        ({"splits": 0}, "splits = 0"),
        ({"bootstrap": 10}, "bootstrap = 10"),
        ({"confidence": 0}, "confidence = 0"),
        ({"layers": [0] * NODES}, "needs at least 3"),
    ],
)
def test_errors_name_the_argument(alike, options, said):
    given = {"groups": GROUPS, "layers": LAYERS} | options
    with pytest.raises(ValueError, match=said):
        compare_groups(alike, **given)

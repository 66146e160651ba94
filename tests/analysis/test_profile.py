"""Layer profiles: against an independent computation, planted shapes, and known answers."""

import dataclasses

import numpy as np
import pytest

from synkern.analysis.averages import TrialAverages
from synkern.analysis.profile import layer_profiles, profiles_from_arrays, profiles_to_arrays
from synkern.analysis.scores import RANKINGS

LAYERS, HEADS, TRIALS = 9, 3, 12
LAYER = np.repeat(np.arange(LAYERS), HEADS)
DEPTH = np.linspace(0, 1, LAYERS)
DEEP = np.repeat(np.arange(30), 2)


def atoms(shape, *, seed=0, noise=0.02, spread=0.0, trials=TRIALS, layer=LAYER):
    """Atoms whose node means of sts follow `shape` over depth, rtr being level: two arrays.

    `noise` differs from trial to trial, `spread` from node to node, the same for every seed.
    """
    rng = np.random.default_rng(seed)
    nodes = len(layer)
    depth = layer / layer[-1]
    by_node = shape(depth) + spread * np.random.default_rng(7).standard_normal(nodes)
    out = []
    for level in (by_node[:, None] + by_node[None, :], np.full((nodes, nodes), 0.5)):
        jitter = noise * rng.standard_normal((trials, nodes, nodes))
        matrix = level + (jitter + jitter.transpose(0, 2, 1)) / 2
        matrix[:, np.arange(nodes), np.arange(nodes)] = np.nan
        out.append(matrix)
    return out


def profiles_of(sts, rtr, layers, **options):
    return layer_profiles(TrialAverages.of([{"sts": sts, "rtr": rtr}]), layers, **options)


def hill(depth):
    return 1 + depth * (1 - depth)


def flat(depth):
    return np.ones_like(depth)


def slope(depth):
    return 1 + depth


def by_hand(sts, rtr, ranking):
    """Layer means and the coefficient of depth squared, with loops and numpy.polyfit."""
    nodes = len(LAYER)
    s, r = sts.mean(0), rtr.mean(0)
    score = np.empty(nodes)
    for i in range(nodes):
        others = [j for j in range(nodes) if j != i]
        score[i] = {
            "mean_difference": np.mean([s[i, j] - r[i, j] for j in others]),
            "balance": np.mean([s[i, j] / (s[i, j] + r[i, j]) for j in others]),
            "rank_difference": 0,
        }[ranking]
    if ranking == "rank_difference":
        means = [np.array([np.nanmean(m[i]) for i in range(nodes)]) for m in (s, r)]
        ranks = [np.array([(m < v).sum() + (m == v).sum() / 2 for v in m]) for m in means]
        score = ranks[0] - ranks[1]
    scaled = (score - score.min()) / (score.max() - score.min())
    profile = np.array([scaled[layer == LAYER].mean() for layer in range(LAYERS)])
    return profile, np.polyfit(DEPTH, profile, 2)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_the_profile_agrees_with_one_by_hand(ranking):
    sts, rtr = atoms(hill)
    profile = profiles_of(sts, rtr, LAYER, bootstrap=100)[ranking]
    mean, (square, linear, constant) = by_hand(sts, rtr, ranking)
    # Scores that differ by 0.02 are scaled to 1, and with them the rounding of their sums of 26.
    np.testing.assert_allclose(profile.mean, mean, rtol=1e-12, atol=1e-12)
    # Centring: the coefficient of depth squared is four times the quadratic term.
    assert profile.quadratic == pytest.approx(square / 4, rel=1e-9)
    assert profile.vertex == pytest.approx(-linear / (2 * square), rel=1e-9)
    fitted = constant + linear * DEPTH + square * DEPTH**2
    np.testing.assert_allclose(profile.fitted, fitted, rtol=1e-9)
    ends, middle = (profile.fitted[0] + profile.fitted[-1]) / 2, profile.fitted[LAYERS // 2]
    assert profile.quadratic == pytest.approx(ends - middle)


def test_the_interval_agrees_with_resampled_matrices():
    sts, rtr = atoms(hill, noise=0.3)
    drawn = profiles_of(sts, rtr, LAYER, bootstrap=2000, seed=1)["balance"]
    rng = np.random.default_rng(99)
    terms = []
    for _ in range(400):
        chosen = rng.integers(0, TRIALS, TRIALS)
        terms.append(by_hand(sts[chosen], rtr[chosen], "balance")[1][0] / 4)
    expected = np.percentile(terms, [2.5, 97.5])
    # Two samples of the same distribution: within a few of their standard errors.
    np.testing.assert_allclose(drawn.quadratic_interval, expected, atol=0.3 * np.std(terms))


@pytest.mark.parametrize("ranking", RANKINGS)
def test_a_planted_hill_is_an_inverted_u(ranking):
    profile = profiles_of(*atoms(hill), LAYER, bootstrap=200)[ranking]
    assert profile.inverted_u
    assert profile.quadratic < -0.3
    assert 0.4 < profile.vertex < 0.6
    assert profile.rise_interval[0] > 0.3
    assert profile.fall_interval[1] < -0.3
    assert profile.shuffled_p < 0.01
    assert profile.top_layers(1) == (4,)


@pytest.mark.parametrize("ranking", RANKINGS)
def test_valleys_slopes_and_flat_profiles_are_not(ranking):
    valley = profiles_of(*atoms(lambda d: 2 - hill(d)), LAYER, bootstrap=200)[ranking]
    assert valley.quadratic_interval[0] > 0
    assert not valley.inverted_u
    assert valley.shuffled_p > 0.99
    assert not profiles_of(*atoms(slope), LAYER, bootstrap=200)[ranking].inverted_u
    assert not profiles_of(*atoms(flat), LAYER, bootstrap=200)[ranking].inverted_u


def test_a_bend_with_its_vertex_outside_is_not_an_inverted_u():
    rising = profiles_of(*atoms(lambda d: d * (3 - d), noise=0.001), LAYER, bootstrap=200)
    profile = rising["mean_difference"]
    assert profile.quadratic_interval[1] < 0
    assert profile.vertex > 1
    assert not profile.inverted_u


@pytest.mark.parametrize("rate", [3, 5, 8])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_profile_that_saturates_is_not_an_inverted_u(rate, mirrored):
    def shape(depth):
        return 1 - np.exp(-rate * (1 - depth if mirrored else depth))

    rankings = ["mean_difference", "balance"]
    found = atoms(shape, noise=0.001, layer=DEEP)
    for profile in profiles_of(*found, DEEP, rankings=rankings, bootstrap=200).values():
        # All that an inverted U was once thought to need.
        assert profile.quadratic_interval[1] < 0
        assert 0 < profile.vertex < 1
        assert profile.shuffled_p < 0.05
        other_side = profile.rise_interval if mirrored else profile.fall_interval
        assert other_side[0] < 0 if mirrored else other_side[1] > 0
        assert not profile.inverted_u


def test_the_slopes_agree_with_lines_fitted_to_resampled_matrices():
    sts, rtr = atoms(lambda d: 1 + np.minimum(d, 2 - 2 * d), noise=0.3)
    profile = profiles_of(sts, rtr, LAYER, bootstrap=2000)["mean_difference"]
    assert 4 / 8 < profile.vertex < 5 / 8
    rng = np.random.default_rng(99)
    rises, falls = [], []
    for _ in range(400):
        chosen = rng.integers(0, TRIALS, TRIALS)
        mean = by_hand(sts[chosen], rtr[chosen], "mean_difference")[0]
        rises.append(np.polyfit(DEPTH[:5], mean[:5], 1)[0])
        falls.append(np.polyfit(DEPTH[5:], mean[5:], 1)[0])
    for interval, slopes in ((profile.rise_interval, rises), (profile.fall_interval, falls)):
        expected = np.percentile(slopes, [2.5, 97.5])
        np.testing.assert_allclose(interval, expected, atol=0.5 * np.std(slopes))


def test_two_layers_after_the_vertex_are_too_few_to_fall():
    found = atoms(lambda d: 1 + d * (1.6 - d), noise=0.001)
    profile = profiles_of(*found, LAYER, bootstrap=200)["mean_difference"]
    assert 6 / 8 < profile.vertex < 7 / 8
    assert np.isnan(profile.fall_interval).all()
    clear = dataclasses.replace(profile, shuffled_p=0.001)
    assert not clear.inverted_u
    assert dataclasses.replace(clear, fall_interval=(-2.0, -1.0)).inverted_u
    assert not dataclasses.replace(clear, fall_interval=(-2.0, 0.1)).inverted_u
    clear = dataclasses.replace(clear, fall_interval=(-2.0, -1.0))
    assert not dataclasses.replace(clear, rise_interval=(-0.1, 2.0)).inverted_u


def test_profiles_survive_as_arrays():
    profiles = profiles_of(*atoms(hill), LAYER, bootstrap=100)
    arrays = profiles_to_arrays(profiles)
    assert all(len(rows) == len(RANKINGS) for rows in arrays.values())
    assert all(rows.dtype != object for rows in arrays.values())
    back = profiles_from_arrays(arrays)
    assert list(back) == list(profiles)
    for ranking, profile in profiles.items():
        for name, value in vars(profile).items():
            assert type(getattr(back[ranking], name)) is type(value), name
            np.testing.assert_array_equal(getattr(back[ranking], name), value, err_msg=name)


def test_a_bend_that_any_order_could_show_is_not_an_inverted_u():
    def jagged(depth):
        return np.array([0.4, 0.5, 0, 0.1, 0.9, 0.7, 0.6, 0.4, 0.2])[np.rint(depth * 8).astype(int)]

    profile = profiles_of(*atoms(jagged, noise=0.001), LAYER, bootstrap=200)["balance"]
    assert profile.quadratic_interval[1] < 0
    assert profile.rise_interval[0] > 0 > profile.fall_interval[1]
    assert profile.shuffled_p > 0.05
    assert not profile.inverted_u


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    # The nodes at both extremes are clearly so: noise that decides which they are biases the scale.
    exact = atoms(hill, noise=0, spread=0.3)
    truth = profiles_of(*exact, LAYER, bootstrap=100)["mean_difference"].quadratic
    covered = 0
    for seed in range(60):
        sts, rtr = atoms(hill, seed=seed, noise=0.1, spread=0.3, trials=20)
        low, high = profiles_of(
            sts, rtr, LAYER, rankings=["mean_difference"], bootstrap=200, seed=seed
        )["mean_difference"].quadratic_interval
        covered += low <= truth <= high
    assert 50 <= covered < 60


def test_pairs_without_a_value_are_left_out_and_counted():
    sts, rtr = atoms(hill)
    sts[0, 2, 5] = sts[0, 5, 2] = np.nan
    rtr[3, 2, 5] = rtr[3, 5, 2] = np.inf
    mean = TrialAverages.of([{"sts": sts, "rtr": rtr}]).mean()
    mean_sts, mean_rtr = mean["sts"], mean["rtr"]
    kept = [t for t in range(TRIALS) if t not in (0, 3)]
    assert mean_sts[2, 5] == pytest.approx(sts[kept, 2, 5].mean())
    assert mean_rtr[5, 2] == pytest.approx(rtr[kept, 5, 2].mean())
    assert mean_sts[1, 2] == pytest.approx(sts[:, 1, 2].mean())
    assert np.isnan(np.diag(mean_sts)).all()
    profile = profiles_of(sts, rtr, LAYER, bootstrap=100)["balance"]
    assert profile.skipped_pair_trials == 2


def test_the_mean_of_one_atom_keeps_its_unit():
    sts, rtr = atoms(hill, noise=0.3)
    averages = TrialAverages.of([{"sts": 10 * sts, "rtr": rtr}])
    found = layer_profiles(averages, LAYER, rankings=["synergy"], bootstrap=200)["synergy"]
    by_node = 10 * np.nanmean(sts.mean(0), axis=1)
    np.testing.assert_allclose(found.scores, by_node)
    np.testing.assert_array_equal(found.scaled, found.scores)
    by_layer = by_node.reshape(LAYERS, HEADS).mean(1)
    np.testing.assert_allclose(found.mean, by_layer)
    assert found.quadratic == pytest.approx(np.polyfit(DEPTH, by_layer, 2)[0] / 4)
    assert found.quadratic < -1
    # The same under another name, from averages that hold nothing else.
    alone = TrialAverages.of([{"excess": 10 * sts}])
    excess = layer_profiles(alone, LAYER, rankings=["excess_synergy"], bootstrap=200)
    np.testing.assert_allclose(excess["excess_synergy"].lower, found.lower)


def test_no_inverted_u_is_claimed_for_the_rest_of_a_profile():
    sts, rtr = atoms(hill)
    for lost, complete in ((17, True), (18, False)):  # of 351 pairs, 5 % are 17.55
        rows, columns = (index[:lost] for index in np.triu_indices(27, 1))
        gaps = sts.copy()
        gaps[:, rows, columns] = gaps[:, columns, rows] = np.nan
        profile = profiles_of(gaps, rtr, LAYER, bootstrap=200)["mean_difference"]
        assert profile.missing_share == pytest.approx(lost / 351)
        assert profile.complete == complete
        assert profile.quadratic_interval[1] < 0
        assert profile.inverted_u == complete


def test_a_node_and_a_layer_without_a_value_stay_out_of_the_fit():
    sts, rtr = atoms(hill)
    dead = [4, *np.flatnonzero(LAYER == 6)]
    for atom in (sts, rtr):
        atom[:, dead, :] = np.nan
        atom[:, :, dead] = np.nan
    profile = profiles_of(sts, rtr, LAYER, bootstrap=100)["mean_difference"]
    assert profile.skipped_nodes == 4
    assert np.flatnonzero(np.isnan(profile.mean)).tolist() == [6]
    assert np.isfinite(profile.quadratic_interval).all()
    assert np.isfinite(profile.fitted).all()
    assert 6 not in profile.top_layers(LAYERS)
    assert len(profile.top_layers(LAYERS)) == LAYERS - 1


def test_draws_in_which_a_layer_has_no_value_are_counted():
    sts, rtr = atoms(hill, trials=4)
    only_in_one_trial = LAYER == 6
    for atom in (sts, rtr):
        atom[1:, only_in_one_trial, :] = np.nan
        atom[1:, :, only_in_one_trial] = np.nan
    profile = profiles_of(sts, rtr, LAYER, bootstrap=600)["mean_difference"]
    # A draw of 4 out of 4 trials misses a given one with probability (3/4)^4 = 0.32.
    assert 0.2 < profile.failed_draws / 600 < 0.45
    assert profile.draws == 600 - profile.failed_draws


def test_the_result_depends_on_the_seed_alone(monkeypatch):
    sts, rtr = atoms(hill)
    first = profiles_of(sts, rtr, LAYER, bootstrap=150, seed=3)["balance"]
    monkeypatch.setattr("synkern.analysis.profile._CHUNK_BYTES", 1)  # one draw at a time
    finished = []
    chunked = profiles_of(
        sts, rtr, LAYER, bootstrap=150, seed=3, rankings=["balance"], progress=finished.append
    )["balance"]
    np.testing.assert_allclose(first.lower, chunked.lower, rtol=1e-10)
    assert finished == [1] * 150
    other = profiles_of(sts, rtr, LAYER, bootstrap=150, seed=4)["balance"]
    assert first.quadratic_interval != other.quadratic_interval


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sts": np.zeros((27, 27))}, r"sts has shape \(27, 27\).*trials, nodes, nodes"),
        ({"rtr": np.zeros((3, 27, 27))}, "give all atoms from one result"),
        ({"layers": LAYER[:-1]}, r"layers has shape \(26,\)"),
        ({"layers": LAYER.astype(float)}, "dtype float64"),
        ({"layers": LAYER // 5}, "names 2 layer"),
        ({"bootstrap": 10}, "bootstrap = 10; give an integer of at least 100"),
        ({"confidence": 95}, "confidence = 95"),
        ({"rankings": ["mean"]}, r"rankings = \['mean'\]; choose from mean_difference"),
    ],
)
def test_bad_arguments_are_explained(change, message):
    sts, rtr = atoms(hill)
    with pytest.raises(ValueError, match=message):
        profiles_of(**({"sts": sts, "rtr": rtr, "layers": LAYER} | change))


def test_input_without_anything_to_show_is_refused():
    sts, rtr = atoms(hill)
    with pytest.raises(ValueError, match="has 1 trial"):
        profiles_of(sts[:1], rtr[:1], LAYER)
    with pytest.raises(ValueError, match="no pair of the 27 nodes is valid in any of the 12"):
        profiles_of(sts * np.nan, rtr, LAYER)
    with pytest.raises(ValueError, match="all nodes have the same score"):
        profiles_of(np.ones_like(sts), np.ones_like(rtr), LAYER)

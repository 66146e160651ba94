"""Activation by rank: slopes of groups of prompts, by hand and planted."""

import numpy as np
import pytest

from synkern.analysis import activation_slopes, mean_activation

TRIALS, NODES = 30, 12
GROUPS = np.repeat(["a", "b", "c"], 10)
RANK = np.random.default_rng(1).permutation(np.arange(1.0, NODES + 1))


def test_slopes_are_of_the_mean_z_on_rank(rng):
    activation = rng.lognormal(size=(TRIALS, NODES))
    found = activation_slopes(activation, RANK, GROUPS, permutations=19, bootstrap=100)
    z = (activation - activation.mean(0)) / activation.std(0)
    x = (RANK - 1) / (NODES - 1)
    for group, slope in zip(found.groups, found.slope, strict=True):
        expected = np.polyfit(x, z[group == GROUPS].mean(0), 1)[0]
        np.testing.assert_allclose(slope, expected, rtol=1e-9)
    np.testing.assert_allclose(found.slope.sum(), 0, atol=1e-12)  # groups of one size
    assert (found.interval[:, 0] < found.slope).all()
    assert (found.slope < found.interval[:, 1]).all()


def test_a_planted_slope_is_found_and_no_other(rng):
    activation = rng.standard_normal((TRIALS, NODES))
    activation[GROUPS == "b"] += np.linspace(-1, 1, NODES)[(RANK - 1).astype(int)]
    found = activation_slopes(activation, RANK, GROUPS)
    assert found.groups == ("a", "b", "c")
    assert found.p[1] <= 0.005
    assert found.interval[1, 0] > 0
    alike = activation_slopes(rng.standard_normal((TRIALS, NODES)), RANK, GROUPS)
    assert alike.p.min() > 0.05


def test_no_unit_and_no_level_matters(rng):
    activation = rng.standard_normal((TRIALS, NODES))
    one = activation_slopes(activation, RANK, GROUPS, permutations=19, bootstrap=100)
    scaled = activation * rng.uniform(1, 9, NODES) + rng.uniform(-9, 9, NODES)
    other = activation_slopes(scaled, RANK, GROUPS, permutations=19, bootstrap=100)
    np.testing.assert_allclose(other.slope, one.slope, atol=1e-12)
    np.testing.assert_allclose(other.interval, one.interval, atol=1e-12)


def test_nodes_without_rank_or_change_are_left_out_and_counted(rng):
    activation = rng.standard_normal((TRIALS, NODES))
    activation[:, 3] = 0.1  # its mean is not quite
    rank = RANK.copy()
    rank[7] = np.nan
    found = activation_slopes(activation, rank, GROUPS, permutations=19, bootstrap=100)
    assert found.constant_nodes == 1
    used = np.ones(NODES, bool)
    used[[3, 7]] = False
    z = (activation - activation.mean(0))[:, used] / activation[:, used].std(0)
    x = (rank[used] - 1) / (NODES - 2)
    np.testing.assert_allclose(found.slope[0], np.polyfit(x, z[:10].mean(0), 1)[0], rtol=1e-9)


def test_mean_activation_of_what_counts():
    series = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_array_equal(mean_activation(series), series.mean(1))
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)
    series[0, 2:] = np.nan
    found = mean_activation(series, mask)
    np.testing.assert_array_equal(found[0], series[0, :2].mean(0))
    np.testing.assert_array_equal(found[1], series[1].mean(0))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rank": RANK[:4]}, r"activation has shape \(30, 12\) and rank \(4,\)"),
        ({"activation": np.full((TRIALS, NODES), np.nan)}, "360 values that are not finite"),
        ({"activation": np.ones((TRIALS, NODES))}, "0 nodes vary over trials"),
        ({"rank": np.ones(NODES)}, "of different rank"),
        ({"groups": GROUPS[:3]}, "groups has 3 labels"),
        ({"permutations": 1}, "permutations = 1"),
        ({"confidence": 2}, "confidence = 2"),
    ],
)
def test_errors_name_the_argument(rng, change, said):
    given = {
        "activation": rng.standard_normal((TRIALS, NODES)),
        "rank": RANK,
        "groups": GROUPS,
    } | change
    with pytest.raises(ValueError, match=said):
        activation_slopes(**given)


def test_a_mask_has_to_fit():
    with pytest.raises(ValueError, match="trials, time, nodes"):
        mean_activation(np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"mask has shape \(2, 2\)"):
        mean_activation(np.ones((2, 4, 3)), np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="trial 1 has no sample"):
        mean_activation(np.ones((2, 4, 3)), np.array([[True] * 4, [False] * 4]))

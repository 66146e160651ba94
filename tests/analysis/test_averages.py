"""Weighted averages of atoms over trials: of single trials, and of pooled ones."""

import numpy as np
import pytest

import synkern
from synkern._warnings import collected
from synkern.analysis import layer_profiles
from synkern.analysis.averages import NodeAverages, PooledAverages, TrialAverages


@pytest.fixture
def series(rng):
    return rng.standard_normal((6, 50, 5)).cumsum(1)


@pytest.fixture
def atoms(rng):
    """Two symmetric atoms (4, 5, 5) with a pair that is lost in some trials and one in all."""
    out = {}
    for name in ("sts", "rtr"):
        matrix = rng.random((4, 5, 5))
        out[name] = matrix + matrix.transpose(0, 2, 1)
    out["sts"][:2, 1, 2] = out["sts"][:2, 2, 1] = np.nan
    out["rtr"][:, 0, 4] = out["rtr"][:, 4, 0] = np.inf
    return out


def test_trials_are_averaged_where_all_atoms_have_a_value(atoms):
    averages = TrialAverages.of([atoms])
    assert (averages.trials, averages.nodes, averages.entries, averages.missing) == (4, 5, 40, 6)
    weights = np.array([[1.0, 1, 1, 1], [0, 2, 2, 0], [3, 1, 0, 0]])
    found = averages.weighted(weights)
    for name, atom in atoms.items():
        assert found[name].shape == (3, 5, 5)
        by_hand = np.einsum("dt,tij->dij", weights, atom) / weights.sum(1)[:, None, None]
        known = np.isfinite(by_hand) & ~np.eye(5, dtype=bool)
        known[:, [0, 4, 1, 2], [4, 0, 2, 1]] = False
        np.testing.assert_allclose(found[name][known], by_hand[known], rtol=1e-14)
        assert np.isnan(found[name][:, 0, 4]).all()
        np.testing.assert_allclose(found[name][0, 1, 2], atom[2:, 1, 2].mean())
        np.testing.assert_allclose(found[name][1, 2, 1], atom[2, 1, 2])
        assert np.isnan(found[name][2, 1, 2])  # the draw holds only trials without it
        assert np.isnan(found[name][:, np.arange(5), np.arange(5)]).all()
        # A product with one row of weights may be summed in another order than with three.
        np.testing.assert_allclose(averages.mean()[name], found[name][0], rtol=1e-14)


def test_chunks_of_trials_are_one_chunk(atoms):
    chunks = ({name: atom[part] for name, atom in atoms.items()} for part in ([0, 1, 2], [3]))
    whole, parts = TrialAverages.of([atoms]), TrialAverages.of(chunks)
    assert (whole.trials, whole.missing) == (parts.trials, parts.missing)
    for name, mean in whole.mean().items():
        np.testing.assert_array_equal(parts.mean()[name], mean)  # the same product


@pytest.mark.parametrize("average", ["moments", "concatenate"])
def test_a_draw_of_pooled_trials_decomposes_the_repeated_trials(series, average):
    def decompose(drawn):
        return synkern.phiid(drawn, average=average)

    averages = PooledAverages.of(series, decompose)
    assert (averages.trials, averages.nodes, averages.entries, averages.missing) == (6, 5, 10, 0)
    found = averages.weighted(np.array([[1.0] * 6, [0, 3, 1, 0, 2, 0]]))
    for row, chosen in enumerate(([0, 1, 2, 3, 4, 5], [1, 1, 1, 2, 4, 4])):
        expected = decompose(series[chosen])
        for name in ("sts", "rtr"):
            np.testing.assert_array_equal(found[name][row], expected[name])
    with pytest.raises(ValueError, match="must be whole"):
        averages.weighted(np.full((1, 6), 0.5))


def test_pooled_pairs_without_a_value_are_counted(series):
    series[:, :, 1] = 3.0
    with pytest.warns(UserWarning, match="constant"):
        averages = PooledAverages.of(series, lambda x: synkern.phiid(x, average="moments"))
    assert (averages.entries, averages.missing) == (10, 4)
    series[:] = 3.0
    with (
        pytest.warns(UserWarning, match="constant"),
        pytest.raises(ValueError, match="no pair of the 5 nodes is valid in the 6 pooled trials"),
    ):
        PooledAverages.of(series, lambda x: synkern.phiid(x, average="moments"))


def by_node(series):
    with collected():  # constant nodes are warned of
        return synkern.phiid_nodes(series, average=None)


def test_means_by_node_are_those_of_the_matrices(rng, series):
    weights = np.array([[1.0, 1, 1, 1, 1, 1], [0, 3, 1, 0, 0, 2]])
    matrices = TrialAverages.of([synkern.phiid(series, average=None)])
    # In chunks of trials, as they come where there are many nodes.
    averages = NodeAverages.of([by_node(series[:2]), by_node(series[2:])])
    assert (averages.trials, averages.nodes, averages.entries, averages.missing) == (6, 5, 60, 0)
    assert averages.numbers == 5
    assert matrices.numbers == 25
    whole, means = matrices.weighted(weights), averages.weighted(weights)
    for atom in ("sts", "rtr"):
        assert means[atom].shape == (2, 5)
        # The same sums of less than a hundred terms in another order.
        np.testing.assert_allclose(
            averages.by_node(means[atom]), matrices.by_node(whole[atom]), rtol=1e-12, atol=1e-14
        )
    np.testing.assert_allclose(averages.mean()["sts"], means["sts"][0], rtol=1e-14)
    for ranking in ("mean_difference", "rank_difference"):
        np.testing.assert_allclose(
            averages.scored(means, ranking), matrices.scored(whole, ranking), rtol=1e-9, atol=1e-12
        )
    with pytest.raises(ValueError, match=r"ranking 'balance' is made of the averages of single"):
        averages.scored(means, "balance")


def test_a_node_is_averaged_over_all_its_pairs_that_have_a_value(series):
    series[1, :, 0] = series[2, :, 0] = 2.0
    series[2, :, 3] = -1.0
    found = by_node(series)
    averages = NodeAverages.of([found])
    # Of trial 1 the four pairs of a node are lost, of trial 2 seven of two nodes.
    assert averages.missing == 4 + 7
    with collected():
        matrices = synkern.phiid(series, average=None)["sts"]
    weights = np.array([[0.0, 2, 3, 1, 0, 0], [0, 1, 1, 0, 0, 0]])
    means = averages.weighted(weights)["sts"]
    for draw, node in np.ndindex(2, 5):
        own = np.delete(matrices[:, node], node, axis=1)
        each = np.repeat(own, weights[draw].astype(int), axis=0)
        each = each[np.isfinite(each)]
        expected = each.mean() if len(each) else np.nan
        np.testing.assert_allclose(means[draw, node], expected, rtol=1e-12)
    assert np.isnan(means[1, 0])


def test_means_by_node_that_cannot_be_drawn_from_are_refused(series):
    with pytest.raises(ValueError, match=r"average='trials'.*give those of phiid_nodes with"):
        NodeAverages.of([synkern.phiid_nodes(series, average="trials")])
    with pytest.raises(ValueError, match="no pair of the 5 nodes is valid in any of the 6 trials"):
        NodeAverages.of([by_node(np.ones((6, 50, 5)))])


def test_a_profile_from_means_by_node_is_that_from_matrices(rng):
    series = rng.standard_normal((8, 60, 12)).cumsum(1)
    layers = np.arange(12) // 3
    rankings = ("mean_difference", "rank_difference", "synergy")
    both = [
        layer_profiles(averages, layers, rankings=rankings, bootstrap=100)
        for averages in (
            NodeAverages.of([by_node(series)]),
            TrialAverages.of([synkern.phiid(series, average=None)]),
        )
    ]
    for ranking in rankings:
        means, matrices = (profiles[ranking] for profiles in both)
        for name in ("scores", "mean", "lower", "upper", "quadratic_interval", "rise_interval"):
            np.testing.assert_allclose(
                getattr(means, name), getattr(matrices, name), rtol=1e-9, atol=1e-11
            )

"""Communities: planted ones are found, runs are seeded, and partitions are compared."""

import numpy as np
import pytest

from synkern.analysis.graph import measures
from synkern.analysis.graph.communities import NO_COMMUNITY, adjusted_rand, consensus, louvain

pytest.importorskip("sknetwork", reason="the extra networks is not installed")


def seeds(count, seed=0):
    return [(seed, run) for run in range(count)]


def blocks(rng, sizes, inside=1.0, noise=0.3):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    weights = np.where(labels[:, None] == labels, 1 + inside, 1.0)
    weights = weights * np.exp(noise * np.triu(rng.standard_normal(weights.shape), 1))
    weights = np.triu(weights, 1)
    return weights + weights.T, labels


def test_planted_blocks_are_found_whatever_the_order_of_the_nodes(rng):
    weights, labels = blocks(rng, (12, 20, 15))
    mixed = rng.permutation(len(labels))
    found = louvain(weights[np.ix_(mixed, mixed)], seeds(10))
    for run in found.labels:
        assert adjusted_rand(run, labels[mixed]) == 1
    expected = measures.modularity(weights, labels)
    np.testing.assert_allclose(found.modularity, expected, rtol=0, atol=1e-12)


def test_two_cliques_have_half():
    weights = np.kron(np.eye(2), 1 - np.eye(6))
    found = louvain(weights, seeds(3))
    assert found.best.tolist() == [0] * 6 + [1] * 6
    np.testing.assert_allclose(found.modularity, 0.5, rtol=0, atol=1e-15)


def test_no_worse_than_networkx(rng):
    """The best of many runs, on a graph without clear communities."""
    nx = pytest.importorskip("networkx")
    weights, _ = blocks(rng, (10, 10, 10), inside=0.2, noise=1.0)
    graph = nx.from_numpy_array(weights)
    other = max(
        nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=seed))
        for seed in range(20)
    )
    # What another pass has to gain, see `communities._GAIN`.
    assert louvain(weights, seeds(100)).modularity.max() > other - 1e-5


def test_runs_are_seeded(rng):
    weights, _ = blocks(rng, (30, 30), inside=0.0, noise=0.5)
    one, again = louvain(weights, seeds(8)), louvain(weights, seeds(8))
    np.testing.assert_array_equal(one.labels, again.labels)
    apart = louvain(weights, seeds(8)[5:])
    np.testing.assert_array_equal(one.labels[5:], apart.labels)
    assert len(np.unique(one.labels, axis=0)) > 1


def test_resolution_makes_communities_smaller(rng):
    weights, _ = blocks(rng, (15, 15), noise=0.2)
    counts = [louvain(weights, seeds(5), r).best.max() + 1 for r in (0.3, 1.0, 1.6)]
    assert counts[0] == 1
    assert counts[1] == 2
    assert counts[2] > 2


def test_nodes_without_edges_are_alone():
    weights = np.zeros((6, 6))
    weights[:3, :3] = 1 - np.eye(3)
    labels = louvain(weights, seeds(2)).best
    assert labels.tolist() == [0, 0, 0, 1, 2, 3]


def test_runs_that_agree_are_their_consensus():
    labels = np.array([0, 1, 0, 1, 2])
    np.testing.assert_array_equal(consensus(np.tile(labels, (5, 1))), labels)


def test_a_node_that_wavers_goes_where_it_is_most_often():
    runs = np.tile(np.repeat([0, 1], 5), (10, 1))
    runs[:3, 4] = 1  # in three runs of ten the node is of the other community
    np.testing.assert_array_equal(consensus(runs), np.repeat([0, 1], 5))
    runs[:6, 4] = 1
    np.testing.assert_array_equal(consensus(runs), [0, 0, 0, 0, 1, 1, 1, 1, 1, 1])


def test_runs_that_never_put_two_nodes_together_leave_each_alone():
    runs = np.array([[0, 0, 1, 2], [0, 1, 0, 2], [0, 1, 2, 0], [0, 1, 1, 2], [0, 1, 2, 1]])
    np.testing.assert_array_equal(consensus(runs), np.arange(4))
    assert NO_COMMUNITY not in consensus(runs)


def test_adjusted_rand_by_hand():
    """Hubert and Arabie's formula on a table of 2 x 2: [[2, 1], [0, 3]] of 6 nodes."""
    one, other = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1])
    index, rows, columns, pairs = 1 + 3, 3 + 3, 1 + 6, 15
    expected = (index - rows * columns / pairs) / ((rows + columns) / 2 - rows * columns / pairs)
    np.testing.assert_allclose(adjusted_rand(one, other), expected, rtol=1e-15)
    assert adjusted_rand(one, 7 - one) == adjusted_rand(0 * one, 0 * one) == 1


def test_adjusted_rand_is_zero_by_chance(rng):
    values = [adjusted_rand(rng.integers(0, 4, 60), rng.integers(0, 5, 60)) for _ in range(2000)]
    assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(2000)

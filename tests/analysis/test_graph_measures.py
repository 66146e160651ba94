"""Measures of graphs: by hand on a chain, a star and two cliques, and as networkx has them."""

import sys

import numpy as np
import pytest

from synkern.analysis.graph import measures
from synkern.analysis.graph.libraries import library
from synkern.analysis.graph.weights import WeightedGraph, layer_distances, strongest

pytest.importorskip("scipy", reason="the extra networks is not installed")

# A sum of n numbers of like size is right to n rounding errors; these have up to 60 squared.
CLOSE = {"rtol": 60**2 * np.finfo(float).eps, "atol": 0}


def graph(edges, nodes):
    weights = np.zeros((nodes, nodes))
    for i, j, weight in edges:
        weights[i, j] = weights[j, i] = weight
    return weights


def chain(nodes, weight=1.0):
    return graph([(k, k + 1, weight) for k in range(nodes - 1)], nodes)


def star(leaves, weight=1.0):
    return graph([(0, k, weight) for k in range(1, leaves + 1)], leaves + 1)


def cliques(size, weight=1.0):
    return np.kron(np.eye(2), weight * (1 - np.eye(size)))


def random_weights(rng, nodes, density=1.0):
    weights = np.triu(rng.lognormal(sigma=1.5, size=(nodes, nodes)), 1)
    weights *= rng.random((nodes, nodes)) < density
    return weights + weights.T


def test_a_chain():
    """Distances 1, 1, 1, 2, 2 and 3, in units of 1 / weight."""
    found = measures.paths(chain(4, weight=0.25))
    np.testing.assert_allclose(found.efficiency, 0.25 * (3 + 2 / 2 + 1 / 3) / 6, **CLOSE)
    np.testing.assert_allclose(found.path_length, 4 * (3 + 2 * 2 + 3) / 6, **CLOSE)
    assert found.unreachable == 0


def test_a_star():
    """Leaves are two edges apart."""
    leaves = 6
    found = measures.paths(star(leaves, weight=3.0))
    expected = 3 * (leaves + leaves * (leaves - 1) / 2 / 2) / (leaves * (leaves + 1) / 2)
    np.testing.assert_allclose(found.efficiency, expected, **CLOSE)
    assert measures.clustering(star(leaves)) == 0


def test_two_cliques():
    size = 5
    weights = cliques(size, weight=0.5)
    found = measures.paths(weights)
    assert found.unreachable == size * size
    np.testing.assert_allclose(found.efficiency, 0.5 * size * (size - 1) / 45, **CLOSE)
    np.testing.assert_allclose(found.path_length, 2, **CLOSE)
    np.testing.assert_allclose(measures.clustering(weights), 1, **CLOSE)
    halves = np.repeat([0, 1], size)
    np.testing.assert_allclose(measures.modularity(weights, halves), 0.5, **CLOSE)
    np.testing.assert_allclose(measures.modularity(weights, halves, 0.6), 0.7, **CLOSE)
    np.testing.assert_allclose(measures.modularity(weights, 0 * halves), 0, atol=1e-15)
    np.testing.assert_allclose(measures.participation(weights, halves), 0, atol=1e-15)


def test_the_detour_is_taken_where_it_is_shorter():
    triangle = graph([(0, 1, 1.0), (1, 2, 1.0), (0, 2, 0.1)], 3)
    np.testing.assert_allclose(measures.paths(triangle).efficiency, (1 + 1 + 1 / 2) / 3, **CLOSE)


def test_participation_of_a_node_between_communities():
    """Half of the weight to each of two communities, and a node without edges."""
    weights = graph([(0, 1, 1.0), (2, 3, 1.0), (0, 4, 1.0), (2, 4, 1.0)], 6)
    found = measures.participation(weights, np.array([0, 0, 1, 1, 1, 2]))
    np.testing.assert_allclose(found[4], 1 - 2 * 0.5**2, **CLOSE)
    np.testing.assert_allclose(found[1], 0, atol=1e-15)
    assert np.isnan(found[5])


@pytest.mark.parametrize("density", [1.0, 0.5, 0.08])
@pytest.mark.parametrize("nodes", [4, 23, 60])
def test_as_networkx_has_them(rng, nodes, density):
    nx = pytest.importorskip("networkx")
    weights = random_weights(rng, nodes, density)
    weights[0, 1] = weights[1, 0] = 1.0  # at least one edge
    other = nx.from_numpy_array(weights)
    for _, _, edge in other.edges(data=True):
        edge["length"] = 1 / edge["weight"]
    lengths = dict(nx.all_pairs_dijkstra_path_length(other, weight="length"))
    distances = [lengths[i][j] for i in range(nodes) for j in range(i) if j in lengths[i]]
    pairs = nodes * (nodes - 1) // 2
    found = measures.paths(weights)
    np.testing.assert_allclose(found.efficiency, (1 / np.array(distances)).sum() / pairs, **CLOSE)
    np.testing.assert_allclose(found.path_length, np.mean(distances), **CLOSE)
    assert found.unreachable == pairs - len(distances)
    average = nx.average_clustering(other, weight="weight")
    np.testing.assert_allclose(measures.clustering(weights), average, **CLOSE)
    labels = rng.integers(0, 3, nodes)
    sets = [set(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    for resolution in (0.5, 1.0, 2.0):
        expected = nx.community.modularity(other, sets, resolution=resolution)
        found_q = measures.modularity(weights, labels, resolution)
        # Q is a difference of numbers up to `resolution`.
        np.testing.assert_allclose(found_q, expected, rtol=0, atol=2 * CLOSE["rtol"])


def test_units_scale_efficiency_and_nothing_else(rng):
    weights = random_weights(rng, 20)
    labels = rng.integers(0, 3, 20)
    for unit in (1e-200, 1 / 1024, 1e200):
        one, other = measures.paths(weights), measures.paths(weights * unit)
        np.testing.assert_allclose(other.efficiency, one.efficiency * unit, **CLOSE)
        np.testing.assert_allclose(other.path_length, one.path_length / unit, **CLOSE)
        np.testing.assert_allclose(
            measures.clustering(weights * unit), measures.clustering(weights), **CLOSE
        )
        np.testing.assert_allclose(
            measures.modularity(weights * unit, labels),
            measures.modularity(weights, labels),
            atol=2 * CLOSE["rtol"],
        )


def test_what_is_no_edge_is_named_and_counted():
    matrix = np.full((10, 10), 2.0)
    matrix[1, 3] = matrix[3, 1] = np.nan
    matrix[0, 5] = matrix[5, 0] = -0.5
    matrix[2, 2] = np.inf  # the diagonal is ignored
    found = WeightedGraph.of(matrix)
    assert found.missing.tolist() == [[1, 3]]
    assert found.negative.tolist() == [[0, 5]]
    assert found.negative_sum == -0.5
    np.testing.assert_allclose(found.negative_share, 1 / 44)
    np.testing.assert_allclose(found.mean_weight, 2 * 43 / 44)
    assert found.weights[1, 3] == found.weights[0, 5] == found.weights[2, 2] == 0
    assert np.isnan(matrix[1, 3])
    assert matrix[2, 2] == np.inf  # the caller's array is as it was


def test_a_few_negative_pairs_are_taken_and_more_are_refused():
    matrix = np.ones((20, 20))
    rows, columns = np.triu_indices(20, 1)
    for count in (9, 10):  # of 190 pairs, 5 % are 9.5
        some = rows[:count], columns[:count]
        negative = matrix.copy()
        negative[some] = negative[some[::-1]] = -1
        if count == 9:
            assert len(WeightedGraph.of(negative).negative) == 9
        else:
            with pytest.raises(ValueError, match=r"10 of 190 pairs of sts are negative \(5.3%\)"):
                WeightedGraph.of(negative, "sts")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m[:3], r"shape \(3, 5\)"),
        (lambda m: m[:2, :2], "matrix has 2 nodes; a network needs at least 4"),
        (lambda m: m[:3, :3], "matrix has 3 nodes; a network needs at least 4"),
        (lambda m: m[None], r"averaged over trials"),
        (lambda m: np.where(np.eye(5, k=1) + np.eye(5, k=-1) > 0, np.inf, m), "infinite"),
        (lambda m: m + np.triu(m, 1), "not symmetric"),
        (lambda m: np.where(np.eye(5, k=2) > 0, np.nan, m), "not symmetric"),
        (lambda m: m * np.nan, "have no value"),
        (lambda m: m * 0, "no edge"),
    ],
)
def test_what_makes_no_graph_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        WeightedGraph.of(change(np.ones((5, 5))))


def test_the_strongest_edges_are_kept(rng):
    weights = random_weights(rng, 12)  # 66 pairs
    kept = strongest(weights, 0.25)
    there = np.triu(kept) > 0
    assert there.sum() == round(0.25 * 66)
    assert kept[there].min() > weights[np.triu(~there, 1)].max()
    np.testing.assert_array_equal(kept, kept.T)
    np.testing.assert_array_equal(strongest(weights, 1), weights)
    # Fewer edges than asked for: these; equal ones: the first.
    assert (strongest(star(11), 0.5) > 0).sum() == 2 * 11
    assert np.argwhere(np.triu(strongest(np.ones((4, 4)) - np.eye(4), 0.4))).tolist() == [
        [0, 1],
        [0, 2],
    ]


def test_a_share_of_the_pairs_is_at_least_one_of_them():
    with pytest.raises(ValueError, match=r"density = 0.01 of 6 pairs is none"):
        strongest(chain(4), 0.01)


@pytest.mark.parametrize(
    ("module", "extra"), [("sknetwork.clustering", "networks"), ("matplotlib.figure", "plot")]
)
def test_a_library_that_is_not_there_is_named_with_its_extra(monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"networks needs .*pip install 'synkern\[{extra}\]'"):
        library(module, "networks")


def test_layers_are_one_whole_number_for_each_node():
    assert layer_distances([0, 2, 5], 3).tolist() == [[0, 2, 5], [2, 0, 3], [5, 3, 0]]
    for layers in ([0, 1], [0.0, 1.0, 2.0]):
        with pytest.raises(ValueError, match="one whole number for each of the 3 nodes"):
            layer_distances(layers, 3)

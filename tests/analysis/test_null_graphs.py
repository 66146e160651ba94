"""Null graphs keep what they say, and draw the rest."""

import numpy as np
import pytest

from synkern.analysis.graph.null_graphs import NULL_GRAPHS, Drawn
from synkern.analysis.graph.weights import WeightedGraph, layer_distances


def symmetric(values):
    return np.triu(values, 1) + np.triu(values, 1).T


@pytest.fixture
def drawn(rng):
    matrix = symmetric(rng.lognormal(size=(30, 30)))
    for i, j in [(0, 3), (7, 20)]:
        matrix[i, j] = matrix[j, i] = np.nan
    matrix[4, 9] = matrix[9, 4] = -0.1
    return Drawn(WeightedGraph.of(matrix), layer_distances(np.repeat(np.arange(6), 5), 30))


@pytest.mark.parametrize("null", NULL_GRAPHS)
def test_every_null_is_a_graph_and_follows_from_its_seed(drawn, null):
    one = NULL_GRAPHS[null](drawn, np.random.default_rng(1))
    np.testing.assert_array_equal(one, NULL_GRAPHS[null](drawn, np.random.default_rng(1)))
    assert (one != NULL_GRAPHS[null](drawn, np.random.default_rng(2))).any()
    np.testing.assert_array_equal(one, one.T)
    assert (one >= 0).all()
    assert not one[~drawn.graph.valued].any()  # pairs without value stay so
    # As many edges: the negative pair's zero is shuffled with the rest.
    assert (one > 0).sum() == (drawn.graph.weights > 0).sum()
    moved = one != drawn.graph.weights
    assert moved.mean() > 0.8


def test_shuffled_weights_are_the_same_weights(drawn):
    one = NULL_GRAPHS["weights"](drawn, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(one, None), np.sort(drawn.graph.weights, None))


def test_within_distances_they_are_the_same_at_each_distance(drawn):
    one = NULL_GRAPHS["layers"](drawn, np.random.default_rng(0))
    for distance in range(6):
        there = drawn.distances == distance
        np.testing.assert_array_equal(
            np.sort(one[there]), np.sort(drawn.graph.weights[there]), str(distance)
        )


def test_what_distance_alone_makes_is_its_own_null():
    distances = layer_distances(np.repeat(np.arange(5), 4), 20)
    drawn = Drawn(WeightedGraph.of(1 / (1 + distances)), distances)
    one = NULL_GRAPHS["layers"](drawn, np.random.default_rng(0))
    np.testing.assert_array_equal(one, drawn.graph.weights)


def test_strengths_are_kept(drawn):
    one = NULL_GRAPHS["strengths"](drawn, np.random.default_rng(0))
    np.testing.assert_allclose(one.sum(1), drawn.graph.strengths, rtol=1e-8)


def test_what_strengths_alone_make_is_its_own_null(rng):
    """A product of two numbers of nodes has ratios of 1 to itself, in any order."""
    number = rng.lognormal(size=20)
    drawn = Drawn(WeightedGraph.of(np.outer(number, number)), layer_distances([0] * 20, 20))
    one = NULL_GRAPHS["strengths"](drawn, np.random.default_rng(0))
    # Strengths agree to 1e-9, and so do the two numbers of a weight, each to a few of these.
    np.testing.assert_allclose(one, drawn.graph.weights, rtol=1e-7, atol=0)
    assert (NULL_GRAPHS["weights"](drawn, np.random.default_rng(0)) != one).any()


def test_a_node_without_edges_stays_alone(rng):
    matrix = symmetric(rng.lognormal(size=(12, 12)))
    matrix[5] = matrix[:, 5] = 0
    drawn = Drawn(WeightedGraph.of(matrix), layer_distances([0] * 12, 12))
    one = NULL_GRAPHS["strengths"](drawn, np.random.default_rng(0))
    assert not one[5].any()
    np.testing.assert_allclose(one.sum(1), matrix.sum(1), rtol=1e-8)


def test_strengths_that_no_shuffle_can_keep_are_refused():
    """All weight of a star is its centre's: only the star itself has these strengths."""
    matrix = np.zeros((8, 8))
    matrix[0, 1:] = matrix[1:, 0] = 1
    drawn = Drawn(WeightedGraph.of(matrix), layer_distances([0] * 8, 8))
    with pytest.raises(ValueError, match="null 'strengths'.*Leave this null out"):
        NULL_GRAPHS["strengths"](drawn, np.random.default_rng(0))

"""Subsets of nodes: equal in size, and what their names say."""

import numpy as np
import pytest

from synkern.interventions.accuracy.subsets import SUBSETS, subsets_of

LAYERS = np.repeat(np.arange(6), 8)


def by_name(subsets, name):
    return [one.nodes for one in subsets if one.name == name]


@pytest.fixture
def scores(rng):
    return rng.normal(size=48)


def test_every_subset_has_as_many_nodes(scores):
    subsets = subsets_of(scores, LAYERS, share=0.25, draws=4)
    assert [one.name for one in subsets] == [SUBSETS[0], SUBSETS[1], *4 * ["random"]] + 4 * [
        "layer_matched"
    ]
    for one in subsets:
        assert len(one.nodes) == len({*one.nodes.tolist()}) == 12
        assert (np.diff(one.nodes) > 0).all()


def test_synergy_is_the_top_and_redundancy_the_bottom(scores):
    subsets = subsets_of(scores, LAYERS)
    (top,), (bottom,) = by_name(subsets, "synergy"), by_name(subsets, "redundancy")
    order = np.argsort(scores)
    assert {*top} == {*order[-12:]}
    assert {*bottom} == {*order[:12]}


def test_layer_matched_has_as_many_of_every_layer(scores):
    scores = scores + 2 * LAYERS  # late layers have most of the highest
    subsets = subsets_of(scores, LAYERS)
    (top,) = by_name(subsets, "synergy")
    expected = np.bincount(LAYERS[top], minlength=6)
    matched = by_name(subsets, "layer_matched")
    for nodes in matched:
        assert np.bincount(LAYERS[nodes], minlength=6).tolist() == expected.tolist()
    assert len({tuple(nodes) for nodes in matched}) > 1
    random = [
        np.bincount(LAYERS[nodes], minlength=6).tolist() for nodes in by_name(subsets, "random")
    ]
    assert expected.tolist() not in random


def test_nodes_without_a_score_are_in_no_subset(scores):
    scores[::5] = np.nan
    subsets = subsets_of(scores, LAYERS, share=0.25)
    for one in subsets:
        assert len(one.nodes) == round(38 / 4)
        assert np.isfinite(scores[one.nodes]).all()


def test_draws_depend_on_the_seed_alone(scores):
    def drawn(**options):
        return [one.nodes.tolist() for one in subsets_of(scores, LAYERS, **options)]

    assert drawn(seed=3) == drawn(seed=3)
    assert drawn(seed=3) != drawn(seed=4)


@pytest.mark.parametrize("share", [0, -0.1, 0.51, 1, float("nan")])
def test_a_share_that_leaves_no_two_subsets_is_refused(scores, share):
    with pytest.raises(ValueError, match="share must be above 0 and at most 0.5"):
        subsets_of(scores, LAYERS, share=share)


def test_one_node_leaves_no_two_subsets():
    with pytest.raises(ValueError, match="leaves no two subsets apart"):
        subsets_of([1.0], [0], share=0.5)

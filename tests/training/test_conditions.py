"""Which nodes train in each condition: as many, of the right ones, the same at every call."""

import json
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("torch")

import synkern
from synkern.training import CONDITIONS, conditions_of

NODES = [synkern.Node(layer, head) for layer in range(6) for head in range(4)]
SCORES = np.random.default_rng(0).permutation(24).astype(float)


def test_as_many_nodes_train_in_every_condition_that_is_compared():
    found = conditions_of(SCORES, NODES, share=0.25)
    assert [*dict.fromkeys(c.name for c in found)] == [*CONDITIONS]
    sizes = {c.label: len(c.nodes) for c in found}
    assert sizes.pop("all") == 24
    assert sizes.pop("none") == 0
    assert len(sizes) == 2 + 2 * 5
    assert set(sizes.values()) == {6}
    by_name = {c.label: c.nodes for c in found}
    best = [NODES[i] for i in np.flatnonzero(SCORES >= 18)]
    worst = [NODES[i] for i in np.flatnonzero(SCORES < 6)]
    assert by_name["synergy"] == tuple(best)
    assert by_name["redundancy"] == tuple(worst)
    assert len({nodes for label, nodes in by_name.items() if label.startswith("random")}) == 5


def test_layers_are_matched():
    synergy, *matched = conditions_of(SCORES, NODES, names=["synergy", "layer_matched"], share=0.3)

    def layers(condition):
        return Counter(node.layer for node in condition.nodes)

    assert len(synergy.nodes) == 7  # of 7.2
    assert all(layers(other) == layers(synergy) for other in matched)
    assert any(other.nodes != synergy.nodes for other in matched)


def test_a_draw_is_the_same_whatever_else_is_asked_for():
    (one,) = conditions_of(SCORES, NODES, names="random", draws=1)
    several = conditions_of(SCORES, NODES, names=["layer_matched", "random"], draws=3)
    assert one in several
    assert conditions_of(SCORES, NODES, names="random", draws=1, seed=1) != (one,)


def test_a_condition_says_by_which_ranking():
    (one,) = conditions_of(SCORES, NODES, names="synergy", ranking="rank_difference", share=0.1)
    facts = json.loads(json.dumps(one.facts()))
    assert facts["ranking"] == "rank_difference"
    assert facts["nodes"] == [node.label for node in one.nodes]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 0.01}, "share: 0.01 of 24 nodes"),
        ({"share": 1.0}, "share: 1.0 of 24 nodes"),
        ({"share": True}, "share: True of 24 nodes"),
        ({"names": ["best"]}, "names: 'best'; give one or several of synergy"),
        ({"names": ["all", "all"]}, r"names: \('all', 'all'\)"),
        ({"names": []}, r"names: \(\)"),
        ({"draws": 0}, "draws: 0 of 'random'"),
    ],
)
def test_what_makes_no_condition_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        conditions_of(SCORES, NODES, **options)


def test_scores_of_other_nodes_and_missing_ones_are_refused():
    with pytest.raises(ValueError, match=r"scores: shape \(23,\) \(.*\) for 24 nodes"):
        conditions_of(SCORES[1:], NODES)
    with pytest.raises(ValueError, match="1 of 24 nodes have none"):
        conditions_of(np.where(SCORES == 3, np.nan, SCORES), NODES)

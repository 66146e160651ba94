"""Orders of nodes, against what their definitions say, made in the test."""

import re

import numpy as np
import pytest

from support import without_torch
from synkern.interventions.orders import DRAWN, ORDERS, of_scores, orders_of

LAYERS = np.repeat(np.arange(5), 7)
SCORES = np.random.default_rng(0).normal(size=35) + np.sin(LAYERS)
ACTIVITY = np.random.default_rng(1).gamma(2, size=35)


def made(**options):
    options = {"activity": ACTIVITY, "draws": 4, **options}
    return {(o.name, o.draw): o.nodes for o in orders_of(SCORES, LAYERS, **options)}


def test_each_order_has_every_node_once_and_its_draws():
    found = made()
    expected = {(name, draw) for name in ORDERS for draw in range(4 if name in DRAWN else 1)}
    assert set(found) == expected
    for nodes in found.values():
        assert nodes.dtype == np.int64
        np.testing.assert_array_equal(np.sort(nodes), np.arange(35))


def test_scores_and_activity_fall():
    found = made()
    np.testing.assert_array_equal(found["synergy", 0], np.argsort(-SCORES))
    np.testing.assert_array_equal(found["redundancy", 0], np.argsort(SCORES))
    np.testing.assert_array_equal(found["norm", 0], np.argsort(-ACTIVITY))


@pytest.mark.parametrize("draw", range(4))
def test_layer_matched_takes_as_many_of_each_layer_at_every_count(draw):
    found = made()
    matched, synergy = found["layer_matched", draw], found["synergy", 0]
    for count in range(36):
        own, other = (
            np.bincount(LAYERS[order[:count]], minlength=5) for order in (matched, synergy)
        )
        np.testing.assert_array_equal(own, other)
    assert (matched != synergy).any()


def test_chance_alone_decides_which_nodes_of_a_layer_layer_matched_takes():
    """The first node is each of the seven of its layer about as often."""
    firsts = [
        order.nodes[0] for order in orders_of(SCORES, LAYERS, names="layer_matched", draws=1400)
    ]
    layer = LAYERS[np.argmax(SCORES)]
    counts = np.bincount(firsts, minlength=35)
    assert counts[layer != LAYERS].sum() == 0
    # 200 expected of each, with a standard deviation of 13: five of them.
    assert np.abs(counts[layer == LAYERS] - 200).max() < 65


def test_layer_only_goes_through_layers_by_their_mean_score():
    means = [SCORES[layer == LAYERS].mean() for layer in range(5)]
    for draw in range(4):
        nodes = made()["layer_only", draw]
        np.testing.assert_array_equal(LAYERS[nodes], np.repeat(np.argsort(means)[::-1], 7))
    assert (made()["layer_only", 0] != made()["layer_only", 1]).any()


def test_an_order_is_the_same_whatever_else_is_asked_for():
    found = made(seed=3)
    alone = {
        (o.name, o.draw): o.nodes
        for name in ORDERS[::-1]
        for o in orders_of(SCORES, LAYERS, names=[name], activity=ACTIVITY, draws=2, seed=3)
    }
    for key, nodes in alone.items():
        np.testing.assert_array_equal(nodes, found[key])
    assert (made(seed=4)["random", 0] != found["random", 0]).any()


def test_draws_by_name():
    found = made(draws={"random": 3, "layer_only": 1})
    assert [sum(name == each for name, _ in found) for each in DRAWN] == [3, 20, 1]


@pytest.mark.parametrize("name", ORDERS)
def test_reversed_is_from_the_end(name):
    found = made(names=[name, f"{name}_reversed"], draws=2)
    for draw in range(2 if name in DRAWN else 1):
        np.testing.assert_array_equal(found[name, draw][::-1], found[f"{name}_reversed", draw])


def test_chance_decides_between_equals_and_not_the_index():
    ties = np.repeat([1.0, 0.0], 50)
    found = {
        seed: orders_of(ties, np.zeros(100, int), names=["synergy", "redundancy"], seed=seed)
        for seed in (0, 1)
    }
    for synergy, redundancy in found.values():
        assert set(synergy.nodes[:50]) == set(range(50))
        np.testing.assert_array_equal(synergy.nodes, redundancy.nodes[::-1])
        assert (synergy.nodes != np.arange(100)).any()
    assert (found[0][0].nodes != found[1][0].nodes).any()


def test_nodes_that_are_left_out_are_in_no_order():
    among = np.ones(35, bool)
    among[[0, 8, 20]] = False
    scores = np.where(among, SCORES, np.nan)
    for order in orders_of(scores, LAYERS, activity=ACTIVITY, draws=1, among=among):
        assert set(order.nodes) == set(np.flatnonzero(among))
    kept = np.flatnonzero(among)
    found = of_scores("mine", scores, among=among)
    assert found.name == "mine"
    np.testing.assert_array_equal(found.nodes, kept[np.argsort(-SCORES[kept])])


def test_masks_are_of_the_first_nodes():
    order = orders_of([3.0, 1.0, 2.0], [0, 0, 1], names=["synergy"])[0]
    assert order.masks(0, 3).tolist() == [[False] * 3]
    assert order.masks(2, 3).tolist() == [[True, False, True]]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"scores": np.where(np.arange(35) % 9, SCORES, np.nan)},
            "scores: 4 of 35 nodes have none (indices 0, 9, 18, 27)",
        ),
        ({"scores": SCORES[None]}, "scores: float64 of shape (1, 35)"),
        ({"scores": []}, "scores: float64 of shape (0,)"),
        ({"layers": LAYERS[:4]}, "layers: int64 of shape (4,) for 35 scores"),
        ({"layers": LAYERS / 2}, "layers: float64 of shape (35,)"),
        ({"names": ["synergie"]}, "orders: 'synergie' is no order"),
        ({"names": []}, "orders: () is no order"),
        ({"names": ["norm", "norm"]}, "names one twice"),
        ({"draws": 0}, "draws: 0 of 'random'"),
        ({"draws": {"norm": 2}}, "draws: chance has no part in the order 'norm'"),
        ({"activity": None}, "activity: the order 'norm' needs"),
        ({"activity": ACTIVITY[:3]}, "one number for each of 35 nodes"),
        ({"activity": np.full(35, np.nan)}, "activity: 35 of 35 nodes have none"),
        ({"among": [True]}, "among: bool of shape (1,) for 35 nodes"),
        ({"among": np.zeros(35, bool)}, "among: there is no node in it"),
    ],
)
def test_refusals(changed, said):
    options = {"scores": SCORES, "layers": LAYERS, "activity": ACTIVITY, **changed}
    scores, layers = options.pop("scores"), options.pop("layers")
    with pytest.raises(ValueError, match=re.escape(said)):
        orders_of(scores, layers, **options)


def test_orders_and_curves_need_no_torch():
    code = """
import sys
from synkern.interventions.curve import AblationCurve
from synkern.interventions.orders import orders_of
assert len(orders_of([1.0, 2.0], [0, 1], names=["synergy", "random"], draws=2)) == 3
assert "torch" not in sys.modules
"""
    done = without_torch.run(code)
    assert done.returncode == 0, done.stderr

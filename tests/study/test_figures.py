"""The figures of a study: that they show its numbers, whatever the model's shape."""

import io

import matplotlib as mpl
import numpy as np
import pytest

from support.random_atoms import HEAD, LAYER, atoms, mean_of
from support.tiny_study import HEADS
from synkern.analysis.scores import RANKINGS
from synkern.study.report import (
    excess_matrices,
    layer_profile_curves,
    null_curves,
    pair_matrices,
    routing_maps,
    score_maps,
    synergy_curves,
)
from synkern.study.report.maps import is_sorted
from synkern.study.words import Words

pytestmark = pytest.mark.painted


def test_pair_matrices_have_layers_and_units():
    sts, rtr = mean_of(*atoms())
    figure = pair_matrices(sts, rtr, LAYER, "title", HEADS)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in panels] == ["Synergy (sts)", "Redundancy (rtr)"]
    for axes, matrix in zip(panels, (sts, rtr), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array().filled(np.nan), matrix)
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2", "5"]
        np.testing.assert_allclose(axes.get_xticks(), [1, 3.5, 6, 9])  # the middle of each layer
        boundaries = sorted(line.get_ydata()[0] for line in axes.lines[::2])
        assert boundaries == [2.5, 4.5, 7.5]
    bars = [axes.get_ylabel() for axes in figure.axes if axes not in panels]
    assert bars == ["synergy (nats)", "redundancy (nats)"]


def test_maps_put_every_node_where_it_is():
    scores = {"rank_difference": np.arange(11.0) - 5, "mean_difference": np.arange(11.0)}
    figure = score_maps(scores, LAYER, HEAD, "title", HEADS)
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = ["rank difference", "mean difference (as published)"]
    assert [axes.get_title() for axes in panels] == titles
    grid = panels[0].images[0].get_array().filled(np.nan)
    assert grid.shape == (4, 3)
    assert grid[3, 2] == 5
    assert grid[1, 1] == -1
    assert np.isnan(grid[1, 2])  # layer 1 has two heads
    # Around zero: as much colour below as above; otherwise the whole scale.
    assert panels[0].images[0].get_clim() == (-5, 5)
    assert panels[1].images[0].get_clim() == (0, 10)


def test_profile_curves_can_be_told_apart_without_colour(profiles):
    figure = layer_profile_curves(profiles, "title")
    panels = figure.axes
    titles = ["mean difference (as published)", "rank difference", "balance"]
    assert [axes.get_title() for axes in panels] == titles
    for axes, ranking in zip(panels, RANKINGS, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        assert lines["trained"].get_linestyle() != lines["random"].get_linestyle()
        np.testing.assert_array_equal(lines["random"].get_ydata(), profiles["random"][ranking].mean)
        assert axes.get_xlabel() == "relative depth"
    assert "scaled" in panels[0].get_ylabel()


def test_drawing_leaves_no_global_state():
    before = dict(mpl.rcParams)
    figure = pair_matrices(*mean_of(*atoms()), LAYER, "title", HEADS)
    figure.savefig(io.BytesIO(), format="png")
    assert dict(mpl.rcParams) == before


def test_an_incomplete_excess_looks_it(profiles):
    missing = {name: np.full(4, 0.25) for name in profiles}
    figure = synergy_curves(profiles, missing, "title", "bits")
    grid = np.array(figure.axes).reshape(2, 3)
    assert [axes.get_title() for axes in grid[0]] == [
        *("Synergy (sts)", "Beyond persistence", "Without a reference")
    ]
    assert [axes.get_ylabel() for axes in grid[:, 0]] == [
        f"{name}\nbits, mean of the layer" for name in ("trained", "random")
    ]
    for axes, name in zip(grid[:, 1], profiles, strict=True):
        profile = profiles[name]["excess_synergy"]
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines[name].get_ydata(), profile.mean)
        unrelated = profiles[name]["unrelated_excess"].mean
        np.testing.assert_array_equal(lines["if unrelated"].get_ydata(), unrelated)
        assert ("parabola" in lines) == profile.complete
        assert bool(axes.texts) != profile.complete
    assert [bar.get_height() for bar in grid[0, 2].patches] == [0.25] * 4
    raw = synergy_curves(profiles, {}, "title")
    assert [axes.get_title() for axes in raw.axes] == ["Synergy (sts)"] * 2
    # One model may have an excess and the other none.
    only = {"trained": profiles["trained"], "random": {"synergy": profiles["random"]["synergy"]}}
    figure = synergy_curves(only, {"trained": missing["trained"]}, "title")
    for axes in np.array(figure.axes).reshape(2, 3)[1, 1:]:
        assert [text.get_text() for text in axes.texts] == ["none"]


def test_the_excess_map_is_centred_and_leaves_gaps_grey():
    excess = np.where(np.eye(11, dtype=bool), np.nan, 0.5 - atoms()[0][0])
    excess[0, 1] = excess[1, 0] = np.nan
    figure = excess_matrices(excess, np.full((11, 11), 0.5), LAYER, "title", HEADS, "bits")
    panels = [axes for axes in figure.axes if axes.get_title()]
    low, high = panels[0].images[0].get_clim()
    assert low == -high < 0
    np.testing.assert_array_equal(panels[0].images[0].get_array().filled(np.nan), excess)
    assert panels[1].images[0].get_clim() == (0, 1)
    assert "excess of sts (bits)" in [axes.get_ylabel() for axes in figure.axes]
    nothing = excess_matrices(excess * np.nan, np.zeros((11, 11)), LAYER, "title", HEADS)
    nothing.savefig(io.BytesIO(), format="png")


def test_null_curves_are_shares_of_the_pairs_of_a_layer():
    q = np.where(LAYER[:, None] + LAYER[None, :] <= 2, 0.01, 0.5)
    q[np.arange(11), np.arange(11)] = np.nan
    test = {"p": q / 5, "q": q, "z": np.full((11, 11), -2.0)}
    figure = null_curves({"trained": {"sts": test, "rtr": test}}, LAYER, 0.05, "title", HEADS)
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    by_hand = [
        np.mean([q[i, j] <= 0.05 for i in np.flatnonzero(k == LAYER) for j in range(11) if i != j])
        for k in (0, 1, 2, 5)
    ]
    np.testing.assert_allclose(lines["trained: q ≤ 0.05"], by_hand)
    np.testing.assert_array_equal(figure.axes[2].lines[0].get_ydata(), -2.0)


EXPERTS = Words("experts", "expert", "experts", True, "weighted", "norm")


def nodes_of(layers, count):
    return np.repeat(layers, count), np.tile(np.arange(count), len(layers))


def test_many_nodes_of_a_layer_get_the_width_of_the_page(rng):
    layer, index = nodes_of(np.arange(1, 27), 64)
    scores = {"mean_difference": rng.random(len(layer)), "balance": rng.random(len(layer))}
    figure = score_maps(scores, layer, index, "title", EXPERTS)
    figure.savefig(io.BytesIO(), format="png")
    panels = [axes for axes in figure.axes if axes.images]
    assert len(panels) == 2
    for axes, score in zip(panels, scores.values(), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), score.reshape(26, 64))
        # Wide enough for every node to be seen: some pixels each.
        across, up = axes.get_window_extent().size
        assert across / 64 > 8
        assert up / 26 > 6
        assert axes.get_ylabel() == "layer"
        assert axes.get_yticklabels()[0].get_text() == "1"
    assert panels[-1].get_xlabel() == "expert"


def test_more_nodes_than_can_be_told_apart_are_drawn_in_order(rng):
    layer, index = nodes_of([0, 2, 3], 1536)
    score = rng.standard_normal(len(layer))
    score[5] = np.nan
    neurons = Words("neurons", "neuron", "neurons", True, "activation", "value")
    assert is_sorted(index, neurons)
    figure = score_maps({"mean_difference": score}, layer, index, "title", neurons)
    axes = figure.axes[0]
    rows = axes.images[0].get_array().filled(np.nan)
    assert (np.diff(rows, axis=1) >= 0).all()
    np.testing.assert_allclose(rows[0, [0, 50, -1]], np.nanpercentile(score[:1536], [0, 50, 100]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2", "3"]
    assert axes.get_xlabel() == "neurons of the layer, by score"


def test_one_node_a_layer_is_a_bar_at_its_layer():
    layer = np.array([0, 1, 5])
    mlps = Words("mlps", "MLP block", "MLP blocks", False, "norm", "norm")
    figure = score_maps({"balance": np.array([0.1, -0.2, 0.3])}, layer, layer * 0, "title", mlps)
    bars = figure.axes[0].patches
    assert [bar.get_x() + bar.get_width() / 2 for bar in bars] == pytest.approx([0, 1, 5])
    assert [bar.get_height() for bar in bars] == [0.1, -0.2, 0.3]
    assert figure.axes[0].get_xlabel() == "layer"


def test_ranks_are_drawn_against_routing_frequency(rng):
    layer, index = nodes_of([1, 2, 3, 4], 5)
    share = np.arange(20) / 40
    scores = {"mean_difference": rng.random(20), "balance": -share}
    figure = routing_maps(share, scores, layer, index, "title", EXPERTS)
    figure.savefig(io.BytesIO(), format="png")
    panels = [axes for axes in figure.axes if axes.get_title()]
    titles = ["routing frequency", "mean difference (as published)", "balance"]
    assert [axes.get_title() for axes in panels] == titles
    np.testing.assert_array_equal(panels[0].images[0].get_array(), share.reshape(4, 5))
    assert panels[0].images[0].get_clim() == (0, share.max())
    points = panels[2].collections[0].get_offsets()
    np.testing.assert_array_equal(points, np.stack([share, np.arange(20, 0, -1)], 1))


def test_matrices_larger_than_the_page_are_averaged_instead_of_thinned_out(rng):
    layer = np.repeat(np.arange(6), 100)
    matrix = rng.random((600, 600))
    figure = pair_matrices(matrix, matrix, layer, "title", EXPERTS)
    figure.savefig(io.BytesIO(), format="png")
    assert figure.axes[0].images[0].get_interpolation() in ("antialiased", "auto")
    assert figure.axes[0].get_xlabel() == "expert, by layer"

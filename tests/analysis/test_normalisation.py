"""Three normalisations of profiles over depth: against loops, and what each keeps or loses."""

import numpy as np
import pytest

from synkern.analysis.normalisation import NORMALISATIONS, normalised, on_grid

LAYER = np.array([0, 0, 0, 1, 1, 2, 2, 2, 5, 5, 5])


def by_hand(scores, layer):
    """Mean quantile of the nodes of each layer, with loops; equal scores share their mean rank."""
    valid = [s for s in scores if np.isfinite(s)]
    quantiles = []
    for score in scores:
        below = sum(other < score for other in valid)
        equal = sum(other == score for other in valid)
        quantiles.append((below + (equal - 1) / 2) / (len(valid) - 1))
    out = []
    for one in sorted(set(layer)):
        mine = [i for i, k in enumerate(layer) if k == one and np.isfinite(scores[i])]
        out.append(sum(quantiles[i] for i in mine) / len(mine))
    return np.array(out)


@pytest.mark.parametrize("ties", [False, True])
def test_every_normalisation_is_what_its_definition_says(ties):
    scores = np.random.default_rng(3).normal(size=11)
    scores = np.round(scores) if ties else scores
    scores[4] = np.nan
    found = normalised(scores, LAYER)
    expected = by_hand(scores, LAYER)
    # Quotients of small whole numbers: a rounding or two.
    np.testing.assert_allclose(found["node_quantile"], expected, rtol=0, atol=1e-15)
    ranks = [
        sum(o < e for o in expected) + (sum(o == e for o in expected) - 1) / 2 for e in expected
    ]
    np.testing.assert_allclose(found["layer_rank"], np.array(ranks) / 3, rtol=0, atol=1e-15)
    span = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(found["minmax"], span, rtol=0, atol=1e-14)
    assert tuple(found) == NORMALISATIONS


def test_the_unit_of_a_score_plays_no_part_and_draws_are_rows():
    rows = np.random.default_rng(0).normal(size=(5, 11))
    several = normalised(rows, LAYER)
    for normalisation, values in several.items():
        assert values.shape == (5, 4)
        np.testing.assert_array_equal(
            values[2], normalised(np.exp(3 * rows[2]), LAYER)[normalisation]
        )


def test_layer_rank_hides_the_size_that_node_quantile_keeps():
    layer = np.repeat(np.arange(4), 50)
    noise = np.random.default_rng(1).normal(size=200)
    little = normalised(noise + 0.1 * layer, layer)
    much = normalised(noise + 10.0 * layer, layer)
    np.testing.assert_array_equal(much["layer_rank"], np.arange(4) / 3)
    assert np.ptp(little["layer_rank"]) == np.ptp(much["layer_rank"]) == 1
    # Layers that do not overlap: means of 50 of 200 ranks, 150 apart from first to last.
    assert np.ptp(much["node_quantile"]) == pytest.approx(150 / 199)
    assert np.ptp(little["node_quantile"]) < 0.3


def test_layers_that_are_all_alike_have_no_minmax():
    found = normalised(np.ones(11), LAYER)
    np.testing.assert_array_equal(found["node_quantile"], np.full(4, 0.5))
    np.testing.assert_array_equal(found["layer_rank"], np.full(4, 0.5))
    assert np.isnan(found["minmax"]).all()


def test_a_layer_without_any_score_is_missing_and_the_rest_is_not():
    scores = np.arange(11.0)
    scores[3:5] = np.nan
    for values in normalised(scores, LAYER).values():
        assert np.isnan(values[1])
        assert np.isfinite(values[[0, 2, 3]]).all()


def test_layers_and_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="single number"):
        normalised(1.0, [0])
    with pytest.raises(ValueError, match="one integer for each of the 5 nodes"):
        normalised(np.ones(5), LAYER)
    with pytest.raises(ValueError, match="at least 3"):
        normalised(np.arange(4.0), [0, 0, 1, 1])


def test_between_layers_a_profile_is_a_straight_line():
    depth = np.array([0, 0.2, 0.4, 1])
    rows = np.random.default_rng(2).normal(size=(3, 4))
    grid = np.linspace(0, 1, 26)
    expected = np.stack([np.interp(grid, depth, row) for row in rows])
    np.testing.assert_allclose(on_grid(rows, depth, 26), expected, rtol=0, atol=1e-14)


def test_a_missing_layer_is_missing_beside_it_only():
    row = np.array([1.0, np.nan, 3.0, 4.0, 5.0])
    found = on_grid(row, np.linspace(0, 1, 5), 9)
    np.testing.assert_array_equal(np.isnan(found), [0, 1, 1, 1, 0, 0, 0, 0, 0])
    assert np.isnan(on_grid(row[::-1], np.linspace(0, 1, 5), 9)).sum() == 3


@pytest.mark.parametrize("points", [2, 26.0, True])
def test_a_grid_has_points(points):
    with pytest.raises(ValueError, match="points"):
        on_grid(np.ones(3), np.array([0, 0.5, 1]), points)

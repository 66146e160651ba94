"""Two conditions on the same problems: against sums over all outcomes, and formulas."""

from math import comb

import numpy as np
import pytest

from synkern.interventions.accuracy.paired import (
    McNemar,
    majority,
    mcnemar,
    paired_difference,
)


@pytest.mark.parametrize("lost", [0, 1, 3, 7])
@pytest.mark.parametrize("gained", [0, 1, 2, 7, 12])
def test_mcnemar_is_the_share_of_coins_that_fall_so_unevenly(lost, gained):
    differ = lost + gained
    uneven = abs(lost - gained)
    ways = sum(comb(differ, k) for k in range(differ + 1) if abs(2 * k - differ) >= uneven)
    assert McNemar(lost, gained).p == pytest.approx(ways / 2**differ, rel=1e-15)


def test_mcnemar_counts_problems_that_one_alone_has_right():
    first = np.array([True, True, True, False, False])
    second = np.array([True, False, False, True, False])
    assert mcnemar(first, second) == McNemar(lost=2, gained=1)
    assert mcnemar(second, first) == McNemar(lost=1, gained=2)


def test_mcnemar_of_thousands_of_problems_needs_no_floating_point():
    assert 0 < McNemar(2300, 2700).p < 1e-7
    assert McNemar(2500, 2500).p == 1
    assert McNemar(0, 5000).p == 0  # 2**-4999 is below every float64


def test_a_condition_differs_from_itself_by_nothing():
    right = np.arange(40) % 3 == 0
    found = paired_difference(right, right)
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_the_interval_over_problems_is_that_of_the_mean_of_differences(rng):
    one, other = rng.random((2, 600)) < np.array([[0.6], [0.45]])
    found = paired_difference(one, other, resamples=20_000)
    differences = one.astype(float) - other
    assert found.mean == pytest.approx(differences.mean(), abs=1e-15)
    half = 1.959964 * differences.std() / np.sqrt(600)
    # A quantile at 2.5 % of 20,000 normal draws has a standard error of
    # sqrt(0.025 * 0.975 / 20000) / 0.0584 = 0.019 standard deviations, 1 % of the half width; the
    # skewness of a mean of 600 moves it by less than 2 %.
    assert found.mean - found.low == pytest.approx(half, rel=0.07)
    assert found.high - found.mean == pytest.approx(half, rel=0.07)


def test_draws_and_seeds_are_drawn_again_too():
    """Where problems are all alike, all that varies is what is drawn: the variance is known."""
    of_runs = np.array([[0.2, 0.4, 0.9], [0.5, 0.7, 0.6]])
    one = np.repeat(of_runs[..., None], 5, axis=2)
    other = np.zeros(5, bool)
    within = of_runs.var(1).mean() / (2 * 3)
    between = of_runs.mean(1).var() / 2
    found = paired_difference(one, other, resamples=40_000, confidence=0.6827)
    half = (found.high - found.low) / 2
    assert found.mean == pytest.approx(0.55, abs=1e-15)
    # Of so few values the distribution is lumpy: its quantiles are near those of a normal one.
    assert half == pytest.approx(np.sqrt(within + between), rel=0.15)
    alone = paired_difference(one[:1, :1], other)
    assert (alone.low, alone.high) == (pytest.approx(0.2), pytest.approx(0.2))


def test_problems_are_the_same_in_both_conditions():
    """Both fall on the same problems: their difference is sure, whatever problems are drawn."""
    one = np.arange(50) < 20
    half = 0.5 * one
    found = paired_difference(half, np.zeros(50, bool))
    same = paired_difference(np.stack([one, one])[:, None], one)
    assert (same.low, same.high) == (0, 0)
    assert found.low < 0.2 < found.high


def test_majority_of_runs():
    right = np.array([[[1, 1, 0, 0]], [[1, 0, 0, 1]], [[1, 1, 0, 0]]], bool)
    assert majority(right).tolist() == [True, True, False, False]
    assert majority(right[:2]).tolist() == [True, False, False, False]


@pytest.mark.parametrize(
    ("one", "other", "options", "match"),
    [
        ([True], [True, False], {}, "1 problems and 2"),
        ([], [], {}, "none of them zero"),
        ([[True]], [True], {}, r"got shape \(1, 1\)"),
        ([1.5], [True], {}, "one must be right or not"),
        ([np.nan], [True], {}, "one must be right or not"),
        ([True], [True], {"resamples": 0}, "resamples"),
        ([True], [True], {"confidence": 1}, "confidence"),
    ],
)
def test_what_cannot_be_compared_is_refused(one, other, options, match):
    with pytest.raises(ValueError, match=match):
        paired_difference(one, other, **options)


def test_mcnemar_refuses_shares_and_other_problems():
    with pytest.raises(ValueError, match="truth values"):
        mcnemar(np.array([0.5]), np.array([True]))
    with pytest.raises(ValueError, match="same problems"):
        mcnemar(np.array([True]), np.array([True, True]))

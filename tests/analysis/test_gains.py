"""Gains of runs by condition: hand-computed values, brute force, published runs, refusals."""

import sys
from itertools import combinations
from math import comb, sqrt

import numpy as np
import pytest

from synkern.analysis import Gains
from synkern.analysis.two_samples import MOST_ARRANGEMENTS, hedges_g, holm, permuted
from synkern.study.published import published

stats = pytest.importorskip("scipy.stats", reason="the extra train is not installed")

# Of numbers of the order 1 from some ten sums, products and roots: many times the rounding.
RTOL = 1e-12
QUANTILE = 1e-10
"""Of Student's t: scipy 1.15 finds its quantiles to some 1e-11."""


def runs_of(table):
    return {row["condition"]: [run / 100 for run in row["runs"]] for row in table["rows"]}


def by_pair(gains):
    return {(each.first, each.second): each for each in gains.comparisons}


def brute_force(a, b):
    """Two-sided p in whole numbers: twice the smaller tail over all ways to deal the runs."""
    runs, total = [*a, *b], sum(a) + sum(b)
    # Mean of one group against the other, times both sizes: whole, and rises with the sum of one.
    scores = [
        len(b) * sum(chosen) - len(a) * (total - sum(chosen))
        for chosen in combinations(runs, len(a))
    ]
    observed = len(b) * sum(a) - len(a) * sum(b)
    tails = sum(s >= observed for s in scores), sum(s <= observed for s in scores)
    return min(1.0, 2 * min(tails) / len(scores)), len(scores)


def test_means_intervals_and_gains_are_those_computed_by_hand():
    gains = Gains({"synergy": [0.5, 0.6, 0.7]}, before=0.4, tasks=100)
    one = gains.conditions["synergy"]
    # SD 10 points; t of 2 degrees of freedom at 97.5 % is sqrt(2) * 0.95 / sqrt(1 - 0.95^2).
    half = sqrt(2) * 0.95 / sqrt(1 - 0.95**2) * 10 / sqrt(3)
    assert (one.runs, one.note) == (3, "")
    np.testing.assert_allclose([one.mean, one.sd, one.least, one.most], [60, 10, 50, 70], RTOL)
    np.testing.assert_allclose(one.interval, [60 - half, 60 + half], QUANTILE)
    np.testing.assert_allclose(one.gain, 20, RTOL)
    np.testing.assert_allclose(one.gain_interval, [20 - half, 20 + half], QUANTILE)
    np.testing.assert_allclose(gains.standard_error, 100 * sqrt(0.6 * 0.4 / 100), RTOL)
    assert gains.comparisons == ()


def test_a_difference_is_that_of_welch_and_by_seed_that_of_pairs():
    accuracies = {"synergy": [0.50, 0.58, 0.63, 0.61], "random": [0.49, 0.55, 0.62]}
    seeds = {"synergy": [0, 1, 2, 3], "random": [2, 0, 1]}
    (found,) = Gains(accuracies, seeds).comparisons
    a, b = (100 * np.array(each) for each in accuracies.values())
    expected = stats.ttest_ind(a, b, equal_var=False)
    np.testing.assert_allclose(found.difference, a.mean() - b.mean(), RTOL * 100)
    np.testing.assert_allclose(found.interval, expected.confidence_interval(), QUANTILE)
    np.testing.assert_allclose(found.welch_p, expected.pvalue, 1e-10)
    by_seed = stats.ttest_rel(a[:3], [55, 62, 49])
    assert found.pairs == 3
    np.testing.assert_allclose(found.paired, (50 - 55 + 58 - 62 + 63 - 49) / 3, 1e-10)
    np.testing.assert_allclose(found.paired_interval, by_seed.confidence_interval(), QUANTILE)


def test_hedges_g_is_that_computed_by_hand():
    # Pooled SD 1, difference 2; for 4 degrees of freedom the correction is gamma(2) /
    # (sqrt(2) gamma(1.5)) = sqrt(2 / pi).
    found = hedges_g(np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(found, 2 * sqrt(2 / np.pi), RTOL)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((50, 51, 52, 53, 54), (45, 46, 47, 48, 49)),
        ((50, 51, 52, 53, 54), (48, 50, 50, 51, 53)),  # with ties
        ((41, 45, 45), (45, 46, 41, 45, 49)),
        ((50, 52), (49, 51, 57)),
        ((50, 50, 51), (50, 51, 50)),  # equal means
    ],
)
def test_the_permutation_p_is_that_of_all_arrangements(a, b):
    # Shares of 77 tasks, which float64 does not hold exactly.
    found = permuted(np.array(a) / 77, np.array(b) / 77)
    p, ways = brute_force(a, b)
    np.testing.assert_allclose(found["p"], p, RTOL)
    assert (found["arrangements"], found["exact"]) == (ways, True)
    assert found["smallest_p"] == 2 / ways
    assert found["p"] >= found["smallest_p"]


def test_too_many_arrangements_are_drawn_and_said_to_be():
    assert comb(24, 12) > MOST_ARRANGEMENTS
    apart = permuted(np.arange(12) / 100, np.arange(12) / 100 + 0.5)
    assert not apart["exact"]
    assert apart["arrangements"] == MOST_ARRANGEMENTS - 1
    # Of 2.7 million arrangements two are as far apart: at most a few of those drawn.
    assert apart["smallest_p"] == 2 / MOST_ARRANGEMENTS <= apart["p"] <= 20 / MOST_ARRANGEMENTS


def test_holm_is_that_computed_by_hand():
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.5]), [0.09, 0.04, 0.09, 0.5], RTOL)
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_published_runs_by_reinforcement_are_as_stated():
    (table,) = [t for t in published("tuning")["tables"] if t["method"] == "grpo"]
    gains = Gains(runs_of(table), tasks=5000)
    pairs = by_pair(gains)
    redundancy, random = pairs["synergy", "redundancy"], pairs["synergy", "random"]
    assert (round(random.hedges_g, 2), round(redundancy.hedges_g, 2)) == (1.39, 5.05)
    assert (round(random.difference, 2), round(redundancy.difference, 2)) == (0.41, 0.67)
    assert round(random.welch_p, 3) == 0.055
    assert redundancy.welch_p < 0.001
    assert redundancy.p == redundancy.smallest_p == 2 / 252
    np.testing.assert_allclose(random.p, 14 / 252, RTOL)
    np.testing.assert_allclose(
        [redundancy.holm_p, random.holm_p], [3 * redundancy.p, 2 * random.p], RTOL
    )
    assert [each.holds for each in gains.comparisons] == [True, False, False]
    assert round(gains.standard_error, 2) == 0.70
    assert gains.finding.endswith(
        "One evaluation on 5,000 tasks has a standard error of 0.70 points; smaller than that: "
        "the difference of synergy and redundancy."
    )


@pytest.mark.parametrize("method", ["grpo", "sft"])
def test_what_is_shipped_of_published_comparisons_is_computed_from_their_runs(method):
    (table,) = [t for t in published("tuning")["tables"] if t["method"] == method]
    gains = by_pair(Gains(runs_of(table)))
    assert len(table["comparisons"]) == len(gains) == 3
    for row in table["comparisons"]:
        found = gains[row["first"], row["second"]]
        # Two decimals of points and g, four of p, as the file has them.
        for name in ("difference", "hedges_g"):
            assert row[name] == round(getattr(found, name), 2), name
        assert row["interval"] == [round(end, 2) for end in found.interval]
        for name in ("welch_p", "p", "holm_p"):
            assert row[name] == round(getattr(found, name), 4), name


FIVE = [0.50, 0.51, 0.52, 0.53, 0.54]
LOWER = [0.40, 0.41, 0.42, 0.43, 0.44]


def test_the_family_is_of_conditions_that_train_as_many_and_all_has_no_p():
    names = ("all", "synergy", "redundancy", "random", "layer_matched")
    gains = Gains({name: FIVE for name in names} | {"redundancy": LOWER})
    pairs = by_pair(gains)
    assert [*pairs] == [
        ("synergy", "redundancy"),
        ("synergy", "random"),
        ("synergy", "layer_matched"),
        ("redundancy", "random"),
        ("synergy", "all"),
    ]
    beside = pairs["synergy", "all"]
    assert (beside.p, beside.holm_p, beside.welch_p) == (None, None, None)
    assert beside.interval is not None
    assert "no test" in beside.note
    assert len(gains.tested) == 4
    # 2 / 252 twice: times 4, and the second no less than the first.
    assert pairs["synergy", "redundancy"].holm_p == pairs["redundancy", "random"].holm_p == 8 / 252
    assert pairs["synergy", "random"].holm_p == 1
    assert "synergy ends 10.00 points above redundancy (p 0.032)" in gains.finding
    assert "random ends 10.00 points above redundancy (p 0.032)" in gains.finding
    assert "Nothing distinguishes synergy from random (+0.00 points, p 1.000)" in gains.finding


def test_where_nothing_distinguishes_it_is_said():
    gains = Gains({"synergy": FIVE, "random": FIVE[::-1]}, before=0.51, tasks=400)
    assert gains.finding == (
        "Before training 51.00 % of 400 tasks are right; points gained by it (mean of runs [95 %]):"
        " synergy +1.00 [−0.96, 2.96]; random +1.00 [−0.96, 2.96]. By a permutation test nothing "
        "distinguishes synergy from random (+0.00 points, p 1.000). One evaluation on 400 tasks has"
        " a standard error of 2.50 points; smaller than that: the gain of synergy, the gain of "
        "random."
    )


def test_few_runs_cannot_hold_and_it_is_said():
    gains = Gains({"synergy": [0.7, 0.71, 0.72], "random": [0.1, 0.2, 0.3]})
    assert gains.out_of_reach
    (found,) = gains.comparisons
    assert found.p == found.smallest_p == 2 / 20
    assert "With so few runs nothing could: the smallest p they can give is 0.100." in gains.finding
    enough = Gains({"synergy": FIVE, "random": LOWER})
    assert not enough.out_of_reach


def test_one_run_is_nothing_to_compare():
    gains = Gains({"synergy": FIVE, "random": [0.4]}, {"synergy": range(5), "random": [0]}, 0.3)
    one = gains.conditions["random"]
    assert (one.sd, one.interval, one.gain_interval) == (None, None, None)
    assert one.note == "1 run: no interval"
    (found,) = gains.comparisons
    np.testing.assert_allclose(found.difference, 12, RTOL)
    assert found.note == "random: 1 run, nothing to compare"
    assert {found.p, found.interval, found.hedges_g, found.paired, found.holm_p} == {None}
    assert gains.tested == ()
    assert "Not compared: synergy and random (random: 1 run, nothing to compare)." in gains.finding


@pytest.mark.parametrize(("other", "said"), [(0.6, "undefined"), (0.3, "infinite")])
def test_without_spread_there_is_no_effect_size_and_the_reason_is_said(other, said):
    seeds = {"synergy": range(4), "random": range(4)}
    gains = Gains({"synergy": [0.6] * 4, "random": [other] * 4}, seeds)
    (found,) = gains.comparisons
    assert (found.interval, found.hedges_g, found.welch_p, found.paired_interval) == (None,) * 4
    assert f"an effect size is {said}" in found.note
    assert "the same difference at every seed" in found.note
    assert found.p == (1 if other == 0.6 else 2 / comb(8, 4))
    assert gains.conditions["synergy"].sd == 0
    assert gains.conditions["synergy"].note == "all 4 runs are equal: no interval"


def test_spread_in_one_of_two_is_enough():
    (found,) = Gains({"synergy": [0.6] * 3, "random": [0.4, 0.5, 0.6]}).comparisons
    # Welch's degrees of freedom are those of the one that varies.
    half = sqrt(2) * 0.95 / sqrt(1 - 0.95**2) * 10 / sqrt(3)
    np.testing.assert_allclose(found.interval, [10 - half, 10 + half], QUANTILE)
    assert found.note == ""


def test_seeds_that_are_not_shared_make_no_pairs():
    accuracies = {"synergy": FIVE, "random": LOWER}
    (apart,) = Gains(accuracies, {"synergy": range(5), "random": range(5, 10)}).comparisons
    assert (apart.pairs, apart.paired) == (0, None)
    assert apart.note == "no seed in common: no difference by seed"
    (one,) = Gains(accuracies, {"synergy": range(5), "random": range(4, 9)}).comparisons
    assert (one.pairs, one.paired_interval) == (1, None)
    np.testing.assert_allclose(one.paired, 14, RTOL)
    assert one.note == "1 seed in common: no interval by seed"
    (unknown,) = Gains(accuracies).comparisons
    assert (unknown.pairs, unknown.paired, unknown.note) == (0, None, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accuracies": {}}, "accuracies: no condition"),
        ({"accuracies": {"synergy": []}}, "'synergy' has no run; leave it out"),
        ({"accuracies": {"random": [0.5, float("nan")]}}, "accuracies of 'random', run 1: nan"),
        ({"accuracies": {"random": [54.6]}}, r"run 0: 54.6; .* from 0 to 1 \(not per cent\)"),
        ({"accuracies": {"random": [-0.1]}}, "run 0: -0.1"),
        ({"accuracies": {"random": [0.5]}, "before": 2}, "before: 2"),
        ({"accuracies": {"random": [0.5]}, "tasks": 0}, "tasks = 0"),
        ({"accuracies": {"random": [0.5]}, "seeds": {}}, r"seeds of 'random': \[\] for 1 runs"),
        (
            {"accuracies": {"random": [0.5, 0.6]}, "seeds": {"random": [3, 3]}},
            r"seeds of 'random': \[3, 3\] for 2 runs; give one for each",
        ),
    ],
)
def test_what_is_no_accuracy_or_no_seed_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Gains(**arguments)


def test_without_scipy_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    gains = Gains({"synergy": FIVE})
    message = r"Gains needs scipy, which is not installed: pip install 'synkern\[train\]'"
    with pytest.raises(ImportError, match=message):
        gains.finding  # noqa: B018

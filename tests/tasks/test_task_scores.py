"""Accuracies, their intervals and chance, and the table that shows them."""

import math

import numpy as np
import pytest

from synkern.tasks import Accuracy, Scores, Task


def scores(levels=(1, 1, 2, None), categories=("a", "b", "b", "")):
    tasks = tuple(
        Task(f"{place}?", "1", ("2", "3") if place == 0 else ("2",), level, category)
        for place, (level, category) in enumerate(zip(levels, categories, strict=True))
    )
    values = ([-2.0, -3, -4], [-1, -1], [-6, -5], [-1, -2])
    tokens = ([1, 1, 1], [1, 1], [3, 1], [1, 1])
    return Scores.of_likelihoods(
        tasks, tuple(map(np.array, values)), tuple(np.array(each) for each in tokens)
    )


@pytest.mark.parametrize("right", [0, 1, 7, 19, 20])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_the_ends_of_the_interval_are_where_a_score_test_turns(right, confidence):
    """Wilson's: shares p whose normal approximation has the observed one z deviations away."""
    accuracy = Accuracy(right, 20, None)
    z = math.sqrt(2) * inverse_erf(confidence)
    for p in accuracy.interval(confidence):
        if 0 < p < 1:
            deviations = abs(accuracy.share - p) / math.sqrt(p * (1 - p) / 20)
            assert deviations == pytest.approx(z, rel=1e-9)
    low, high = accuracy.interval(confidence)
    assert 0 <= low <= accuracy.share <= high <= 1
    assert (low == 0) == (right == 0)
    assert (high == 1) == (right == 20)


def inverse_erf(value):
    low, high = 0.0, 10.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle) < value else (low, middle)
    return low


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_a_confidence_is_between_0_and_1(confidence):
    with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
        Accuracy(1, 2, None).interval(confidence)


def test_the_answer_must_be_more_likely_than_all_others():
    assert scores().right.tolist() == [True, False, False, True]  # the second is a tie
    assert scores().accuracy == 0.5


def test_per_token_divides_before_comparing():
    other = scores().per_token()
    assert other.right.tolist() == [True, False, True, True]
    assert other.method == "likelihood per token"


def test_accuracies_by_level_and_category_with_their_chance():
    made = scores()
    assert made.total == Accuracy(2, 4, (1 / 3 + 3 / 2) / 4)
    levels = made.by("level")
    assert [*levels] == [1, 2, None]
    assert levels[1] == Accuracy(1, 2, (1 / 3 + 1 / 2) / 2)
    assert made.by("category") == {
        "": Accuracy(1, 1, 0.5),
        "a": Accuracy(1, 1, 1 / 3),
        "b": Accuracy(0, 2, 0.5),
    }
    assert made.by("both")["b", 2] == Accuracy(0, 1, 0.5)
    assert sum(each.count for each in made.by("both").values()) == 4
    with pytest.raises(ValueError, match="what must be one of 'level', 'category', 'both'"):
        made.by("prompt")


def test_the_table():
    assert repr(scores()).splitlines() == [
        "Scores of 4 tasks by likelihood: 50.0% (15.0% to 85.0%, chance 45.8%)",
        "  category  level 1  level 2 no level  all",
        "  none                         100.0%  100.0% (20.7% to 100.0%, chance 50.0%)",
        "  a          100.0%                    100.0% (20.7% to 100.0%, chance 33.3%)",
        "  b            0.0%     0.0%           0.0% (0.0% to 65.8%, chance 50.0%)",
        "  all         50.0%     0.0%   100.0%",
    ]


def test_the_table_of_exact_matches_counts_what_was_truncated():
    tasks = (Task("1?", "1"), Task("2?", "2"))
    made = Scores(tasks, np.array([True, False]), "exact match", truncated=np.array([False, True]))
    first = repr(made).splitlines()[0]
    assert first == (
        "Scores of 2 tasks by exact match: 50.0% (9.5% to 90.5%), 1 truncated (counted as wrong)"
    )
    with pytest.raises(ValueError, match="scores by exact match have no likelihoods"):
        made.per_token()

"""scikit-learn's own checks of estimators, and what is left out of them and why."""

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from synkern.data import SynergyConnectivity


class OfShortRows(SynergyConnectivity):
    """Makes series of the rows of two to ten numbers that the checks send.

    A real row is a whole series, of twelve numbers at least. All else is the class itself: how X is
    validated, what `fit` keeps and refuses, names, output, clones.
    """

    def _unflattened(self, table: Any) -> Any:
        rng = np.random.default_rng(0)
        noise, mix = rng.standard_normal((2, 40, 3))
        level = np.tanh(table[:, :1, None])
        return noise + mix * level + table.sum(1)[:, None, None] * np.linspace(0, 1, 40)[:, None]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


WITH_GAPS = {
    "check_estimators_pickle": "it sends NaN, which makes a whole series of `OfShortRows` missing; "
    "of a real row it is one sample"
}
"""By name of a check, why it fails where allow_missing=True. Nothing fails otherwise.

`check_array_api_input` skips itself: it is of estimators that say they compute by the array API.
"""


@parametrize_with_checks(
    [OfShortRows(), OfShortRows(["rtr", "xty"], allow_missing=True)],
    expected_failed_checks=lambda estimator: WITH_GAPS if estimator.allow_missing else {},
)
@pytest.mark.filterwarnings("ignore:.*are degenerate:UserWarning")
@pytest.mark.filterwarnings("ignore:.*as rounding errors of:UserWarning")
def test_what_scikit_learn_asks_of_estimators(estimator, check):
    check(estimator)


def test_tags_say_what_may_come_in():
    """Rows of a table with a number of nodes alone: without, the checks have nothing to send."""
    tags = get_tags(SynergyConnectivity()).input_tags
    assert (tags.three_d_array, tags.two_d_array, tags.allow_nan) == (True, False, False)
    tags = get_tags(SynergyConnectivity(n_nodes=3, allow_missing=True)).input_tags
    assert (tags.three_d_array, tags.two_d_array, tags.allow_nan) == (True, True, True)
    with pytest.warns(SkipTestWarning, match="Can't test estimator SynergyConnectivity"):
        check_estimator(SynergyConnectivity())


def groups_that_differ(subjects: int, time: int, nodes: int) -> tuple[Any, Any]:
    """Series of which, in the second half of the subjects, some pairs share what comes next.

    The first ten nodes of these follow one another's difference, so that their joint past says more
    about the future than each one's own.
    """
    rng = np.random.default_rng(0)
    group = np.arange(subjects) % 2
    series = np.zeros((subjects, time, nodes))
    noise = rng.standard_normal(series.shape)
    coupled = np.where(group, 0.4, 0.0)[:, None]
    for t in range(1, time):
        series[:, t] = 0.4 * series[:, t - 1] + noise[:, t]
        series[:, t, :10] += coupled * np.roll(series[:, t - 1, :10], 1, axis=1)
    return series, group


def test_a_search_in_a_pipeline_finds_what_was_put_in():
    series, group = groups_that_differ(24, 120, 12)
    pipeline = make_pipeline(SynergyConnectivity(), StandardScaler(), LogisticRegression())
    search = GridSearchCV(
        pipeline, {"synergyconnectivity__measure": ["rtr", "sts"]}, cv=3, error_score="raise"
    )
    search.fit(series, group)
    assert search.best_score_ > 0.8
    shuffled = np.random.default_rng(1).permutation(group)
    assert cross_val_score(pipeline, series, shuffled, cv=3).mean() < 0.75
    as_list = [one[: 120 - k] for k, one in enumerate(series)]
    assert cross_val_score(pipeline, as_list, group, cv=3, n_jobs=2).mean() > 0.8

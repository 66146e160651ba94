"""Subjects above trials: means, draws and nulls in which every subject counts once."""

import itertools

import numpy as np
import pytest

import synkern
from synkern.analysis import NodeAverages, PooledAverages, TrialAverages
from synkern.analysis.surrogates import NULLS, Recorded
from synkern.data import Dataset

SUBJECTS = ["b", "a", "b", "c", "b", "c", "a"]
OWN = {"b": [0, 2, 4], "a": [1, 6], "c": [3, 5]}


@pytest.fixture
def series(rng):
    """Seven trials of three subjects; node 2 is constant in one trial of b and in both of c."""
    series = rng.standard_normal((7, 60, 4)).cumsum(1)
    series[[2, 3, 5], :, 2] = 1.0
    return series


def by_hand(each):
    """Means of (trials, ...) over trials with a value, then over subjects with one."""
    out = np.full(each.shape[1:], np.nan)
    for place in itertools.product(*map(range, each.shape[1:])):
        means = []
        for trials in OWN.values():
            known = [each[(t, *place)] for t in trials if np.isfinite(each[(t, *place)])]
            if known:
                means.append(sum(known) / len(known))
        if means:
            out[place] = sum(means) / len(means)
    return out


@pytest.mark.filterwarnings("ignore:.*are degenerate:UserWarning")
def test_means_over_subjects_of_means_over_their_trials(series):
    each = synkern.phiid(series, average=None)
    found = each.trial_mean(SUBJECTS)
    for atom in each:
        np.testing.assert_allclose(found[atom], by_hand(each[atom]), rtol=1e-12)
    assert not np.allclose(found["sts"], each.trial_mean()["sts"], equal_nan=True)
    np.testing.assert_array_equal(each.trial_mean(range(7))["sts"], each.trial_mean()["sts"])
    averages = TrialAverages.of([each]).of_subjects(SUBJECTS)
    assert (averages.trials, averages.entries, averages.missing) == (3, 18, 3)
    np.testing.assert_allclose(averages.mean()["sts"], by_hand(each["sts"]), rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.*are degenerate:UserWarning")
def test_a_draw_is_of_subjects(series):
    each = synkern.phiid(series, average=None)
    averages = TrialAverages.of([each]).of_subjects(SUBJECTS)
    drawn = averages.weighted(np.array([[2.0, 0.0, 1.0]]))["sts"][0]  # b twice, c once
    mean = {name: np.mean([each["sts"][t, 0, 1] for t in own]) for name, own in OWN.items()}
    np.testing.assert_allclose(drawn[0, 1], (2 * mean["b"] + mean["c"]) / 3, rtol=1e-12)
    # Node 2 of c never varies, so that its pairs are b's alone.
    b = np.mean([each["sts"][t, 0, 2] for t in (0, 4)])
    np.testing.assert_allclose(drawn[0, 2], b, rtol=1e-12)
    whole = TrialAverages.of([synkern.phiid(series[:, :, :2], average=None)])
    assert whole.of_subjects(SUBJECTS).valid is None


@pytest.mark.filterwarnings("ignore:.*are degenerate:UserWarning")
def test_means_by_node_count_every_subject_alike(rng):
    """Where all pairs have a value: the mean over the rows of the matrices."""
    series = rng.standard_normal((7, 60, 4)).cumsum(1)
    nodes = NodeAverages.of([synkern.phiid_nodes(series, average=None)]).of_subjects(SUBJECTS)
    pairs = TrialAverages.of([synkern.phiid(series, average=None)]).of_subjects(SUBJECTS)
    weights = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
    for atom in ("sts", "rtr"):
        expected = pairs.by_node(pairs.weighted(weights)[atom])
        np.testing.assert_allclose(nodes.weighted(weights)[atom], expected, rtol=1e-12)
    assert (nodes.trials, nodes.missing) == (3, 0)


def test_pooled_trials_have_no_subjects(rng):
    series = rng.standard_normal((4, 60, 3))
    pooled = PooledAverages.of(series, lambda s: synkern.phiid(s, average="concatenate"))
    with pytest.raises(ValueError, match="pooled have no atoms of their own"):
        pooled.of_subjects("aabb")


@pytest.mark.parametrize(
    ("subjects", "message"),
    [
        (["a"] * 6, "subjects must hold a label for each trial; got 6 for 7 trials"),
        ([*"abcabc", None], r"subjects has no label for 1 of 7 trials, the first \[6\]"),
    ],
)
def test_labels_that_are_missing_are_refused(series, subjects, message):
    series = series[:, :, :2]
    with pytest.raises(ValueError, match=message):
        synkern.phiid(series, average=None).trial_mean(subjects)
    with pytest.raises(ValueError, match=message):
        synkern.null_test(series, n=19, subjects=subjects)


def test_trials_change_places_within_a_subject_alone(rng):
    series = rng.standard_normal((7, 20, 5))
    owner = np.array([0, 1, 0, 2, 0, 2, 1])
    seen = set()
    for _ in range(20):
        drawn = NULLS["cross_trial"](Recorded(np, series, 1, 10, owner), rng).series
        for trial, node in itertools.product(range(7), range(5)):
            (source,) = np.flatnonzero((drawn[trial, :, node] == series[:, :, node]).all(1))
            assert owner[source] == owner[trial]
            seen.add((trial, int(source)))
    assert len(seen) == 3 * 3 + 2 * 2 + 2 * 2


@pytest.mark.filterwarnings("ignore:.*paired in too few ways:UserWarning")
def test_a_null_test_over_subjects_by_hand(rng, tmp_path):
    series = rng.standard_normal((7, 60, 3)).cumsum(1)
    test = synkern.null_test(series, n=19, seed=4, subjects=SUBJECTS)
    again, owner = np.random.default_rng(4), np.array([0, 1, 0, 2, 0, 2, 1])
    drawn = [
        synkern.phiid(
            NULLS["cross_trial"](Recorded(np, series, 1, 10, owner), again).series, average=None
        ).trial_mean(SUBJECTS)["sts"]
        for _ in range(19)
    ]
    observed = by_hand(synkern.phiid(series, average=None)["sts"])
    np.testing.assert_allclose(test.observed["sts"], observed, rtol=1e-12)
    np.testing.assert_allclose(test.null_mean["sts"], np.mean(drawn, 0), rtol=1e-12)
    test.save(tmp_path / "test.npz")
    loaded = synkern.NullTest.load(tmp_path / "test.npz")
    assert loaded.subjects == test.subjects == test.to_xarray().attrs["subjects"] == 3
    assert "3 nodes of 3 subjects against" in repr(loaded)


def test_what_cannot_change_places_is_refused(rng):
    series = rng.standard_normal((6, 60, 3))
    with pytest.raises(ValueError, match="trial 2 is the only one of its subject"):
        synkern.null_test(series, n=19, subjects="aabccc")
    with pytest.raises(ValueError, match="subjects= is for null='cross_trial'"):
        synkern.null_test(series, "phase", n=19, subjects="aaabbb")
    with pytest.warns(UserWarning, match="paired in too few ways"):
        synkern.null_test(series, n=19, subjects="aabbcc")


@pytest.mark.filterwarnings("ignore:.*paired in too few ways:UserWarning")
def test_the_subjects_of_a_data_set_are_those_of_the_null(rng):
    series = rng.standard_normal((7, 60, 3)).cumsum(1)
    names = {"node_names": tuple("xyz"), "trial_names": tuple("1234567")}
    data = Dataset(series=series, subjects=tuple(SUBJECTS), **names)
    found = synkern.null_test(data, n=19)
    expected = synkern.null_test(series, n=19, subjects=SUBJECTS)
    np.testing.assert_array_equal(found.p["sts"], expected.p["sts"])
    np.testing.assert_array_equal(found.null_mean["sts"], expected.null_mean["sts"])
    # The other nulls leave trials in their places.
    shifted = synkern.null_test(data, "row_shift", n=19)
    expected = synkern.null_test(series, "row_shift", n=19)
    np.testing.assert_array_equal(shifted.p["sts"], expected.p["sts"])

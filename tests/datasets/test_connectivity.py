"""Pairs of nodes as features: what they are, in what they come, and how they are named."""

import pickle

import numpy as np
import pandas as pd
import pytest

import synkern
from support import without_torch
from synkern.data import Dataset, SynergyConnectivity
from synkern.decomposition import PREPROCESSING

sklearn = pytest.importorskip("sklearn")
NODES = ["V1", "V2", "M1", "S1"]


@pytest.fixture
def series(rng):
    """(subjects, time, nodes)."""
    return rng.standard_normal((6, 60, 4)).cumsum(1)


def test_features_are_those_of_phiid(series):
    measures = ["sts", "xty", "difference", "transfer_entropy_xy"]
    result = synkern.phiid(series, atoms="all", average=None)
    expected = {
        "sts": result["sts"],
        "xty": result["xty"],
        "difference": result["sts"] - result["rtr"],
        "transfer_entropy_xy": result.measure("transfer_entropy_xy"),
    }
    made = SynergyConnectivity(measures)
    features = made.fit_transform(series)
    matrices = SynergyConnectivity(measures, vectorize=False).fit_transform(series)
    assert features.shape == (6, 6 + 12 + 6 + 12)
    assert matrices.shape == (6, 4, 4, 4)
    for k, name in enumerate(measures):
        np.testing.assert_allclose(matrices[:, k], expected[name], atol=1e-14)
    np.testing.assert_array_equal(made.inverse_transform(features), matrices)
    one = SynergyConnectivity("rtr", vectorize=False).fit_transform(series)
    np.testing.assert_array_equal(one, result["rtr"])
    assert SynergyConnectivity("all").fit_transform(series).shape == (6, 4 * 6 + 12 * 12)


def test_names_of_features_are_in_the_order_of_the_columns(series):
    made = SynergyConnectivity(["sts", "xty"], node_names=NODES)
    features = made.fit_transform(series)
    names = list(made.get_feature_names_out())
    assert names[:2] == ["sts: V1 – V2", "sts: V1 – M1"]
    result = synkern.phiid(series, atoms=["sts", "xty"], average=None)
    for name, column in zip(names, features.T, strict=True):
        atom, _, pair = name.partition(": ")
        x, y = (NODES.index(node) for node in pair.replace("→", "–").split(" – "))
        np.testing.assert_array_equal(column, result[atom][:, x, y])
    assert "xty: S1 → V1" in names
    made.set_output(transform="pandas")
    table = made.fit_transform(series)
    assert list(table.columns) == names
    made.set_output(transform="polars")
    assert made.transform(series).columns == names
    assert made.get_feature_names_out(["a", "b", "c", "d"])[0] == "sts: a – b"


def test_subjects_of_unequal_length_with_names(series):
    """In a list, frames say what the nodes are; each row is what phiid says of that subject."""
    lengths = [60, 45, 52]
    frames = [pd.DataFrame(x[:n], columns=NODES) for x, n in zip(series, lengths, strict=False)]
    made = SynergyConnectivity("sts", vectorize=False)
    found = made.fit_transform(frames)
    assert made.node_names_ == tuple(NODES)
    for one, frame in zip(found, frames, strict=True):
        np.testing.assert_allclose(one, synkern.phiid(frame)["sts"], atol=1e-12)
    as_objects = np.empty(3, object)
    as_objects[:] = frames
    np.testing.assert_array_equal(made.transform(as_objects), found)
    with pytest.raises(ValueError, match=r"nodes of X\[1\] have other names"):
        made.fit([frames[0], frames[1][NODES[::-1]]])
    with pytest.raises(ValueError, match="other names than those of fit"):
        made.transform([frames[0][NODES[::-1]]])
    with pytest.raises(
        ValueError, match="X has 3 features, but SynergyConnectivity is expecting 4"
    ):
        made.transform([frames[0].to_numpy()[:, :3]])


def test_trials_of_a_subject_are_averaged(series):
    made = SynergyConnectivity("rtr", vectorize=False)
    each = synkern.phiid(series, average=None)["rtr"]
    expected = np.stack([each[:4].mean(0), each[4:].mean(0)])
    np.testing.assert_allclose(made.fit_transform([series[:4], series[4:]]), expected, rtol=1e-12)
    by_subject = series.reshape(2, 3, 60, 4)
    expected = each.reshape(2, 3, 4, 4).mean(1)
    np.testing.assert_allclose(made.fit_transform(by_subject), expected, rtol=1e-12)
    trials = Dataset(
        series=series,
        node_names=tuple(NODES),
        trial_names=tuple("abcdef"),
        subjects=("B", "A", "B", "A", "B", "B"),
    )
    found = made.fit_transform(trials)
    expected = np.stack([each[[0, 2, 4, 5]].mean(0), each[[1, 3]].mean(0)])
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert made.node_names_ == tuple(NODES)


def test_missing_samples_are_left_out_or_refused(series):
    holes = series.copy()
    holes[2, 10:14, 1] = np.nan
    holes[4, -9:] = np.nan
    valid = np.isfinite(holes).all(-1)
    with pytest.raises(ValueError, match="Input X contains NaN, the first in series 2 at time 10"):
        SynergyConnectivity().fit(holes)
    made = SynergyConnectivity(allow_missing=True, vectorize=False)
    expected = synkern.phiid(holes, mask=valid, average=None)["sts"]
    np.testing.assert_array_equal(made.fit_transform(holes), expected)
    kept = Dataset(
        series=np.where(valid[..., None], holes, 0.0),
        mask=valid,
        node_names=tuple(NODES),
        trial_names=tuple("abcdef"),
    )
    again = SynergyConnectivity(vectorize=False).fit_transform(kept)
    np.testing.assert_array_equal(again, expected)
    holes[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="contains infinity, the first in series 0 at time 0"):
        made.fit(holes)


@pytest.mark.parametrize("masked", [False, True])
def test_preprocessing_comes_in_order(series, masked):
    steps = ["linear", "difference", "copula"]
    mask = np.ones((6, 60), bool)
    given, expected = series.copy(), series
    if masked:
        mask[1, 20:23] = False
        given[~mask] = np.nan
    for step in steps:
        expected = PREPROCESSING[step](expected, mask=mask)
        mask = mask[:, 1:] & mask[:, :-1] if step == "difference" else mask
    found = SynergyConnectivity(
        preprocessing=steps, tau=2, vectorize=False, allow_missing=True
    ).fit_transform(given)
    expected = synkern.phiid(expected, tau=2, mask=mask, average=None)["sts"]
    np.testing.assert_array_equal(found, expected)


def test_rows_of_a_table_are_whole_series(series):
    table = series.reshape(6, -1)
    made = SynergyConnectivity(n_nodes=4)
    np.testing.assert_array_equal(
        made.fit_transform(table), SynergyConnectivity().fit_transform(series)
    )
    frame = pd.DataFrame(table, columns=[f"c{k}" for k in range(240)])
    made.fit(frame)
    assert made.n_features_in_ == len(made.feature_names_in_) == 240
    with pytest.raises(ValueError, match="feature names should match"):
        made.transform(frame.iloc[:, ::-1])
    with pytest.raises(ValueError, match="240 columns, which are no whole number.*7 nodes"):
        SynergyConnectivity(n_nodes=7).fit(table)
    with pytest.raises(ValueError, match=r"two axes, shape \(6, 240\).*n_nodes="):
        SynergyConnectivity().fit(table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measure": "stx, sts"}, "measure must be one of 'all', 'rtr'"),
        ({"measure": []}, "a name or several; got none"),
        ({"tau": 0}, "tau must be a positive"),
        ({"tau": 57}, "at least 5 are needed"),
        ({"kind": "binary"}, "kind must be one of"),
        ({"preprocessing": "detrend"}, "preprocessing must be one of"),
        ({"node_names": ["a"]}, "1 names for 4 nodes"),
    ],
)
def test_options_that_cannot_be_used_are_refused_by_fit(series, options, message):
    with pytest.raises(ValueError, match=message):
        SynergyConnectivity(**options).fit(series)


def test_it_can_be_pickled_and_cloned(series):
    made = SynergyConnectivity(["sts", "rtr"], tau=2).fit(series)
    again = pickle.loads(pickle.dumps(made))
    np.testing.assert_array_equal(again.transform(series), made.transform(series))
    assert sklearn.clone(made).get_params() == made.get_params()
    with pytest.raises(sklearn.exceptions.NotFittedError):
        sklearn.clone(made).transform(series)


def test_without_scikit_learn_it_says_what_to_install():
    code = """
import sys
import importlib.util
class Hidden:
    def find_spec(name, *rest):
        if name.partition(".")[0] == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden)
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "sklearn" else find(name, *rest)
import synkern
from synkern import *
for place in (synkern, synkern.data):
    assert "SynergyConnectivity" not in dir(place)
    try:
        place.SynergyConnectivity
    except ImportError as error:
        assert "pip install 'synkern[sklearn]'" in str(error) and error.name == "sklearn"
    else:
        raise AssertionError
"""
    done = without_torch.run(code, hide=False)
    assert done.returncode == 0, done.stderr


def test_four_axes_are_told_by_their_names(rng):
    xarray = pytest.importorskip("xarray")
    series = rng.standard_normal((3, 2, 60, 4))
    expected = SynergyConnectivity().fit_transform(series)
    axes = ("subject", "run", "time", "region")
    named = xarray.DataArray(series, dims=axes, coords={"region": NODES})
    made = SynergyConnectivity()
    turned = named.transpose("time", "subject", "region", "run")
    np.testing.assert_array_equal(made.fit_transform(turned), expected)
    assert made.node_names_ == tuple(NODES)
    with pytest.raises(ValueError, match=r"axes .*'run', 'time', 'p'\) of X do not say which"):
        made.fit(xarray.DataArray(series, dims=("q", "run", "time", "p")))


def test_data_sets_in_a_list_keep_their_masks(rng):
    series = rng.standard_normal((2, 60, 4))
    mask = np.ones((2, 60), bool)
    mask[0, :9] = mask[1, 40:] = False
    names = {"node_names": tuple(NODES), "trial_names": ("1", "2")}
    one = Dataset(series=np.where(mask[..., None], series, 0.0), mask=mask, **names)
    found = SynergyConnectivity().fit_transform([one, Dataset(series=series, **names)])
    upper = np.triu_indices(4, 1)
    for row, valid in zip(found, (mask, None), strict=True):
        expected = synkern.phiid(series, mask=valid)["sts"][upper]
        np.testing.assert_allclose(row, expected, rtol=1e-12)

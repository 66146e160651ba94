"""Names of axes decide what is time, and names of nodes travel into results."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray

import synkern
from synkern import preprocess

REGIONS = ["V1", "V2", "M1"]


@pytest.fixture
def series(rng):
    """(trials, time, nodes)."""
    return rng.standard_normal((5, 60, 3))


@pytest.mark.parametrize(
    ("dims", "axes"),
    [
        (("time", "node"), (0, 1)),
        (("region", "time"), (1, 0)),
        (("ROIs", "volumes"), (1, 0)),
        (("Time Points", "parcels"), (0, 1)),
        (("epochs", "channels", "times"), (0, 2, 1)),
        (("channel", "time", "trial"), (2, 1, 0)),
        (("time", "subject", "anything"), (1, 0, 2)),
        (("subject", "anything", "time"), (0, 2, 1)),
        (("anything", "time"), (1, 0)),
        (("token", "head"), (0, 1)),
        (("trial", "time"), (1, 0)),
    ],
)
def test_named_axes_are_put_in_order(series, dims, axes):
    """The axes of the named array, from (trials, time, nodes)."""
    plain = series if len(dims) == 3 else series[0]
    named = xarray.DataArray(plain.transpose(np.argsort(axes)), dims=dims)
    np.testing.assert_array_equal(synkern.phiid(named)["sts"], synkern.phiid(plain)["sts"])
    found = synkern.phiid_local(named, [[0, 2]])
    np.testing.assert_array_equal(found, synkern.phiid_local(plain, [[0, 2]]))


@pytest.mark.parametrize(
    "dims",
    [
        ("a", "b"),
        ("time", "frame"),
        ("region", "channel"),
        ("a", "time", "b"),
        ("trial", "subject", "time"),
        ("time", "x", "y", "z"),
    ],
)
def test_names_that_do_not_say_which_axis_is_time_are_refused(rng, dims):
    named = xarray.DataArray(rng.standard_normal((9,) * len(dims)), dims=dims)
    with pytest.raises(ValueError, match=r"series: the axes .* name them 'trial', 'time'"):
        synkern.phiid(named)


def test_axes_without_names_go_by_position(series):
    found = synkern.phiid(xarray.DataArray(series[0]))["sts"]
    np.testing.assert_array_equal(found, synkern.phiid(series[0])["sts"])


def test_a_dataset_is_not_an_array(series):
    with pytest.raises(TypeError, match="Dataset, of several variables"):
        synkern.phiid(xarray.Dataset({"a": (("time", "node"), series[0])}))


def test_frames_may_be_turned_by_their_names(series):
    frame = pd.DataFrame(series[0], columns=REGIONS)
    expected = synkern.phiid(series[0])["rtr"]
    turned = frame.T.rename_axis("region")
    for given in (frame, turned, frame.T.rename_axis(columns="time"), frame.rename_axis("TR")):
        result = synkern.phiid(given)
        np.testing.assert_array_equal(result["rtr"], expected)
        assert result.node_names == tuple(REGIONS)
    with pytest.raises(ValueError, match="contradict each other"):
        synkern.phiid(turned.rename_axis(columns="node"))


def sources(series):
    """Series with names, of each kind, and the names."""
    last = series[0]
    coordinates = {"node": REGIONS}
    return {
        "frame": pd.DataFrame(last, columns=REGIONS),
        "xarray": xarray.DataArray(last, dims=("time", "node"), coords=coordinates),
        "turned": xarray.DataArray(last.T, dims=("node", "time"), coords=coordinates),
    }


@pytest.mark.parametrize("kind", ["frame", "xarray", "turned"])
def test_names_of_nodes_travel(series, kind, tmp_path):
    given, expected = sources(series)[kind], tuple(REGIONS)
    result = synkern.phiid(given)
    assert result.node_names == expected
    assert synkern.phiid(given, tau=[1, 2])[2].node_names == expected
    assert synkern.phiid(given, average=None).trial_mean().node_names == expected
    reference = synkern.persistence_reference(given)
    assert result.excess(reference).node_names == expected
    assert synkern.node_scores(result).node_names == expected
    means = synkern.phiid(given, reduce="nodes")
    assert means.node_names == synkern.node_scores(means).node_names == expected
    assert synkern.null_test(given, "row_shift", n=19).node_names == expected
    assert synkern.phiid(synkern.LaggedMoments().update(given)).node_names == expected
    dataset = result.to_xarray()
    assert dataset.x.values.tolist() == REGIONS
    assert dataset["sts"].attrs["long_name"] == "synergy to synergy"
    result.save(tmp_path / "named.npz")
    assert synkern.PhiIDResult.load(tmp_path / "named.npz").node_names == expected


def test_names_can_be_given(series):
    result = synkern.phiid(
        torch.from_numpy(series), node_names=[synkern.Node(0, k) for k in range(3)]
    )
    assert result.node_names == ("L0H0", "L0H1", "L0H2")
    frame = pd.DataFrame(series[0], columns=REGIONS)
    assert synkern.phiid(frame, node_names=iter("abc")).node_names == ("a", "b", "c")
    assert synkern.phiid(series).node_names is None
    assert synkern.phiid(pd.DataFrame(series[0])).node_names is None
    for wrong, message in ((["a"], "1 names for 3 nodes"), ("abc", "a list; got 'abc'")):
        for call in (
            synkern.phiid,
            synkern.persistence_reference,
            lambda s, **names: synkern.null_test(s, n=19, **names),
        ):
            with pytest.raises(ValueError, match=message):
                call(series, node_names=wrong)


@pytest.mark.parametrize("step", list(preprocess.PREPROCESSING))
@pytest.mark.parametrize("kind", ["frame", "xarray", "turned"])
def test_preprocessing_keeps_names_and_order(series, step, kind):
    given = sources(series)[kind]
    apply = preprocess.PREPROCESSING[step]
    found, expected = apply(given), apply(series[0])
    assert type(found) is type(given)
    result = synkern.phiid(found)
    np.testing.assert_array_equal(result["sts"], synkern.phiid(expected)["sts"])
    assert result.node_names == tuple(REGIONS)
    np.testing.assert_array_equal(preprocess.detrend(series=given), preprocess.detrend(given))


def test_labels_that_are_missing_are_refused_whatever_holds_them(rng):
    series = rng.standard_normal((50, 6))
    for groups in (
        np.array([1, 1, 2, 2, np.nan, np.nan]),
        [1, 1, 2, 2, np.nan, float("nan")],
        ["V", "V", "D", "D", None, None],
        np.array(["V", "V", "D", "D", None, None], object),
        pd.Series(["V", "V", "D", "D", None, None]),
        pd.Series([1, 1, 2, 2, None, None], dtype="Int64"),
        pd.to_datetime(pd.Series(["2020", "2020", "2021", "2021", None, None])),
        torch.tensor([1, 1, 2, 2, torch.nan, torch.nan]),
    ):
        for which in ("within", "between"):
            with pytest.raises(ValueError, match=r"groups has no label for 2 of 6 nodes.*\[4, 5\]"):
                synkern.phiid(series, pairs=which, groups=groups)

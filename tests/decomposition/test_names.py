"""Names of axes decide what is time, and names of nodes travel into results."""

import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray

import synkern
from support.optional import torch
from synkern.decomposition import preprocess

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


@pytest.mark.parametrize(
    "times",
    [
        pd.date_range("2020", periods=60, freq="2s"),
        pd.timedelta_range("0s", periods=60, freq="2s"),
        pd.period_range("2020", periods=60, freq="D"),
    ],
    ids=lambda times: type(times).__name__,
)
def test_labels_that_are_times_tell_the_axis_of_time(series, times):
    frame = pd.DataFrame(series[0], index=times, columns=REGIONS)
    expected = synkern.phiid(series[0])["rtr"]
    for given in (frame, frame.T):
        result = synkern.phiid(given)
        np.testing.assert_array_equal(result["rtr"], expected)
        assert result.node_names == tuple(REGIONS)
    years = pd.DataFrame(series[0], index=times, columns=times[:3])
    np.testing.assert_array_equal(synkern.phiid(years)["rtr"], expected)


def test_a_variable_of_xarray_has_named_axes_too(series):
    variable = xarray.Variable(("node", "time"), series[0].T)
    np.testing.assert_array_equal(synkern.phiid(variable)["sts"], synkern.phiid(series[0])["sts"])


def test_rows_of_several_trials_are_not_one_series(series):
    """A lag would reach from the last sample of a subject to the first of the next."""
    rows = pd.MultiIndex.from_product([range(5), range(60)], names=["Subject", "time"])
    frame = pd.DataFrame(series.reshape(-1, 3), index=rows, columns=REGIONS)
    for given in (frame, frame.T):
        with pytest.raises(ValueError, match="those of 5 different 'Subject'.*stack_trials"):
            synkern.phiid(given if given is frame else given.rename_axis("region"))
    trials, mask = synkern.stack_trials([part for _, part in frame.groupby(level="Subject")])
    found = synkern.phiid(trials, mask=mask)["sts"]
    np.testing.assert_allclose(found, synkern.phiid(series)["sts"], rtol=1e-12)
    one = frame.xs(3, drop_level=False)
    np.testing.assert_array_equal(synkern.phiid(one)["sts"], synkern.phiid(series[3])["sts"])


def test_columns_of_polars_that_hold_no_numbers_are_refused(series, monkeypatch):
    """To its own arrays durations are numbers, of nanoseconds."""

    class Kind(str):
        def is_numeric(self):
            return self == "Float64"

    class Frame:
        def __init__(self, **kinds):
            self.schema, self.columns = kinds, list(kinds)

        def to_numpy(self):
            return series[0]

    polars = SimpleNamespace(DataFrame=Frame, Boolean="Boolean")
    monkeypatch.setitem(sys.modules, "polars", polars)
    numbers = Frame(a=Kind("Float64"), b=Kind("Float64"), c=Kind("Boolean"))
    assert synkern.phiid(numbers).node_names == ("a", "b", "c")
    with pytest.raises(TypeError, match="column 'b' of series must hold real.*Duration"):
        synkern.phiid(Frame(a=Kind("Float64"), b=Kind("Duration"), c=Kind("Float64")))


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
    assert synkern.phiid_lags(given, tau=[1, 2])[2].node_names == expected
    assert synkern.phiid(given, average=None).trial_mean().node_names == expected
    reference = synkern.persistence_reference(given)
    assert result.excess(reference).node_names == expected
    assert synkern.node_scores(result).node_names == expected
    means = synkern.phiid_nodes(given)
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
    assert synkern.phiid(frame, node_names=torch.arange(3)).node_names == ("0", "1", "2")
    assert synkern.phiid(frame, node_names=dict.fromkeys("abc").keys()).node_names == tuple("abc")
    for wrong, message in (
        (["a"], "1 names for 3 nodes"),
        ("abc", "a list; got 'abc'"),
        (b"abc", "a list; got b'abc'"),
        ({"a", "b", "c"}, "a list; got {"),
        ({"a": 0, "b": 1, "c": 2}, "a list; got {"),
        (3, "a list; got 3"),
    ):
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
    # A frame may lie in memory the other way round, which changes the order of sums.
    np.testing.assert_allclose(result["sts"], synkern.phiid(expected)["sts"], rtol=1e-10)
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
        np.ma.array([1, 1, 2, 2, 2, 2], mask=[0, 0, 0, 0, 1, 1]),
    ):
        for which in ("within", "between"):
            with pytest.raises(ValueError, match=r"groups has no label for 2 of 6 nodes.*\[4, 5\]"):
                synkern.phiid(series, pairs=which, groups=groups)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({0: "V", 1: "V", 2: "D"}, "a list; got {0"),  # a list of it has the keys alone
        ({"V", "D", "M"}, "a list; got {"),
        (3, "a list; got 3"),
        ([[0], [0], [1]], r"that of node 0 is \[0\]"),
        (np.zeros((3, 2)), "that of node 0 is array"),
    ],
)
def test_groups_that_are_no_labels_in_order_are_refused(series, groups, message):
    for which in ("within", "between"):
        with pytest.raises(TypeError, match=message):
            synkern.phiid(series, pairs=which, groups=groups)


@pytest.mark.parametrize("groups", [{0: [0], 1: [1]}, 2, {(0,), (1, 2)}, [[0]]], ids=str)
def test_bipartite_groups_that_are_not_two_lists_are_refused(series, groups):
    with pytest.raises(ValueError, match="groups must be two lists of nodes"):
        synkern.phiid(series, pairs="bipartite", groups=groups)

"""Results as tables and data sets with labels, and series from tables of other libraries."""

import numpy as np
import pandas as pd
import pytest
import xarray

import synkern
from synkern.data import Dataset

pl = pytest.importorskip("polars")
NODES = ["V1", "V2", "M1"]
LIBRARIES = ["pandas", "polars", "pyarrow"]


@pytest.fixture
def series(rng):
    """(trials, time, nodes)."""
    return rng.standard_normal((4, 60, 3)).cumsum(1)


def rows(table):
    """Of whichever library, as dictionaries."""
    if isinstance(table, pd.DataFrame):
        return table.to_dict("records")
    return table.to_dicts() if isinstance(table, pl.DataFrame) else table.to_pylist()


def need(library):
    return pytest.importorskip(library)


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_for_each_pair(series, library):
    need(library)
    result = synkern.phiid(series, node_names=NODES)
    assert rows(result.to_frame(library)) == [
        {"x": NODES[i], "y": NODES[j], "rtr": result["rtr"][i, j], "sts": result["sts"][i, j]}
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    both = synkern.phiid(series, atoms="xty", average=None)
    assert rows(both.to_frame(library)) == [
        {"trial": t, "x": i, "y": j, "xty": both["xty"][t, i, j]}
        for t in range(4)
        for i in range(3)
        for j in range(3)
        if i != j
    ]
    chosen = synkern.phiid(series, pairs=[[2, 0], [1, 2]], average=None, atoms="sts")
    assert [(row["trial"], row["x"], row["y"]) for row in rows(chosen.to_frame(library))][:3] == [
        (0, 2, 0),
        (0, 1, 2),
        (1, 2, 0),
    ]
    np.testing.assert_array_equal(
        [row["sts"] for row in rows(chosen.to_frame(library))], chosen["sts"].reshape(-1)
    )


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_row_for_each_node(series, library):
    need(library)
    means = synkern.phiid_nodes(series, node_names=NODES)
    table = rows(means.to_frame(library))
    assert list(table[0]) == ["node", "rtr", "sts", "balance", "pairs"]
    assert [(row["node"], row["sts"], row["pairs"]) for row in table] == [
        (name, means["sts"][k], means.pairs[k]) for k, name in enumerate(NODES)
    ]
    each = synkern.phiid_nodes(series, average=None)
    table = rows(each.to_frame(library))
    assert [(row["trial"], row["node"]) for row in table[:4]] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    scores = synkern.node_scores(means)
    table = rows(scores.to_frame(library))
    assert list(table[0]) == ["node", "synergy", "redundancy", "score", "rank", "pairs"]
    assert [row["rank"] for row in table] == scores.rank.tolist()
    test = synkern.null_test(series, "row_shift", n=19, node_names=NODES)
    table = rows(test.to_frame(library))
    assert len(table) == 2 * 3
    assert (table[4]["atom"], table[4]["x"], table[4]["y"]) == ("sts", "V1", "M1")
    assert table[4]["q"] == test.q["sts"][0, 2]
    with pytest.raises(ValueError, match="library must be one of 'pandas'"):
        means.to_frame("duckdb")


def test_data_sets_have_names_trials_and_the_lag(series):
    given = xarray.DataArray(
        series, dims=("subject", "time", "region"), coords={"region": NODES, "subject": [*"abcd"]}
    )
    lags = synkern.phiid_lags(given, tau=[1, 3], average=None)
    joined = xarray.concat([found.to_xarray() for found in lags.values()], dim="lag")
    assert joined["sts"].dims == ("lag", "trial", "x", "y")
    one = joined["sts"].sel(lag=3, trial="c", x="M1", y="V1")
    assert float(one) == lags[3]["sts"][2, 2, 0]
    nodes = synkern.phiid_nodes(given).to_xarray()
    assert nodes["sts"].dims == ("node",)
    assert nodes["sts"].attrs["units"] == "nats"
    scores = synkern.node_scores(synkern.phiid(given, average=None)).to_xarray()
    assert scores["rank"].dims == ("trial", "node")
    assert scores.node.values.tolist() == NODES
    test = synkern.null_test(series, "row_shift", n=19, node_names=NODES)
    made = test.to_xarray()
    assert float(made["p"].sel(atom="sts", x="V1", y="M1")) == test.p["sts"][0, 2]


def test_trial_names_are_saved(series, tmp_path):
    given = xarray.DataArray(series, dims=("trial", "time", "node"), coords={"trial": [3, 1, 2, 7]})
    synkern.phiid(given).save(tmp_path / "named.npz")
    assert synkern.PhiIDResult.load(tmp_path / "named.npz").trial_names == ("3", "1", "2", "7")


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_tables_in(series, library):
    module = need(library)
    columns = dict(zip(NODES, series[0].T, strict=True))
    table = (module.table if library == "pyarrow" else module.DataFrame)(columns)
    result = synkern.phiid(table)
    assert result.node_names == tuple(NODES)
    np.testing.assert_allclose(result["sts"], synkern.phiid(series[0])["sts"], rtol=1e-12)
    zscored = synkern.decomposition.zscore(table)
    assert type(zscored) is type(table)
    np.testing.assert_allclose(zscored["V2"].to_numpy().std(), 1, rtol=1e-9)


def test_arrow_tables_without_numbers_are_refused(series):
    arrow = need("pyarrow")
    with pytest.raises(TypeError, match="column 'b' of series must hold real numbers; got string"):
        synkern.phiid(arrow.table({"a": [1.0, 2.0], "b": ["x", "y"]}))
    with pytest.raises(ValueError, match="column 'a' of series has 1 missing values"):
        synkern.phiid(arrow.table({"a": [1.0, None], "b": [1, 2]}))


def test_columns_of_several_levels(series):
    regions = pd.MultiIndex.from_tuples([("L", "V1"), ("R", "V1"), ("L", "M1")], names=["h", "r"])
    frame = pd.DataFrame(series[0], columns=regions)
    assert synkern.phiid(frame).node_names == ("L/V1", "R/V1", "L/M1")
    wide = pd.DataFrame(
        series.transpose(1, 0, 2).reshape(60, 12),
        columns=pd.MultiIndex.from_product([[*"abcd"], NODES], names=["subject", "region"]),
    )
    with pytest.raises(ValueError, match="columns of this DataFrame are those of 4 different") as e:
        synkern.phiid(wide)
    assert "part.droplevel('subject').T for _, part in frame.T.groupby(level='subject')" in str(
        e.value
    )
    parts = [part.droplevel("subject").T for _, part in wide.T.groupby(level="subject")]
    np.testing.assert_allclose(synkern.stack_trials(parts)[0], series)


def test_a_data_set_brings_its_mask(series):
    mask = np.ones((4, 60), bool)
    mask[1, 30:34] = False
    given = Dataset(
        series=np.where(mask[..., None], series, 1e6),
        mask=mask,
        node_names=tuple(NODES),
        trial_names=tuple("abcd"),
    )
    result = synkern.phiid(given, average=None)
    np.testing.assert_array_equal(
        result["sts"], synkern.phiid(series, mask=mask, average=None)["sts"]
    )
    assert (result.node_names, result.trial_names) == (tuple(NODES), tuple("abcd"))
    for found, expected in (
        (synkern.phiid_nodes(given)["sts"], synkern.phiid_nodes(series, mask=mask)["sts"]),
        (
            synkern.persistence_reference(given)["sts"],
            synkern.persistence_reference(series, mask=mask)["sts"],
        ),
        (
            synkern.phiid(synkern.LaggedMoments().update(given))["sts"],
            synkern.phiid(synkern.LaggedMoments().update(series, mask=mask))["sts"],
        ),
        (
            synkern.phiid_local(given, [[0, 1]]),
            synkern.phiid_local(series, [[0, 1]], mask=mask),
        ),
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    with pytest.raises(ValueError, match="has a mask of its own"):
        synkern.phiid(given, mask=mask)
    with pytest.raises(ValueError, match="samples that are not valid"):
        synkern.decomposition.zscore(given)
    with pytest.raises(ValueError, match="null 'phase' moves values in time past the gaps"):
        synkern.null_test(given, "phase", n=19)


@pytest.fixture
def raw(rng):
    mne = pytest.importorskip("mne")
    info = mne.create_info([*"ABCD", "stim"], 100.0, ["eeg"] * 4 + ["stim"])
    data = np.concatenate([rng.standard_normal((4, 600)).cumsum(1) * 1e-6, np.ones((1, 600))])
    made = mne.io.RawArray(data, info, verbose=False)
    made.info["bads"] = ["B"]
    return made


def test_raw_and_epochs_of_mne(raw):
    mne = pytest.importorskip("mne")
    data = raw.get_data()[[0, 2, 3]].T
    result = synkern.phiid(raw)
    assert result.node_names == ("A", "C", "D")
    np.testing.assert_array_equal(result["sts"], synkern.phiid(data)["sts"])
    epochs = mne.make_fixed_length_epochs(raw, 1.0, preload=True, verbose=False).drop(
        [2], verbose=False
    )
    found = synkern.phiid(epochs, average=None)
    assert found.trial_names == ("0", "1", "3", "4", "5")
    trials = data.reshape(6, 100, 3)[[0, 1, 3, 4, 5]]
    np.testing.assert_array_equal(found["sts"], synkern.phiid(trials, average=None)["sts"])
    np.testing.assert_array_equal(
        synkern.phiid(epochs.average())["sts"], synkern.phiid(trials.mean(0))["sts"]
    )
    raw.set_annotations(mne.Annotations([1.0], [0.5], ["BAD_blink"]))
    valid = np.ones(600, bool)
    valid[100:150] = False
    np.testing.assert_array_equal(synkern.phiid(raw)["sts"], synkern.phiid(data, mask=valid)["sts"])
    with pytest.raises(ValueError, match="no data channels that are not marked as bad"):
        synkern.phiid(raw.copy().pick([4], verbose=False))

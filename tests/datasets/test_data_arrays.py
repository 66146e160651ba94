"""Arrays of NumPy: which axis is which, what is missing, and several files together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import synkern
from synkern.data import DataError, read_series


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """Save arrays by name in an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)

    def save(**arrays):
        for name, array in arrays.items():
            np.save(f"{name}.npy", array)
        return [f"{name}.npy" for name in arrays]

    return save


def said(match, files, **options):
    with pytest.raises(DataError, match=match):
        read_series(files, **options)


def test_an_array_stays_mapped_and_is_taken_by_the_rule(saved, rng):
    series = rng.standard_normal((50, 4))
    saved(a=series)
    data = synkern.read_series("a.npy")
    np.testing.assert_array_equal(data.series, series[None])
    base = data.series
    while isinstance(base.base, np.ndarray):
        base = base.base
    assert isinstance(base, np.memmap)
    assert data.mask is None
    assert data.node_names == ("0", "1", "2", "3")
    assert data.trial_names == ("a",)
    assert data.sources == ("a.npy",)
    assert "time, node" in " ".join(data.notes)


@given(
    st.integers(1, 3), st.integers(5, 9), st.integers(2, 4),
    st.permutations(["subject", "trial", "time", "node"]),
)  # fmt: skip
def test_axes_in_any_order_come_out_as_trial_time_node(tmp_path_factory, runs, time, nodes, order):
    sizes = {"subject": 2, "trial": runs, "time": time, "node": nodes}
    series = np.arange(2 * runs * time * nodes, dtype=float).reshape(2, runs, time, nodes)
    place = [("subject", "trial", "time", "node").index(axis) for axis in order]
    path = tmp_path_factory.mktemp("axes") / "a.npy"
    np.save(path, series.transpose(place))
    data = read_series(path, axes=",".join(order))
    assert data.shape == (2 * runs, sizes["time"], sizes["node"])
    np.testing.assert_array_equal(data.series, series.reshape(-1, time, nodes))
    assert data.subjects == ("0",) * runs + ("1",) * runs


def test_more_nodes_than_samples_are_refused_until_axes_are_told(saved, rng):
    series = rng.standard_normal((4, 50))
    saved(a=series, b=series[None])
    said(r"more nodes than samples.*axes='node,time'", "a.npy")
    said(r"axes='trial,node,time'", "b.npy")
    np.testing.assert_array_equal(read_series("a.npy", axes="node,time").series[0], series.T)
    np.testing.assert_array_equal(read_series("a.npy", axes="time,node").series[0], series)
    named = read_series("a.npy", node_names=list("abcd"))
    np.testing.assert_array_equal(named.series[0], series.T)
    assert "list of their names" in " ".join(named.notes)


@pytest.mark.parametrize("axes", ["time", "time,time", "time,nodle", "node,trial", "time,node,x"])
def test_axes_that_are_none_are_refused(saved, rng, axes):
    saved(a=rng.standard_normal((50, 4)))
    with pytest.raises(ValueError, match="axes = "):
        read_series("a.npy", axes=axes)


@pytest.mark.parametrize(
    ("array", "match"),
    [
        (np.ones((9, 3), complex), "complex"),
        (np.full((9, 3), "a"), "not numbers"),
        (np.zeros((0, 3)), "empty"),
        (np.arange(9.0), "1 axes"),
        (np.zeros((2, 2, 9, 3)), "subject,trial,time,node"),
        (np.arange(9.0)[:, None], "a pair needs two"),
        (np.array([[1, None], [2, 3]], object), "Python objects"),
        (np.array([[0, 2**60], [3, 5], [7, 9]]), r"2\*\*53"),
    ],
)
def test_what_is_no_series_is_refused_with_its_file(saved, array, match):
    saved(bad=array)
    said(f"bad.npy.*{match}", "bad.npy")


def test_files_that_are_not_what_they_say(saved, rng, tmp_path):
    saved(a=rng.standard_normal((50, 4)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-100])
    (tmp_path / "none.npy").write_bytes(b"")
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "a.csv").write_bytes(whole)
    (tmp_path / "a.xyz").write_bytes(whole)
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04" + bytes(40))
    said("cut.npy.*cut off", "cut.npy")
    said("none.npy is empty", "none.npy")
    said("text.npy cannot be read", "text.npy")
    said(r"a.csv is not what .csv says.*rename it to a.npy", "a.csv")
    said(r"endings that can be read", "a.xyz")
    said("cut.npz.*cut off", "cut.npz")
    said("is not there", "away.npy")
    said("no file matches", "away*.npy")
    said("is a folder", tmp_path)
    said("given twice", ["a.npy", tmp_path / "a.npy"])
    said("files is empty", [])
    said("leave out variable=", "a.npy", variable="x")


def test_missing_values_are_refused_where_they_are_or_masked(saved, rng):
    series = rng.standard_normal((2, 50, 3))
    series[1, 7, 2] = np.nan
    series[1, 9] = np.inf
    saved(a=series)
    said(r"4 values are missing, in 2 samples, first of node '2' at trial 1, sample 7", "a.npy")
    data = read_series("a.npy", missing="mask")
    expected = np.ones((2, 50), bool)
    expected[1, [7, 9]] = False
    np.testing.assert_array_equal(data.mask, expected)
    np.testing.assert_array_equal(data.series[expected], series[expected])
    assert (data.series[~expected] == 0).all()
    assert np.isfinite(synkern.phiid(data.series, mask=data.mask)["sts"][0, 1])


def test_a_node_without_values_is_named_with_the_remedy(saved, rng):
    series = rng.standard_normal((50, 3))
    series[:, 1] = np.nan
    saved(a=series)
    said("drop='1'", "a.npy")
    said("no sample is left.*drop='1'", "a.npy", missing="mask")
    assert read_series("a.npy", drop="1").node_names == ("0", "2")


@pytest.mark.parametrize("code", [-9999, 99999, -32768, 1e20])
def test_a_number_that_stands_for_missing_is_refused(saved, rng, code):
    series = rng.standard_normal((50, 3))
    series[[3, 4], 1] = code
    saved(a=series)
    said(r"looks like a mark for missing values", "a.npy")
    data = read_series("a.npy", missing_values=code, missing="mask")
    assert np.flatnonzero(~data.mask[0]).tolist() == [3, 4]
    assert read_series("a.npy", missing_values="nan").mask is None


def test_a_large_value_among_others_is_none_that_is_missing(saved, rng):
    series = np.round(rng.standard_normal((500, 3)) * 1000)
    series[[3, 4], 1] = 9999
    saved(a=series)
    assert read_series("a.npy").series.max() == 9999


def test_constant_nodes_are_noted(saved, rng):
    series = rng.standard_normal((2, 50, 3))
    series[:, :, 0] = 4
    series[1, :, 2] = 1
    saved(a=series)
    notes = " ".join(read_series("a.npy").notes)
    assert "constant are '0'" in notes
    assert "constant in some trials are '2'" in notes


def test_trials_of_unequal_length_are_filled_and_masked(saved, rng):
    series = {name: rng.standard_normal((length, 3)) for name, length in (("a", 40), ("b", 50))}
    data = read_series(saved(**series))
    np.testing.assert_array_equal(data.mask.sum(1), [40, 50])
    np.testing.assert_array_equal(data.series[0, :40], series["a"])
    assert not data.series[0, 40:].any()
    assert data.trial_names == ("a", "b")
    stacked, mask = synkern.stack_trials([series["a"], series["b"]])
    np.testing.assert_array_equal(
        synkern.phiid(data.series, mask=data.mask)["sts"], synkern.phiid(stacked, mask=mask)["sts"]
    )


def test_files_of_other_numbers_of_nodes_are_refused(saved, rng):
    files = saved(a=rng.standard_normal((50, 4)), b=rng.standard_normal((50, 5)))
    said("b.npy has 5 nodes and a.npy has 4.*axes=node,time", files)


def test_subjects_come_from_names_of_files_or_are_given(tmp_path, rng):
    files = [tmp_path / f"sub-{who}_run-{run}.npy" for who in ("01", "x2") for run in (1, 2)]
    for file in files:
        np.save(file, rng.standard_normal((20, 3)))
    assert read_series(files).subjects == ("01", "01", "x2", "x2")
    assert read_series(files, subjects=list("abcd")).subjects == tuple("abcd")
    assert read_series(str(tmp_path / "sub-01*.npy")).trial_names == (
        "sub-01_run-1",
        "sub-01_run-2",
    )
    said("subjects has 2 names for 4 trials", files, subjects=["a", "b"])


def test_masks_and_lists_of_scrubbed_samples(saved, rng, tmp_path):
    files = saved(a=rng.standard_normal((20, 3)), b=rng.standard_normal((20, 3)))
    (tmp_path / "out.txt").write_text("3\n5\n")
    (tmp_path / "confounds.tsv").write_text(
        "x\tmotion_outlier00\tmotion_outlier01\n"
        + "".join(f"0\t{k == 1:d}\t{k == 8:d}\n" for k in range(20))
    )
    valid = np.ones(20, bool)
    valid[0] = False
    np.save("valid.npy", valid)
    (tmp_path / "valid.txt").write_text("".join(f"{one:d}\n" for one in valid))
    data = read_series(files, scrub=["out.txt", "confounds.tsv"], mask="valid.npy")
    assert np.flatnonzero(~data.mask[0]).tolist() == [0, 3, 5]
    assert np.flatnonzero(~data.mask[1]).tolist() == [0, 1, 8]
    assert np.array_equal(read_series(files, mask="valid.txt").mask, [valid, valid])
    np.save("short.npy", valid[:5])
    said(r"short.npy has the shape \(5,\)", files, mask="short.npy")
    (tmp_path / "out.txt").write_text("20\n")
    said("'20'; give numbers of samples, from 0 to 19", files, scrub="out.txt")
    (tmp_path / "out.txt").write_text("\n")  # a list of none
    assert read_series(files[0], scrub="out.txt").mask is None
    said("scrub has 3 files for 2", files, scrub=["out.txt"] * 3)
    said("nowhere.npy cannot be read", files, mask="nowhere.npy")


def test_missing_values_under_a_mask_are_none(saved, rng):
    series = rng.standard_normal((20, 3))
    series[4] = np.nan
    saved(a=series, valid=np.arange(20) != 4)
    assert np.flatnonzero(~read_series("a.npy", mask="valid.npy").mask[0]).tolist() == [4]


def test_names_groups_and_coordinates_from_files(saved, rng, tmp_path):
    saved(a=rng.standard_normal((20, 3)))
    (tmp_path / "names.txt").write_text("V1\nM1\nA1\n")
    (tmp_path / "groups.csv").write_text("node,network\nA1,auditory\nV1,visual\nM1,motor\n")
    (tmp_path / "places.tsv").write_text("name\tx\ty\tz\nM1\t4\t5\t6\nV1\t1\t2\t3\nA1\t7\t8\t9\n")
    data = read_series(
        "a.npy", node_names="names.txt", groups="groups.csv", coordinates="places.tsv", step=0.72
    )
    assert data.node_names == ("V1", "M1", "A1")
    assert data.groups == ("visual", "motor", "auditory")
    np.testing.assert_array_equal(data.coordinates, np.arange(1.0, 10).reshape(3, 3))
    assert (data.space, data.step) == ("mni", 0.72)
    chosen = read_series("a.npy", node_names="names.txt", groups="groups.csv", columns=["A1", "V*"])
    assert chosen.node_names == ("A1", "V1")
    assert chosen.groups == ("auditory", "visual")
    said("near are 'V1'", "a.npy", node_names="names.txt", columns=["V11", "M1"])
    said("1 nodes of 3 left", "a.npy", columns="1")
    said("3 nodes and 2 names", "a.npy", node_names=["a", "b"])
    said("more than one node called 'a'", "a.npy", node_names=["a", "a", "b"])
    said("groups: 'network' is no file, and no column", "a.npy", groups="network")
    (tmp_path / "known.csv").write_text("name,network,hemisphere\nV1,vis,L\nM1,mot,R\nA1,aud,R\n")
    known = read_series("a.npy", node_names="known.csv", groups="hemisphere")
    assert (known.node_names, known.groups) == (("V1", "M1", "A1"), ("L", "R", "R"))
    said("does not have 3 of the nodes, '0'", "a.npy", groups="groups.csv")
    # A column of nodes that is called otherwise, in another order than theirs.
    (tmp_path / "else.csv").write_text(
        "parcel,network,x,y,z\nA1,aud,1,2,3\nM1,mot,4,5,6\nV1,vis,7,8,9\n"
    )
    named = {"node_names": "names.txt", "coordinates": "else.csv"}
    other = read_series("a.npy", groups="else.csv", **named)
    assert other.groups == ("vis", "mot", "aud")
    assert other.coordinates[:, 0].tolist() == [7, 4, 1]
    (tmp_path / "which.csv").write_text("name,yeo7,colour\nA1,aud,r\nM1,mot,g\nV1,vis,b\n")
    said("has 3 columns and none called group, network", "a.npy", groups="which.csv", **named)
    (tmp_path / "which.csv").write_text("name,group\n")
    said("which.csv has no rows below its names", "a.npy", groups="which.csv", **named)
    said("no columns x, y and z", "a.npy", coordinates="groups.csv")


def test_an_archive_of_arrays_with_what_goes_with_them(tmp_path, rng):
    path = tmp_path / "a.npz"
    series = rng.standard_normal((2, 20, 3))
    np.savez(
        path, series=series, other=series[0], node_names=np.array(["a", "b", "c"]),
        groups=np.array(["x", "x", "y"]), mask=np.arange(20) > 2, step=np.array(0.5),
        subjects=np.array(["s", "t"]), coordinates=np.eye(3),
    )  # fmt: skip
    data = read_series(path)
    np.testing.assert_array_equal(data.series[:, 3:], series[:, 3:])
    assert (data.node_names, data.groups) == (("a", "b", "c"), ("x", "x", "y"))
    assert (data.subjects, data.step, data.mask[0].sum()) == (("s", "t"), 0.5, 17)
    assert read_series(path, variable="other").shape == (1, 20, 3)


@pytest.mark.parametrize(
    ("beside", "match"),
    [
        ({"mask": np.ones(19, bool)}, r"a mask of shape \(19,\)"),
        ({"mask": np.full(20, 3)}, "give truth values"),
        ({"groups": np.array(["x"])}, "its groups are 1, not 3"),
        ({"subjects": np.array(["x"])}, "its subjects are 1, not 2"),
        ({"coordinates": np.ones((3, 2))}, r"give \(nodes, 3\)"),
        ({"step": np.array(0.0)}, "one number above 0"),
        ({"node_names": np.array(["a", "b"])}, "3 nodes and 2 names"),
    ],
)
def test_what_goes_with_an_array_must_fit_it(tmp_path, rng, beside, match):
    np.savez(tmp_path / "a.npz", series=rng.standard_normal((2, 20, 3)), **beside)
    said(match, tmp_path / "a.npz")


def test_arrays_of_an_archive_are_trials_where_several_are_named(tmp_path, rng):
    path = tmp_path / "a.npz"
    runs = {f"run{k}": rng.standard_normal((20 + k, 3)) for k in range(3)}
    np.savez(path, **runs)
    said(r"holds 3 arrays that could be series: run0 \(20, 3\).*variable=", path)
    data = read_series(path, variable="run*")
    assert data.trial_names == ("run0", "run1", "run2")
    np.testing.assert_array_equal(data.series[2, :22], runs["run2"])
    said("has no array 'runn0'; near are", path, variable="runn0")
    np.savez(path, a=np.array([1, None], object), b=np.zeros((5, 2)))
    said("Python objects", path, variable="a")


def test_whole_numbers_and_halves_become_float64(saved):
    for dtype in ("int16", "uint8", "float16", "float32", ">f8", "bool"):
        series = (np.arange(60).reshape(20, 3) % 7 > 2).astype(dtype)
        saved(a=series)
        data = read_series("a.npy")
        assert data.series.dtype == np.float64
        np.testing.assert_array_equal(data.series[0], series.astype(float))

"""Files of several arrays with names: MATLAB, HDF5, zarr, NetCDF."""

import numpy as np
import pytest

from synkern.data import DataError, read_series

scipy_io = pytest.importorskip("scipy.io")
h5py = pytest.importorskip("h5py")
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def series(rng):
    return rng.standard_normal((3, 50, 4))


def said(match, file, **options):
    with pytest.raises(DataError, match=match):
        read_series(file, **options)


def cells(arrays):
    held = np.empty((1, len(arrays)), object)
    held[0] = [*arrays]
    return held


def test_matlab_arrays_with_names_in_a_cell(tmp_path, series):
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"ts": series[0], "node_names": cells(NAMES), "fs": 100.0})
    data = read_series(path)
    np.testing.assert_array_equal(data.series[0], series[0])
    assert data.node_names == NAMES
    scipy_io.savemat(path, {"one": series[0], "two": series})
    said(r"2 arrays that could be series: one \(50, 4\), two \(3, 50, 4\)", path)
    np.testing.assert_array_equal(read_series(path, variable="two").series, series)
    scipy_io.savemat(path, {"z": series[0] + 1j})
    said("a.mat holds complex numbers", path)


def test_a_mask_beside_the_series(tmp_path, series):
    valid = np.arange(50) > 10
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"ts": series[0], "mask": valid[:, None]})  # a column, as MATLAB has it
    np.testing.assert_array_equal(read_series(path).mask, valid[None])
    path = tmp_path / "a.npz"
    np.savez(path, run1=series[0], run2=series[1], mask=valid)
    np.testing.assert_array_equal(read_series(path, variable="run2").mask, valid[None])
    said("'mask' says which samples are valid, and not in which of the 2", path, variable="run*")
    np.savez(path, run1=series[0], run2=series[1], valid=valid)
    assert read_series(path, variable="run*").mask is None


def test_what_is_said_of_trials_beside_several_arrays_is_left_out_and_told(tmp_path, series):
    path = tmp_path / "a.npz"
    np.savez(path, run1=series[0], run2=series[1], subjects=np.array(["a", "b"]))
    data = read_series(path, variable="run*")
    assert data.subjects is None
    assert any("'subjects' is about another array, or several" in note for note in data.notes)


def test_matlab_structs_and_cells_of_trials(tmp_path, series):
    path = tmp_path / "a.mat"
    trials = [series[k, : 40 + k].T for k in range(3)]
    struct = {"trial": cells(trials), "label": cells(NAMES).T, "fsample": 250.0}
    struct["time"] = cells([np.arange(40.0 + k)[None] / 250 for k in range(3)])
    scipy_io.savemat(path, {"data": struct})
    data = read_series(path)
    assert (data.shape, data.node_names, data.step) == ((3, 42, 4), NAMES, 0.004)
    assert data.mask.sum(1).tolist() == [40, 41, 42]
    np.testing.assert_array_equal(data.series[0, :40], series[0, :40])
    scipy_io.savemat(path, {"x": {"ts": series[0]}})
    assert read_series(path, variable="x.ts").shape == (1, 50, 4)


def test_matlab_files_that_are_cut_off(tmp_path, series):
    path = tmp_path / "a.mat"
    scipy_io.savemat(path, {"ts": series[0]})
    path.write_bytes(path.read_bytes()[:-300])
    said("a.mat.*cut off", path)


def newer(path, series):
    """A file as MATLAB 7.3 writes it: its axes the other way round, and its own first bytes."""
    with h5py.File(path, "w", userblock_size=512) as file:
        kinds = {"ts": ("double", series.T)}
        for number, name in enumerate(NAMES):
            kinds[f"#refs#/{number}"] = ("char", np.array([[ord(name)], [ord("1")]], np.uint16))
        for name, (kind, values) in kinds.items():
            file.create_dataset(name, data=values).attrs["MATLAB_class"] = np.bytes_(kind)
        links = [[file[f"#refs#/{k}"].ref] for k in range(len(NAMES))]
        held = file.create_dataset("node_names", data=np.array(links, h5py.ref_dtype))
        held.attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")


def test_newer_matlab_files_have_their_axes_as_matlab_has(tmp_path, series):
    path = tmp_path / "a.mat"
    for values in (series[0], series):
        newer(path, values)
        data = read_series(path)
        np.testing.assert_array_equal(data.series, values.reshape(-1, 50, 4))
        assert data.node_names == ("a1", "b1", "c1", "d1")


def test_hdf5_with_scales_on_its_dimensions(tmp_path, series):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("rec/data", data=series[0].T)
        for place, (name, values) in enumerate((("region", NAMES), ("time", np.arange(50) * 0.72))):
            kind = h5py.string_dtype() if name == "region" else float
            scale = file.create_dataset(f"rec/{name}", data=np.array(values, kind))
            scale.make_scale(name)
            array.dims[place].attach_scale(scale)
    data = read_series(path)
    np.testing.assert_array_equal(data.series[0], series[0])
    assert (data.node_names, data.step) == (NAMES, pytest.approx(0.72))


def test_hdf5_by_path_and_with_what_lies_beside(tmp_path, series):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x/series"], file["x/node_names"], file["y/other"] = series, [*NAMES], series[0]
    assert read_series(path, variable="x/series").node_names == NAMES
    said("2 arrays that could be series", path)
    said("no array 'x/serie'; near are 'x/series'", path, variable="x/serie")
    path.write_bytes(path.read_bytes()[:1000])
    said("a.h5 cannot be read, or is cut off", path)


@pytest.fixture
def labelled(series):
    xarray = pytest.importorskip("xarray")
    along = {"network": ("region", list("xxyy")), "subject": ["s1", "s2", "s3"]}
    along |= {axis: ("region", np.arange(4.0) + k) for k, axis in enumerate("xyz")}
    along["time"] = ("time", np.arange(50) * 2000.0, {"units": "ms"})
    return xarray.DataArray(
        series.transpose(2, 0, 1),
        dims=("region", "subject", "time"),
        coords={"region": [*NAMES], **along},
        name="bold",
    )


def check_labelled(data, series):
    np.testing.assert_array_equal(data.series, series)
    assert (data.node_names, data.groups) == (NAMES, tuple("xxyy"))
    assert (data.subjects, data.trial_names) == (("s1", "s2", "s3"), ("s1", "s2", "s3"))
    assert (data.step, data.space, data.coordinates[1].tolist()) == (2, "mni", [1, 2, 3])


def test_netcdf_by_the_names_of_its_axes(tmp_path, labelled, series):
    pytest.importorskip("h5netcdf")
    for kind, engine in (("NETCDF4", "h5netcdf"), ("NETCDF3_64BIT", "scipy")):
        path = tmp_path / f"{kind}.nc"
        labelled.to_netcdf(path, format=kind, engine=engine)
        check_labelled(read_series(path), series)
    late = labelled.assign_coords(time=("time", np.sort(np.r_[np.arange(49.0), 70.5])))
    late.to_netcdf(path, engine="scipy")
    said("times along axis 'time' do not go on by one step: 1 mostly, 22.5 after sample 48", path)
    path.write_bytes(b"CDF\x01" + b"\xff" * 20)
    said("cannot be read as NetCDF", path)


def test_two_axes_of_which_no_one_is_of_nodes(tmp_path, series):
    xarray = pytest.importorskip("xarray")
    path = tmp_path / "a.nc"
    xarray.DataArray(series[0].T, dims=("subject", "time"), name="s").to_netcdf(path)
    data = read_series(path)
    np.testing.assert_array_equal(data.series[0], series[0])
    assert "axis 'subject' is taken for that of the nodes, as no other is" in data.notes


def test_zarr_of_both_versions_as_xarray_writes_it(tmp_path, labelled, series):
    zarr = pytest.importorskip("zarr")
    # Texts have no place in version 3 yet, of which zarr warns whoever writes them.
    texts = ("region", "network", "subject")
    plain = labelled.assign_coords(
        {k: (labelled[k].dims, np.arange(len(labelled[k]))) for k in texts}
    )
    for version in (2, 3):
        path = tmp_path / f"v{version}.zarr"
        given = labelled if version == 2 else plain
        given.to_zarr(path, zarr_format=version, consolidated=False)
        data = read_series(path)
        np.testing.assert_array_equal(data.series, series)
        assert (data.step, data.coordinates[1].tolist()) == (2, [1, 2, 3])
    check_labelled(read_series(tmp_path / "v2.zarr"), series)
    zarr.save_array(tmp_path / "array.zarr", series)
    np.testing.assert_array_equal(read_series(tmp_path / "array.zarr").series, series)
    (tmp_path / "none.zarr").mkdir()
    said("cannot be read as zarr", tmp_path / "none.zarr")


def test_files_that_are_not_in_the_order_of_their_numbers_are_told_beside_subjects(
    tmp_path, series
):
    for k in (1, 2, 10):
        np.save(tmp_path / f"run{k}.npy", series[0] + k)
    data = read_series(tmp_path / "run*.npy", subjects=("x", "y", "z"))
    assert data.trial_names == ("run1", "run10", "run2")
    told = [note for note in data.notes if "not by number: run10.npy is before run2.npy" in note]
    assert len(told) == 1
    files = [tmp_path / f"run{k}.npy" for k in (1, 2, 10)]
    data = read_series(files, subjects=("x", "y", "z"))
    assert not any("not by number" in note for note in data.notes)

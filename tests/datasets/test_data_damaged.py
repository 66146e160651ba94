"""Files that are damaged, or are not what they seem: an error that says so, and no number."""

import gzip

import h5py
import nibabel
import numpy as np
import pytest
import zarr

from synkern import read_series
from synkern.data import DataError

SERIES = np.random.default_rng(0).standard_normal((60, 4))


def refused(match, path, **options):
    with pytest.raises(DataError, match=match) as caught:
        read_series(path, **options)
    assert path.name in str(caught.value)


def npy(header):
    return (
        b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117) + b"\n" + bytes(160)
    )


@pytest.mark.parametrize(
    "content",
    [
        npy(b"{'descr': '<f8', 'fortran_order': False, 'shape': (-10, 2), }"),
        npy(b"{'descr': ((((((((1,), 'shape': "),
        npy(b"[1, 2, 3]"),
        b"\x93NUMPY\x09\x00" + bytes(200),
    ],
)
def test_a_header_that_is_none(tmp_path, content):
    path = tmp_path / "series.npy"
    path.write_bytes(content)
    refused("cannot be read", path)


def test_what_is_no_array_is_not_called_one_of_objects(tmp_path):
    text, packed = tmp_path / "text.npy", tmp_path / "packed.npy.gz"
    text.write_text("time,a,b\n")
    packed.write_bytes(gzip.compress(npy(b"")))
    refused("does not begin as a .npy file", text)
    refused("compressed by gzip", packed)


@pytest.mark.parametrize("ending", ["npy", "csv", "mat", "h5", "nii", "nc", "fif"])
def test_a_folder_with_the_ending_of_a_file(tmp_path, ending):
    path = tmp_path / f"series.{ending}"
    path.mkdir()
    refused("is a folder", path)


def test_names_that_no_file_can_have(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be looked at"):
        read_series("x" * 5000 + ".npy")
    with pytest.raises(DataError, match="without ~"):
        read_series("~nobody-of-this-name/series.npy")


def test_links_to_nothing_in_hdf5(tmp_path):
    path = tmp_path / "linked.h5"
    with h5py.File(path, "w") as file:
        file["gone"] = h5py.SoftLink("/nowhere")
        file["outside"] = h5py.ExternalLink("none.h5", "/x")
        file["series"] = SERIES
    np.testing.assert_array_equal(read_series(path).series[0], SERIES)


def test_names_that_are_no_text(tmp_path):
    path = tmp_path / "names.h5"
    with h5py.File(path, "w") as file:
        file["series"] = SERIES
        file["node_names"] = np.array([b"\xe4", b"b", b"c", b"d"])
    with pytest.raises(DataError, match="UTF-8"):
        read_series(path)


def test_zarr_that_is_none(tmp_path):
    packed, folder = tmp_path / "packed.zarr", tmp_path / "folder.zarr"
    packed.write_bytes(b"PK\x03\x04xxxx")
    refused("cannot be read as zarr", packed)
    zarr.create_array(folder, data=SERIES)
    (folder / "zarr.json").write_text("[]")
    refused("cannot be read as zarr", folder)


def test_chunks_that_are_not_there_are_told(tmp_path):
    path = tmp_path / "half.zarr"
    array = zarr.create_array(path, shape=(60, 4), chunks=(30, 4), dtype="f8", fill_value=0.0)
    array[:30] = SERIES[:30]
    assert any("1 of 2 chunks" in note for note in read_series(path).notes)


def image(path, values):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def test_images_of_other_than_numbers(tmp_path):
    labels = np.zeros((4, 4, 4), np.int16)
    labels[:2], labels[2:] = 1, 2
    atlas = image(tmp_path / "atlas.nii", labels)
    bold = np.random.default_rng(0).standard_normal((4, 4, 4, 20)).astype(np.float32)
    refused("complex", image(tmp_path / "c.nii", bold.astype(np.complex64)), atlas=atlas)
    colours = np.zeros((4, 4, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused("colours", image(tmp_path / "rgb.nii", colours), atlas=atlas)


def test_a_volume_without_values_is_a_missing_sample(tmp_path):
    labels = np.zeros((4, 4, 4), np.int16)
    labels[:2], labels[2:] = 1, 2
    atlas = image(tmp_path / "atlas.nii", labels)
    bold = np.random.default_rng(0).standard_normal((4, 4, 4, 20)).astype(np.float32)
    bold[..., 3] = np.nan
    path = image(tmp_path / "bold.nii", bold)
    refused("are missing, in 1 samples", path, atlas=atlas)
    data = read_series(path, atlas=atlas, missing="mask")
    assert np.flatnonzero(~data.mask[0]).tolist() == [3]
    means = [bold[labels == k].mean(0) for k in (1, 2)]
    np.testing.assert_allclose(data.series[0][data.mask[0]].T, np.delete(means, 3, 1), atol=1e-6)


def edf(channels=2, records=5, samples=20):
    def fields(width, *values):
        return b"".join(str(value).encode().ljust(width) for value in values)

    head = fields(8, 0) + fields(80, "X", "X") + b"01.01.2400.00.00"
    head += fields(8, 256 * (channels + 1)) + fields(44, "") + fields(8, records, 1)
    head += fields(4, channels) + fields(16, *(f"EEG {k}" for k in range(channels)))
    head += fields(80, *[""] * channels)
    for value in ("uV", -100, 100, -32768, 32767):
        head += fields(8, *[value] * channels)
    head += fields(80, *[""] * channels) + fields(8, *[samples] * channels)
    head += fields(32, *[""] * channels)
    drawn = np.random.default_rng(0).standard_normal((records, channels, samples)) * 5000
    return head + drawn.astype("<i2").tobytes()


def test_edf_that_is_cut_off_or_called_bdf(tmp_path):
    whole, cut, other = (tmp_path / name for name in ("whole.edf", "cut.edf", "other.bdf"))
    whole.write_bytes(edf())
    cut.write_bytes(edf()[:-50])
    other.write_bytes(edf())
    assert read_series(whole).shape == (1, 100, 2)
    refused("cut off", cut)
    refused("begins as a .edf file", other)


def test_three_axes_of_which_time_may_be_the_first(tmp_path):
    path = tmp_path / "matlab.npy"
    np.save(path, np.random.default_rng(0).standard_normal((60, 6, 3)))
    refused("time,node,trial", path)
    assert read_series(path, axes="time,node,trial").shape == (3, 60, 6)
    assert read_series(path, axes="trial,time,node").shape == (60, 6, 3)


@pytest.mark.parametrize("files", [3, None, b"series.npy", SERIES, [SERIES]])
def test_what_is_no_name_of_a_file(files):
    with pytest.raises(TypeError, match="give names of files"):
        read_series(files)

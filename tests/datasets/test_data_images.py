"""Images by an atlas: means of labels, maps, names, places, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from synkern.data import DataError, read_series

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("nilearn")

AFFINE = np.diag([3.0, 3, 3, 1]) + np.outer([1, 1, 1, 0], [0, 0, 0, -15])
LABELS = (1, 7, 9)


def atlas_of(scale=1):
    labels = np.zeros((10, 10, 10), np.int16)
    for label, corner in zip(LABELS, ((1, 1, 1), (5, 1, 1), (1, 5, 5)), strict=True):
        labels[tuple(slice(k, k + 3) for k in corner)] = label
    return np.kron(labels, np.ones((scale,) * 3, np.int16))


def save(path, values, affine=AFFINE, step=2.0, unit="sec", code=None):
    image = nibabel.Nifti1Image(values, affine)
    if values.ndim == 4:
        image.header.set_zooms((3, 3, 3, step))
        image.header.set_xyzt_units("mm", unit)
    if code is not None:
        image.set_sform(affine, code)
    nibabel.save(image, path)


@pytest.fixture
def signals(rng, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    signals = rng.standard_normal((60, 3)).astype(np.float32)
    labels = atlas_of()
    voxels = np.zeros((10, 10, 10, 60), np.float32)
    for k, label in enumerate(LABELS):
        voxels[labels == label] = signals[:, k] + 10
    save("sub-01_bold.nii.gz", voxels)
    save("atlas.nii.gz", labels)
    (tmp_path / "labels.tsv").write_text(
        "index\tname\tnetwork\n0\tBackground\t\n1\tA\tvis\n7\tB\tvis\n9\tC\tmot\n"
    )
    return signals


def said(match, **options):
    with pytest.raises(DataError, match=match):
        read_series("sub-01_bold.nii.gz", **options)


def check(data, signals):
    # Sums of 27 voxels between 6 and 14 in float32, whose spacing is 1e-6 there.
    np.testing.assert_allclose(data.series[0] - 10, signals, atol=1e-5)


def test_means_of_labels(signals):
    data = read_series("sub-01_bold.nii.gz", atlas="atlas.nii.gz", labels="labels.tsv")
    check(data, signals)
    assert (data.node_names, data.groups) == (tuple("ABC"), ("vis", "vis", "mot"))
    assert (data.subjects, data.step, data.space) == (("01",), 2, "scanner")
    # The middle voxel of the first region is number 2 of each axis.
    np.testing.assert_array_equal(data.coordinates[0], [-9, -9, -9])
    bare = read_series("sub-01_bold.nii.gz", atlas="atlas.nii.gz")
    assert bare.node_names == ("region 1", "region 7", "region 9")


def test_an_atlas_on_another_grid(signals):
    finer = np.diag([1.5, 1.5, 1.5, 1]) + np.outer([1, 1, 1, 0], [0, 0, 0, -15.75])
    save("finer.nii.gz", atlas_of(2), finer, code=4)
    data = read_series("sub-01_bold.nii.gz", atlas="finer.nii.gz")
    check(data, signals)
    assert data.space == "mni"
    assert "resampled" in " ".join(data.notes)
    far = AFFINE.copy()
    far[:3, 3] = 500
    save("far.nii.gz", atlas_of(), far)
    said("no region of far.nii.gz lies in this image", atlas="far.nii.gz")


def test_maps(signals):
    maps = np.stack([atlas_of() == label for label in LABELS], -1).astype(np.float32)
    save("maps.nii.gz", maps)
    Path("names.txt").write_text("A\nB\nC\n")
    data = read_series("sub-01_bold.nii.gz", atlas="maps.nii.gz", labels="names.txt")
    check(data, signals)
    assert data.node_names == tuple("ABC")
    np.testing.assert_array_equal(data.coordinates[0], [-9, -9, -9])


def test_voxels_that_are_not_finite_are_left_out_of_their_region(signals):
    image = nibabel.load("sub-01_bold.nii.gz")
    voxels = image.get_fdata(dtype=np.float32)
    voxels[2, 2, 2, 5] = np.nan
    save("sub-01_bold.nii.gz", voxels)
    data = read_series("sub-01_bold.nii.gz", atlas="atlas.nii.gz")
    check(data, signals)
    assert "1 voxels with values that are not finite" in " ".join(data.notes)


@pytest.mark.parametrize(
    ("step", "unit", "expected"),
    [(2000.0, "msec", 2), (720.0, "sec", 0.72), (0.5, "unknown", 0.5), (0.0, "sec", None)],
)
def test_repetition_times(signals, step, unit, expected):
    voxels = nibabel.load("sub-01_bold.nii.gz").get_fdata(dtype=np.float32)
    save("sub-01_bold.nii.gz", voxels, step=step, unit=unit)
    found = read_series("sub-01_bold.nii.gz", atlas="atlas.nii.gz").step
    assert found is expected or found == pytest.approx(expected)


def test_what_is_refused(signals, tmp_path):
    said(r"has 1000 voxels.*give atlas=")
    said("away.nii is not there", atlas="away.nii")
    with pytest.raises(DataError, match=r"atlas.nii.gz has the shape \(10, 10, 10\), one volume"):
        read_series("atlas.nii.gz", atlas="atlas.nii.gz")
    save("halves.nii.gz", atlas_of().astype(np.float32) / 2)
    said("values that are not whole", atlas="halves.nii.gz")
    (tmp_path / "two.txt").write_text("A\nB\n")
    said("two.txt has 2 names for the 3 regions", atlas="atlas.nii.gz", labels="two.txt")
    (tmp_path / "two.tsv").write_text("index\tname\n1\tA\n7\tB\n")
    said(
        "two.tsv has no name for 1 labels of atlas.nii.gz, 9",
        atlas="atlas.nii.gz",
        labels="two.tsv",
    )
    whole = (tmp_path / "sub-01_bold.nii.gz").read_bytes()
    (tmp_path / "sub-01_bold.nii.gz").write_bytes(whole[: len(whole) // 2])
    said("cut off", atlas="atlas.nii.gz")

"""What the page shows of where nodes are, and what is written labelled."""

import numpy as np
import pytest

from synkern.data import Dataset
from synkern.study import decompose_data
from synkern.study.of_data import places

pytestmark = pytest.mark.painted

QUICK = {"progress": False, "bootstrap": 100, "null_draws": 19}


def made(space, coordinates, **more):
    series = np.random.default_rng(0).standard_normal((4, 60, len(coordinates)))
    return Dataset(
        series=series,
        node_names=tuple(f"n{k}" for k in range(len(coordinates))),
        trial_names=("p", "q", "r", "s"),
        coordinates=np.array(coordinates),
        space=space,
        **more,
    )


def test_labelled_results_come_back(tmp_path):
    xarray = pytest.importorskip("xarray")
    for package in ("h5netcdf", "h5py", "zarr", "pyarrow"):
        pytest.importorskip(package)
    data = made("scanner", np.eye(3) * 10, groups=("a", "a", "b"), step=2.0)
    written = ("netcdf", "zarr", "parquet")
    found = decompose_data(data, out=tmp_path / "out", tau=(1, 2), write=written, **QUICK)
    for opened in (
        xarray.open_dataset(found.out / "result.nc", engine="h5netcdf"),
        xarray.open_zarr(found.out / "result.zarr", consolidated=False),
    ):
        with opened:
            assert opened["sts"].dims == ("tau", "x", "y")
            assert opened["sts"].attrs["units"] == "nats"
            np.testing.assert_array_equal(opened["sts"].sel(tau=2), found.at(2)["sts"])
            assert float(opened["lag"].sel(tau=2)) == 4.0
            assert list(opened["group"].values) == ["a", "a", "b"]
            assert list(opened["node_y"].values) == [0.0, 10.0, 0.0]
            assert opened["node_y"].attrs == {"units": "mm", "space": "scanner"}
            assert list(opened["trial"].values) == ["p", "q", "r", "s"]
            assert opened["unit_synergy"].dims == ("tau", "trial", "node")
    pandas = pytest.importorskip("pandas")
    assert len(pandas.read_parquet(found.out / "pairs.parquet")) == 6
    # What is not asked for again would be of other results.
    decompose_data(data, out=tmp_path / "out", **QUICK)
    assert not [name for name in ("result.nc", "result.zarr") if (found.out / name).exists()]


def test_nodes_are_shown_on_a_brain(tmp_path):
    pytest.importorskip("nilearn")
    where = [[-40.0, -5, 50], [40, -5, 50], [0, -60, 30], [0, 50, 0]]
    found = decompose_data(made("mni", where), out=tmp_path / "out", **QUICK)
    assert (found.out / "places_lag1.png").exists()
    assert "glass brain" in found.report.read_text()


def test_sensors_are_shown_on_a_head(tmp_path):
    pytest.importorskip("mne")
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    # Not on a circle, through which there are many triangulations.
    out = 0.6 + 0.05 * np.arange(8) % 0.3
    where = 0.09 * np.stack([np.cos(angle) * out, np.sin(angle) * out, np.sqrt(1 - out**2)], -1)
    found = decompose_data(made("head", where), out=tmp_path / "out", **QUICK)
    assert (found.out / "places_lag1.png").exists()
    assert "interpolated between sensors by MNE" in found.report.read_text()


def test_why_there_is_no_view_is_said(tmp_path, monkeypatch):
    found = decompose_data(made("scanner", np.eye(3)), out=tmp_path / "out", **QUICK)
    assert "No view of the nodes: the coordinates of the nodes are in the space of the scanner" in (
        " ".join(found.report.read_text().split())
    )
    monkeypatch.setattr(places.importlib.util, "find_spec", lambda name: None)
    found.data["space"] = "mni"
    assert "needs the package 'nilearn'" in places.absent(found)

"""Files beside the series that say less, or another thing, than they seem to."""

import numpy as np
import pytest

from synkern import read_series
from synkern.data import DataError


@pytest.fixture
def series(tmp_path):
    path = tmp_path / "series.npy"
    np.save(path, np.random.default_rng(0).standard_normal((60, 4)))
    return path


def beside(series, text):
    path = series.with_name("beside.csv")
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("option", "header"),
    [("groups", "node,network"), ("coordinates", "x,y,z"), ("node_names", "name")],
)
def test_a_header_alone(series, option, header):
    with pytest.raises(DataError, match="no rows below its names"):
        read_series(series, **{option: beside(series, header + "\n")})


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_coordinates_that_are_not_finite(series, value):
    path = beside(series, "x,y,z\n1,2,3\n" + f"1,{value},3\n" * 3)
    with pytest.raises(DataError, match="node '1' is at"):
        read_series(series, coordinates=path)
    places = np.full((4, 3), float(value))
    np.savez(series.with_suffix(".npz"), series=np.load(series), coordinates=places)
    with pytest.raises(DataError, match="finite"):
        read_series(series.with_suffix(".npz"))


def test_a_step_without_end(series):
    np.savez(series.with_suffix(".npz"), series=np.load(series), step=np.inf)
    with pytest.raises(DataError, match="step"):
        read_series(series.with_suffix(".npz"))


def test_truth_values_are_no_numbers_of_samples(series):
    path = beside(series, "0\n" * 55 + "1\n" * 5)
    with pytest.raises(DataError, match="not their numbers"):
        read_series(series, scrub=path)
    path.write_text("motion_outlier\n" + path.read_text())
    data = read_series(series, scrub=path)
    assert np.flatnonzero(~data.mask[0]).tolist() == [55, 56, 57, 58, 59]

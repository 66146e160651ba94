"""Tables as programs and people write them: read right, or refused."""

from decimal import Decimal

import numpy as np
import pandas
import pytest

from synkern import read_series
from synkern.data import DataError

SERIES = np.random.default_rng(0).standard_normal((30, 3)) + 0.001


def table(path, series=SERIES, header="a,b,c", mark=","):
    rows = [mark.join(f"{value:.6f}" for value in row) for row in series]
    path.write_text("\n".join([header] * bool(header) + rows) + "\n")
    return path


def columns_before(path, header, before):
    rows = [
        f"{first}," + ",".join(f"{value:.6f}" for value in row)
        for first, row in zip(before, SERIES, strict=True)
    ]
    path.write_text("\n".join([header] * bool(header) + rows) + "\n")
    return path


@pytest.mark.parametrize("header", ["year,a,b,c", "scan,a,b,c", ""])
@pytest.mark.parametrize(("start", "step"), [(1900, 1), (0, 0.5)])
def test_a_first_column_that_goes_on_by_one_step_is_no_node(tmp_path, header, start, step):
    data = read_series(columns_before(tmp_path / "t.csv", header, start + step * np.arange(30)))
    assert data.shape == (1, 30, 3)
    np.testing.assert_allclose(data.series[0], SERIES, atol=1e-6)
    assert any("is taken for time" in note for note in data.notes)


def test_numbers_of_trials_are_no_node(tmp_path):
    path = columns_before(tmp_path / "t.csv", "trial,a,b,c", np.repeat([1, 2, 3], 10))
    with pytest.raises(DataError, match="trial_column='trial'"):
        read_series(path)
    assert read_series(path, trial_column="trial").shape == (3, 10, 3)
    assert read_series(path, drop="trial").shape == (1, 30, 3)
    named = read_series(path, columns=["trial", "a"])
    assert named.node_names == ("trial", "a")


def test_rows_of_a_trial_that_stand_apart_are_told(tmp_path):
    path = columns_before(tmp_path / "t.csv", "trial,a,b,c", np.repeat([1, 2, 1], 10))
    data = read_series(path, trial_column="trial")
    assert any("stand apart" in note for note in data.notes)


def test_a_line_of_numbers_above_is_asked_about(tmp_path):
    path = table(tmp_path / "t.csv", header="101,205,307")
    with pytest.raises(DataError, match="header='yes'"):
        read_series(path)
    assert read_series(path, header="yes").node_names == ("101", "205", "307")
    assert read_series(path, header="no").shape == (1, 31, 3)


def test_a_mark_at_the_end_of_every_line_makes_no_node(tmp_path):
    for header in ("a,b,c", ""):
        path = table(tmp_path / "t.csv", header=header)
        path.write_text("".join(f"{line},\n" for line in path.read_text().splitlines()))
        data = read_series(path)
        np.testing.assert_allclose(data.series[0], SERIES, atol=1e-6)


def test_a_column_without_a_name(tmp_path):
    with pytest.raises(DataError, match="column 1, counted from 0, has no name"):
        read_series(table(tmp_path / "t.csv", header="a,,c"))


def test_spaces_around_what_is_missing(tmp_path):
    path = table(tmp_path / "t.csv")
    lines = path.read_text().splitlines()
    lines[4] = "1.0, NaN ,2.0"
    lines[9] = "1.0, ,2.0"
    path.write_text("\n".join(lines))
    data = read_series(path, missing="mask")
    assert np.flatnonzero(~data.mask[0]).tolist() == [3, 8]
    kept = data.mask[0]
    np.testing.assert_allclose(data.series[0][kept], SERIES[kept], atol=1e-6)


def test_truth_values_with_gaps_and_whole_numbers_beyond_64_bits(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{k % 3 == 0 if k else ''},{(10 + k * k % 7) * 10**19}" for k in range(30)]
    path.write_text("\n".join(["a,b", *rows]))
    data = read_series(path, missing="mask")
    assert data.series[0, 1:, 0].tolist() == [float(k % 3 == 0) for k in range(1, 30)]
    assert data.series[0, 3, 1] == float((10 + 9 % 7) * 10**19)


def test_decimals_of_parquet(tmp_path):
    frame = pandas.DataFrame(SERIES, columns=["a", "b", "c"])
    frame.map(lambda value: Decimal(f"{value:.6f}")).to_parquet(tmp_path / "t.parquet")
    np.testing.assert_allclose(read_series(tmp_path / "t.parquet").series[0], SERIES, atol=1e-6)


def test_rows_of_nodes_below_times(tmp_path):
    path = tmp_path / "t.csv"
    rows = [f"{name}," + ",".join(map(str, row)) for name, row in zip("abc", SERIES.T, strict=True)]
    path.write_text("\n".join(["roi," + ",".join(str(2 * k) for k in range(30)), *rows]))
    data = read_series(path, axes="node,time")
    assert data.node_names == ("a", "b", "c")
    np.testing.assert_allclose(data.series[0], SERIES)


def test_numbers_of_rows_of_nodes_are_no_sample(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("\n".join(f"{k}," + ",".join(map(str, r)) for k, r in enumerate(SERIES.T, 1)))
    data = read_series(path, axes="node,time")
    assert data.shape == (1, 30, 3)
    assert data.node_names == ("1", "2", "3")


def test_delimiters(tmp_path):
    path = table(tmp_path / "t.tsv", header="a\tb\tc", mark="\t")
    assert read_series(path, delimiter="\\t").node_names == ("a", "b", "c")
    for mark in ("", ",,", "\n", '"', "e"):
        with pytest.raises(ValueError, match="delimiter = "):
            read_series(path, delimiter=mark)

"""Tables of text and of Parquet: what each column is, and where a table is bad."""

import gzip
from importlib.metadata import files
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synkern.data import DataError, read_series

pandas = pytest.importorskip("pandas")

ROWS = "\n".join(f"{k % 7 + 0.25},{(k * k) % 11 + 0.5}" for k in range(12))
EXPECTED = np.array([[k % 7 + 0.25, (k * k) % 11 + 0.5] for k in range(12)])


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a text as the file t.csv of the current folder, and read it."""
    monkeypatch.chdir(tmp_path)

    def read(text, name="t.csv", **options):
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_series(name, **options)

    return read


@pytest.fixture
def refused(table):
    def said(text, match, name="t.csv", **options):
        with pytest.raises(DataError, match=match):
            table(text, name, **options)

    return said


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a,b\n" + ROWS, "t.csv"),
        ("a,b\r\n" + ROWS.replace("\n", "\r\n") + "\r\n\r\n", "t.csv"),
        ("\ufeffa,b\n" + ROWS, "t.csv"),
        ('"a","b"\n' + ROWS, "t.csv"),
        ("a;b\n" + ROWS.replace(",", ";"), "t.csv"),
        ("a\tb\n" + ROWS.replace(",", "\t"), "t.tsv"),
        ("a b\n" + ROWS.replace(",", "  "), "t.txt"),
        ("a|b\n" + ROWS.replace(",", "|"), "t.txt"),
        ("# a,b\n" + ROWS, "t.csv"),
        ("# made by hand\n# a,b\n" + ROWS, "t.csv"),
        # Without the time, by which workers would name this test differently.
        (gzip.compress(("a,b\n" + ROWS).encode(), mtime=0), "t.csv.gz"),
        (("a\tb\n" + ROWS.replace(",", "\t")).encode("utf-16"), "t.txt"),
    ],
)
def test_tables_of_many_kinds_are_the_same(table, text, name):
    data = table(text, name)
    np.testing.assert_array_equal(data.series[0], EXPECTED)
    assert data.node_names == ("a", "b")
    assert data.mask is None


def test_a_decimal_comma_is_asked_for(table, refused):
    text = "a;b\n" + ROWS.replace(",", ";").replace(".", ",")
    refused(text, r"column 'a' holds '0,25' in line 2.*11 more.*decimal=','")
    np.testing.assert_array_equal(table(text, decimal=",").series[0], EXPECTED)
    refused("a,b\n" + ROWS.replace(".", ","), "2 names and the others 4 cells.*decimal=','")


def test_numbers_without_names_follow_the_rule(table, refused):
    data = table(ROWS)
    assert data.node_names == ("0", "1")
    np.testing.assert_array_equal(data.series[0], EXPECTED)
    turned = "\n".join(",".join(map(str, row)) for row in EXPECTED.T)
    refused(turned, "more nodes than samples")
    np.testing.assert_array_equal(table(turned, axes="node,time").series[0], EXPECTED)


def test_a_first_line_of_numbers_in_order_is_taken_for_names_and_said(table):
    frame = pandas.DataFrame(np.random.default_rng(0).standard_normal((12, 4)))
    for text in (frame.to_csv(), frame.to_csv(index=False)):
        data = table(text)
        np.testing.assert_array_equal(data.series[0], frame.to_numpy())
        assert "header='no'" in " ".join(data.notes)
    assert table(frame.to_csv(index=False), header="no").shape == (1, 13, 4)


@given(st.integers(3, 40), st.integers(2, 6), st.booleans(), st.sampled_from([",", ";", "\t"]))
def test_what_pandas_writes_comes_back(tmp_path_factory, time, nodes, index, mark):
    values = np.random.default_rng(time).standard_normal((time, nodes))
    frame = pandas.DataFrame(values, columns=[f"V{k}" for k in range(nodes)])
    path = tmp_path_factory.mktemp("frames") / "t.csv"
    frame.to_csv(path, index=index, sep=mark)
    data = read_series(path)
    np.testing.assert_array_equal(data.series[0], values)
    assert data.node_names == tuple(frame.columns)


@pytest.mark.parametrize(
    ("name", "times", "step"),
    [
        ("time", "0.5 * k", 0.5),
        ("time_ms", "20 * k", 0.02),
        ("Time (ms)", "round(100 / 3 * k)", 1 / 30),
        ("t", "round(k / 30, 3)", 1 / 30),
        ("sample", "k", None),
        ("index", "k + 1", None),
        ("", "k", None),
        ("anything", "k", None),
        ("date", "f'2024-01-01T00:00:{k:02d}'", 1.0),
    ],
)
def test_a_column_of_times_is_no_node(table, name, times, step):
    rows = "\n".join(f"{eval(times)},{row}" for k, row in enumerate(ROWS.split("\n")))
    data = table(f"{name},a,b\n{rows}")
    assert data.node_names == ("a", "b")
    assert data.step is step or data.step == pytest.approx(step, rel=2e-3)
    assert any("time" in note or "counts" in note for note in data.notes)


def test_times_that_do_not_go_on_are_refused_with_their_line(table, refused):
    rows = ROWS.split("\n")

    def text(times):
        return "time,a,b\n" + "\n".join(f"{t},{row}" for t, row in zip(times, rows, strict=True))

    refused(text([0, 1, 2, 3, 4, 5] * 2), "does not go on in line 8.*trial_column=")
    refused(text([0, 1, 2, 3.4, 4.1, 5, 6, 7, 8, 9, 10, 11]), "steps are unequal")
    gap = text([0, 2, 4, 6, 8, 14, 16, 18, 20, 22, 24, 26])
    refused(gap, "leaves out 2 samples, first before line 7")
    data = table(gap, missing="mask")
    assert data.shape == (1, 14, 2)
    assert np.flatnonzero(~data.mask[0]).tolist() == [5, 6]
    np.testing.assert_array_equal(data.series[0][data.mask[0]], EXPECTED)
    assert data.step == 2
    assert table(gap, drop="time").shape == (1, 12, 2)
    refused(text([*range(11), "x"]), "holds 'x' in line 13")


def test_trials_and_subjects_in_rows(table, refused):
    rows = ROWS.split("\n")
    text = "who,run,time,a,b\n" + "\n".join(
        f"{'AB'[k // 8]},{k // 4 + 1},{k % 4 * 2},{row}" for k, row in enumerate(rows)
    )
    data = table(text, subject_column="who", trial_column="run")
    np.testing.assert_array_equal(data.series, EXPECTED.reshape(3, 4, 2))
    assert data.trial_names == ("A:1", "A:2", "B:3")
    assert (data.subjects, data.step) == (("A", "A", "B"), 2)
    unequal = table(text, subject_column="who", drop=["run", "time"])
    assert unequal.mask.sum(1).tolist() == [8, 4]
    refused(text, "column 'who' holds 'A' in line 2.*subject_column='who'", drop=["run", "time"])
    refused(text, "no column 'rum'", trial_column="rum")
    refused(text.replace("A,2", ",2"), "column 'who' is empty in line 6", subject_column="who")


def test_of_several_columns_of_time_none_is_a_node(table, refused):
    def text(second, rows=12):
        body = "".join(
            f"{k},{second(k)},{line}\n" for k, line in enumerate(ROWS.split("\n")[:rows])
        )
        return f",{{}},a,b\n{body}"

    halves, again = text(lambda k: k / 2), text(lambda k: k % 6)
    data = table(halves.format("time"))
    assert (data.node_names, data.step) == (("a", "b"), 0.5)
    np.testing.assert_array_equal(data.series[0], EXPECTED)
    assert any("'' goes on as time does, and is no node" in note for note in data.notes)
    assert table(halves.format("volume"), time_column="volume").node_names == ("a", "b")
    # One that starts again: of trials that follow each other, or a node that is called so.
    refused(again.format("time"), "'time' is taken for time, and does not go on.*trial_column=")
    refused(again.format("frame"), "'frame' is taken for time, and does not go on.*rename it")
    assert table(again.format("t"), time_column="").node_names == ("t", "a", "b")


def test_a_column_says_which_samples_are_valid(table, refused):
    rows = "\n".join(f"{row},{k != 3:d}" for k, row in enumerate(ROWS.split("\n")))
    data = table("a,b,keep\n" + rows, mask="keep")
    assert data.node_names == ("a", "b")
    assert np.flatnonzero(~data.mask[0]).tolist() == [3]
    refused("a,b,keep\n" + rows, "'kept' is no file and no column", mask="kept")
    refused("a,b,keep\n" + rows + "2", "column 'keep'.*holds", mask="keep")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "t.csv is empty, 0 bytes"),
        ("\n\n", "t.csv has no rows"),
        ("a,b\n", "no rows of numbers below its names"),
        ("a,b\n1,2\n3,x\n4,5\n", r"column 'b' holds 'x' in line 3.*missing='mask'"),
        ("a,b\n1,2\n\n4,5\n", r"2 values are missing, in 1 samples.*line 3"),
        ("a,b\n1,2\n3,\n4,5\n", r"node 'b' at sample 1 \(line 3\)"),
        ("a,b\n1,2\n3,NA\n4,5\n", r"1 values are missing.*line 3"),
        ("a,b\n1,2\n3,4,5\n4,5\n", "line 3 has 3 cells and those before it 2"),
        ("a,b,c\n1,2,3\n4,5,6\n1,2,3\n4,5\n", "last line, 5, has 2 cells and the others 3"),
        ("a,a\n1,2\n3,5\n4,5\n", "more than one node called 'a'"),
        ("a,b,c,d\n1,2\n3,5\n", "4 names and the others 2 cells"),
        ("s,a,b\nx,1,2\ny,3,5\nz,4,5\n", "rows are nodes.*axes='node,time'"),
        ("a,b\n1+2j,2\n3j,5\n4,5\n", r"column 'a' holds '1\+2j' in line 2"),
        (b"a,b\n1,2\n\0\0\0", "no text"),
        ("ä,b\n1,2\n3,4\n".encode("latin-1"), "no text in UTF-8"),
        ("a,b\n1,2\n3,-9999\n4,5\n6,-9999\n7,8\n", "looks like a mark for missing values"),
    ],
)
def test_bad_tables_are_refused_where_they_are_bad(refused, text, match):
    refused(text, match)


def test_a_compressed_table_that_is_cut_off(refused):
    rows = "\n".join(f"{k * 7919 % 1009},{k * 104729 % 997}" for k in range(5000))
    refused(gzip.compress(rows.encode())[:-2000], "cut off", name="t.csv.gz")


def test_missing_cells_are_masked_if_that_is_asked_for(table):
    data = table("a,b\n1,2\n3,\n4,5\n\n7,9\n", missing="mask")
    assert data.mask.tolist() == [[True, False, True, False, True]]
    assert "2 samples in which a value is missing" in " ".join(data.notes)


def test_rows_that_are_nodes(table):
    turned = "\n".join(
        f"{name},{','.join(map(str, row))}" for name, row in zip("ab", EXPECTED.T, strict=True)
    )
    data = table("name," + ",".join(f"s{k}" for k in range(12)) + "\n" + turned, axes="node,time")
    np.testing.assert_array_equal(data.series[0], EXPECTED)
    assert data.node_names == ("a", "b")


def test_names_of_rows_that_r_writes(table):
    rows = "\n".join(f'"{k + 1}" {row.replace(",", " ")}' for k, row in enumerate(ROWS.split("\n")))
    data = table(f'"a" "b"\n{rows}', "t.txt")
    np.testing.assert_array_equal(data.series[0], EXPECTED)


def test_nodes_of_tables_are_put_in_one_order_by_name(tmp_path):
    frame = pandas.DataFrame(EXPECTED, columns=["a", "b"])
    frame.to_csv(tmp_path / "one.csv", index=False)
    frame[["b", "a"]].to_csv(tmp_path / "two.csv", index=False)
    frame.rename(columns={"a": "c"}).to_csv(tmp_path / "three.csv", index=False)
    data = read_series([tmp_path / "one.csv", tmp_path / "two.csv"])
    np.testing.assert_array_equal(data.series, [EXPECTED, EXPECTED])
    assert "two.csv: nodes were put in the order of" in " ".join(data.notes)
    with pytest.raises(DataError, match=r"three.csv lacks 'a' and has also 'c'"):
        read_series([tmp_path / "one.csv", tmp_path / "three.csv"])


def test_steps_that_differ_between_files_are_refused(tmp_path):
    for name, step in (("one", 0.5), ("two", 0.8)):
        frame = pandas.DataFrame(EXPECTED, columns=["a", "b"], index=np.arange(12) * step)
        frame.to_csv(tmp_path / f"{name}.csv", index_label="time")
    files = [tmp_path / "one.csv", tmp_path / "two.csv"]
    with pytest.raises(
        DataError, match=r"two.csv has a sample every 0.8 s and .*one.csv every 0.5"
    ):
        read_series(files)
    assert read_series(files, step=1).step == 1


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_stored_tables_with_their_index(tmp_path, kind):
    pytest.importorskip("pyarrow")
    index = pandas.date_range("2024-01-01", periods=12, freq="2s", name="when")
    frame = pandas.DataFrame(EXPECTED, columns=["a", "b"], index=index)
    path = tmp_path / f"t.{kind}"
    getattr(frame, f"to_{kind}")(path)
    data = read_series(path)
    np.testing.assert_array_equal(data.series[0], EXPECTED)
    assert (data.node_names, data.step) == (("a", "b"), 2)
    nullable = pandas.DataFrame({"a": pandas.array([1, None, 3, 5], "Int64"), "b": [1.0, 2, 3, 9]})
    getattr(nullable, f"to_{kind}")(path)
    with pytest.raises(DataError, match="node 'a' at sample 1"):
        read_series(path)
    assert read_series(path, missing="mask").mask.tolist() == [[True, False, True, True]]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cut off"):
        read_series(path)


@pytest.mark.skipif(find_spec("nitime") is None, reason="nitime is not installed")
def test_a_recording_that_nitime_ships():
    shipped = files("nitime")
    (path,) = [one.locate() for one in shipped if one.name == "fmri_timeseries.csv"]
    data = read_series(path)
    assert data.shape == (1, 250, 31)
    assert "LPut" in data.node_names

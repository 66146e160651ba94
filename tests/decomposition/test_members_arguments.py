"""`members=`: how columns are named, what is refused, and the page that explains it."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import synkern
from synkern.analysis import persistence_reference
from synkern.decomposition import detrend

PAGE = Path(__file__).parents[2] / "docs" / "nodes_of_several_columns.md"


@pytest.fixture
def series(rng):
    return rng.standard_normal((2, 80, 5))


def sts(series, members, **options):
    return synkern.phiid(series, members=members, **options)["sts"]


def test_the_page_runs_as_printed(capsys):
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    names: dict = {}
    exec(compile(block, PAGE.name, "exec"), names)
    assert capsys.readouterr().out.startswith("('V1', 'V2', 'M1')\n[[")
    result, again, transfer = names["result"], names["again"], names["transfer"]
    for name in result:
        np.testing.assert_allclose(again[name], result[name], rtol=0, atol=1e-9)
    assert transfer[0, 1] > transfer[1, 0] + 0.1
    assert abs(names["one"]["sts"][0, 1] - result["sts"][0, 1]) > 0.1


def test_lists_mappings_arrays_and_ranges(series):
    wanted = sts(series, [[0, 1], [2, 3, 4]])
    for members in (
        ([0, 1], (4, 3, 2)),
        [range(2), np.arange(2, 5)],
        {"a": [1, 0], "b": range(2, 5)},
        {"a": [1, 0], "b": range(2, 5)}.values(),
    ):
        np.testing.assert_allclose(sts(series, members), wanted, rtol=0, atol=1e-12)
    square = np.array([[0, 1], [2, 3]])
    np.testing.assert_allclose(sts(series, square), sts(series, [[0, 1], [2, 3]]), atol=1e-12)


def test_names_of_nodes(series):
    members = {"left": [0, 1], "right": [2]}
    assert synkern.phiid(series, members=members).node_names == ("left", "right")
    named = synkern.phiid(series, members=[[0, 1], [2]], node_names=["u", "v"])
    assert named.node_names == ("u", "v")
    assert synkern.phiid(series, members=[[0, 1], [2]]).node_names is None
    assert synkern.phiid_nodes(series, members=members).node_names == ("left", "right")
    by_lag = synkern.phiid_lags(series, tau=[2], members=members)
    assert by_lag[2].node_names == ("left", "right")
    with pytest.raises(ValueError, match="node_names has 3 names for 2 nodes"):
        synkern.phiid(series, members=members, node_names=["u", "v", "w"])


def test_columns_by_name(series):
    frame = pd.DataFrame(series[0], columns=list("pqrst"))
    found = synkern.phiid(frame, members={"A": ["q", "p"], "B": ["t"]})
    assert found.node_names == ("A", "B")
    np.testing.assert_allclose(found["sts"], sts(series[0], [[0, 1], [4]]), rtol=0, atol=1e-12)
    assert synkern.phiid(frame, members=[["q"], ["t"]]).node_names is None
    with pytest.raises(ValueError, match=r"names the column 'z', which .* has 'p', 'q'"):
        synkern.phiid(frame, members=[["q"], ["z"]])
    twice = pd.DataFrame(series[0], columns=list("ppqrs"))
    with pytest.raises(ValueError, match="'p', as several columns of the series are named"):
        synkern.phiid(twice, members=[["p"], ["q"]])


def test_labels_of_a_recording(series):
    class Recorded:
        zero_filled = False
        nodes = ("L0H0", "L0H1", "L1H0", "L1H1", "L1H2")

    Recorded.series = series
    members = {"layer 0": ["L0H0", "L0H1"], "layer 1": [2, "L1H1", 4]}
    for result in (
        synkern.phiid(Recorded(), members=members),
        synkern.phiid_lags(Recorded(), tau=[1], members=members)[1],
    ):
        assert result.node_names == ("layer 0", "layer 1")
        np.testing.assert_allclose(result["sts"], sts(series, [[0, 1], [2, 3, 4]]), atol=1e-12)


@pytest.mark.parametrize(
    ("members", "error", "said"),
    [
        ([[0, 1], [1, 2]], ValueError, r"members\[0\] and members\[1\] both have column 1"),
        ([[0, 0], [1]], ValueError, r"members\[0\] names column 0 twice"),
        ([[0], [5]], ValueError, r"members\[1\] must name nodes from 0 to 4; entry \[0\] is 5"),
        ([[0], [-1]], ValueError, r"entry \[0\] is -1"),
        ([[0], []], ValueError, r"members\[1\] is empty"),
        ([[0, 1]], ValueError, "at least two nodes; got 1"),
        ([[0], ["a"]], ValueError, "the columns of the series have no names"),
        ([0, 1], TypeError, r"members\[0\] must be a list of columns; got 0"),
        (["ab", "c"], TypeError, r"members\[0\] must be a list of columns; got 'ab'"),
        ([[0], [1.5]], TypeError, r"members\[1\] must be whole numbers"),
        ([[0], [True]], TypeError, r"members\[1\] must be whole numbers"),
        ([{0, 1}, [2]], TypeError, r"members\[0\] must be a list of columns"),
        ("all", TypeError, "members must be a list of columns for each node"),
        (3, TypeError, "members must be a list of columns for each node"),
    ],
    ids=str,
)
def test_what_are_no_members(series, members, error, said):
    with pytest.raises(error, match=said):
        synkern.phiid(series, members=members)


def test_what_does_not_take_members(series):
    members = [[0, 1], [2]]
    with pytest.raises(ValueError, match="'discrete' is of nodes of one column.*2\\*\\*k states"):
        synkern.phiid(series, members=members, kind="discrete")
    with pytest.raises(ValueError, match="moments are correlations of single columns"):
        synkern.phiid(synkern.LaggedMoments().update(series), members=members)
    with pytest.raises(TypeError, match="no option 'members': .* phiid_nodes alone"):
        persistence_reference(series, members=members)
    for backend in ("cpu", "triton", "cupy"):
        with pytest.raises(ValueError, match=f"'{backend}' does not take nodes of several columns"):
            synkern.phiid(series, members=members, backend=backend)
    assert synkern.phiid(series, members=members).backend == "numpy"


def test_a_result_is_saved_and_loaded(series, tmp_path):
    result = synkern.phiid(series, members={"a": [0, 1], "b": [2, 3], "c": [4]})
    result.save(tmp_path / "result.npz")
    loaded = synkern.PhiIDResult.load(tmp_path / "result.npz")
    assert (loaded.node_names, loaded.shape) == (("a", "b", "c"), (2, 80, 3))
    np.testing.assert_array_equal(loaded["sts"], result["sts"])
    assert (result.valid_trials()[~np.eye(3, dtype=bool)] == 2).all()


def test_preprocessing_goes_before(series):
    changed = detrend(series.cumsum(1))
    assert np.isfinite(sts(changed, [[0, 1], [2, 3, 4]])[0, 1])
    thousands = np.random.default_rng(1).standard_normal((60, 1500))
    found = synkern.phiid(thousands, members=[[0, 700], [1499, 3]])  # far more columns than nodes
    wanted = synkern.phiid(thousands[:, [0, 700, 1499, 3]], members=[[0, 1], [2, 3]])
    np.testing.assert_allclose(found["sts"], wanted["sts"], rtol=0, atol=1e-12)

"""The table of errors finds a wrong value, a lost one and an invented one."""

import numpy as np
import pytest

from bench.suites import accuracy


@pytest.fixture(scope="module")
def kinds():
    return {kind.name: kind for kind in accuracy.kinds(3)}


def test_kinds_are_those_of_the_page(kinds):
    assert list(kinds) == [
        "benign",
        "near-collinear",
        "persistent",
        "degenerate",
        "heavy-tailed",
        "short",
        "long",
    ]


@pytest.mark.parametrize("name", ["benign", "near-collinear", "degenerate", "short"])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_promises_are_kept(kinds, name, redundancy, backend):
    kind = kinds[name]
    gaps = [accuracy.least_gaps(x, y, kind.tau) for x, y in kind.draws.series.swapaxes(1, 2)]
    exact = accuracy.truth(kind.draws, redundancy)
    for dtype in accuracy.DTYPES:
        found = accuracy.computed(kind, redundancy, backend, dtype)
        row = accuracy.row(found, exact, gaps, dtype)
        assert (row["broken"], row["lost"], row["invented"]) == (0, 0, 0)
        assert row["pairs"] == 3


def test_triton_sees_the_same_pairs(kinds):
    """It gets only the nodes and trials of the pairs, under other numbers."""
    base = kinds["benign"].series[0]
    series = np.stack([base, base[::-1], base[:, ::-1]])
    places = np.array([[2, 4, 1], [0, 1, 5], [2, 1, 3]])
    kind = accuracy.Kind("renumbered", "", series, places)
    found = accuracy.computed(kind, "MMI", "triton", "float64")
    np.testing.assert_allclose(
        found, accuracy.computed(kind, "MMI", "numpy", "float64"), atol=1e-12
    )


def test_what_is_wrong_is_counted():
    exact = np.ones((4, 16))
    exact[3] = np.nan
    found = exact.copy()
    found[0, 5] += 1e-8
    found[1] = np.nan
    found[3] = 0.0
    row = accuracy.row(found, exact, [(0.1, 0.1)] * 4, "float64")
    assert {name: row[name] for name in ("broken", "lost", "invented")} == {
        "broken": 1,
        "lost": 1,
        "invented": 1,
    }
    assert row["worst"][5] == pytest.approx(1e-8)
    assert row["mean"][5] == pytest.approx(0.5e-8)

"""Exponents and take-overs are those of curves that are known."""

import numpy as np
import pytest

from bench.page import rows
from bench.suites import scaling


def points(function, sizes=(64, 128, 256, 512, 1024)):
    return [{"size": s, "seconds": function(s), "bytes": int(8 * s**2)} for s in sizes]


def test_exponents_of_power_laws():
    found = scaling.exponents(points(lambda n: 1e-9 * n**2.5))
    assert found["seconds"] == pytest.approx(2.5)
    assert found["bytes"] == pytest.approx(2)


def test_too_few_points_have_no_exponent():
    assert scaling.exponents(points(float, (64, 128)))["seconds"] is None


def test_crossing_lies_where_the_curves_meet():
    first, second = points(lambda n: 1e-3 + 0 * n), points(lambda n: 1e-8 * n**2)
    ((cross, later),) = scaling.crossings(first, second)
    assert later == 0
    assert cross == pytest.approx(np.sqrt(1e5), rel=0.02)
    assert scaling.crossings(first, points(lambda n: 2e-3 + 0 * n)) == []
    curves = [
        {"backend": name, "work": "CCS", "axis": "nodes", "points": p}
        for name, p in (("flat", first), ("steep", second))
    ]
    assert rows.takeovers(curves) == ["CCS: flat is faster than steep from 316 nodes on"]


def test_crossing_back_and_forth_is_no_take_over():
    first = points(lambda n: 1.0)
    assert not scaling.crossings(first, points(lambda n: 1.1 if n == 256 else 0.9))


def test_a_curve_is_measured_and_says_what_ended_it():
    curve = {"backend": "numpy", "work": "MMI rtr+sts", "axis": "trials"}
    found = scaling.measure(curve, 0.3)
    assert found["points"][0]["size"] == 1
    assert all(p["seconds"] > 0 for p in found["points"])
    assert found["ended by"] in ("time", "memory", "the largest size of the suite")


def test_a_curve_that_takes_too_long_is_ended_and_says_so():
    """Before the first point: Python alone takes longer to start."""
    curve = {"backend": "numpy", "work": "CCS", "axis": "nodes"}
    found = scaling.measure(curve, 1.0, most=0.01)
    assert found["points"] == []
    assert found["ended by"] == "time, within a call"
    (row,) = rows.scaling_rows([found])
    assert row == ["CCS", "nodes", "numpy", "none", "-", "-", "-", "-", "time, within a call"]
    assert rows.takeovers([found]) == []


def test_a_curve_that_fails_is_an_error():
    with pytest.raises(RuntimeError, match="nonsense"):
        scaling.measure({"backend": "nonsense", "work": "CCS", "axis": "nodes"}, 1.0)

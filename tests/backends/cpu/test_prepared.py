"""Compiled kernels: what is made of a series before pairs are formed, number by number."""

import numpy as np
import pytest

from synkern.kernels import ESTIMATORS, Rectangle, request_for
from synkern.kernels.cpu_backend import layouts
from synkern.kernels.cpu_backend.layouts import PANEL, _pair_up, _standardise
from synkern.kernels.cpu_backend.record import BACKEND
from synkern.kernels.formulas.unit_vectors import unit_vectors

pytestmark = pytest.mark.skipif(not BACKEND.status().available, reason="needs a C++ compiler")

UNIT = 2**-53

SCALES = {
    "ordinary": (1.0, 0.0),
    "far from zero": (1e-3, -1e5),
    "near the largest": (1e307, 0.0),
    "squares overflow": (1e200, 3e200),
    "squares vanish": (1e-200, 0.0),
    "subnormal": (1e-311, 0.0),
}


def request(tau, rectangle=None):
    return request_for(
        ("rtr", "sts"),
        estimator=ESTIMATORS["gaussian", "MMI"],
        per_trial=False,
        dtype="float64",
        tau=tau,
        rectangle=rectangle,
    )


def series_of(rng, time, nodes, kind="ordinary"):
    scale, offset = SCALES[kind]
    series = np.clip(rng.standard_normal((3, time, nodes)), -9, 9) * scale + offset
    series[1, :, nodes // 2] = 0.1 * scale  # constant, and its mean is not what it is by rounding
    series[2, :-1, -1] = offset  # a constant past alone
    return series


def by_node(lines, nodes):
    """(trials, panels, lines, samples, PANEL) by node, its (lines, samples), and what is left."""
    whole = np.moveaxis(lines, -1, 2).reshape(len(lines), -1, *lines.shape[2:4])
    return whole[:, :nodes], whole[:, nodes:]


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("nodes", [1, 7, 8, 9, 21])
@pytest.mark.parametrize(("time", "tau"), [(2, 1), (5, 1), (9, 1), (60, 3), (403, 2)])
def test_unit_vectors(rng, time, tau, nodes, kind):
    """Mean and norm of n values are right to n roundings; values and differences have own ones."""
    series = series_of(rng, time, nodes, kind)
    expected = unit_vectors(np, series, tau)
    found = _standardise(series, request(tau))
    vectors, beyond = by_node(np.moveaxis(found.values, 3, 2), nodes)
    np.testing.assert_array_equal(found.constant, expected.constant)
    assert found.constant[1, nodes // 2]
    assert (beyond == 0).all()
    for k, side in enumerate((expected.past, expected.future)):
        np.testing.assert_allclose(vectors[:, :, k], side, rtol=0, atol=(time + 8) * UNIT)
    own = (expected.past * expected.future).sum(-1)
    np.testing.assert_allclose(found.own, own, rtol=0, atol=4 * (time + 8) * UNIT)


@pytest.mark.parametrize("kind", SCALES)
@pytest.mark.parametrize("nodes", [1, 8, 13])
@pytest.mark.parametrize(("time", "tau"), [(9, 1), (10, 1), (27, 3), (28, 3), (29, 3), (404, 4)])
def test_pairs_of_samples(rng, time, tau, nodes, kind):
    """The lines of a block from the series as one unit vector, samples beyond its ends zero."""
    series = series_of(rng, time, nodes, kind)
    found = _pair_up(series, request(tau))
    moments = unit_vectors(np, series, tau)
    np.testing.assert_array_equal(found.constant, moments.constant)
    own = (moments.past * moments.future).sum(-1)
    varies = ~moments.constant
    np.testing.assert_allclose(
        found.own[varies],
        own[varies],
        rtol=0,
        atol=(8 * time * found.magnified[varies] * UNIT).max(),
    )
    assert (found.own[~varies] == 0).all()

    # As long as it is: the lag that leaves all samples to the past is none.
    whole = unit_vectors(np, np.concatenate([series, series[:, :tau]], 1), tau).past
    padded = np.pad(whole, [(0, 0), (0, 0), (tau, 4 * tau)])
    lines, beyond = by_node(found.taps, nodes)
    assert (beyond == 0).all()
    each = (-(-time // tau) + 1) // 2
    for phase in range(tau):
        for k in range(each):
            t = tau + phase + 2 * k * tau
            before, u0, u1, after = (padded[..., t + d * tau] for d in (-1, 0, 1, 2))
            expected = np.stack([u0, before - u1, u0 + u1, u0 - u1, after - u0, u1], -1)
            np.testing.assert_allclose(
                lines[..., phase * each + k], expected, rtol=0, atol=2 * (time + 8) * UNIT
            )


def test_a_rectangle_leaves_other_panels_unwritten(rng):
    """Only what is constant is known of their nodes."""
    series = series_of(rng, 40, 5 * PANEL)
    rectangle = Rectangle(slice(0, 3), slice(20, 30))
    part, whole = (_pair_up(series, request(1, which)) for which in (rectangle, None))
    np.testing.assert_array_equal(part.constant, whole.constant)
    for panel in (0, 2, 3):
        np.testing.assert_array_equal(part.taps[:, panel], whole.taps[:, panel])


def test_threads_make_the_same(rng, monkeypatch):
    series = series_of(rng, 100, 300)
    found = []
    for count in (1, 3):
        monkeypatch.setattr(layouts.native, "threads_for", lambda work, count=count: count)
        found.append((_pair_up(series, request(1)), _standardise(series, request(1))))
    for one, two in zip(*found, strict=True):
        for name in ("own", "constant", "taps" if hasattr(one, "taps") else "values"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))

"""Short ways for few numbers decide as the long ones do."""

import numpy as np
import pytest

from synkern.decomposition import states
from synkern.kernels import pointwise
from synkern.kernels.formulas import above_mean, steady

SPACING = 2.0**-52


def pair(rng, kind, time):
    """Two nodes (1, time, 2), the second of a kind that decisions hang on."""
    first = rng.standard_normal(time)
    second = {
        "plain": rng.standard_normal(time),
        "far": 1e6 + rng.standard_normal(time),
        "levels": rng.integers(0, 3, time) / 10,
        "constant": np.full(time, 0.1),
        "nearly constant": 0.1 + 2.0**-56 * rng.integers(0, 3, time),
        "faint": 1e-14 * rng.standard_normal(time),
        "constant at first": np.where(np.arange(time) < 0.9 * time, 0.3, rng.standard_normal(time)),
        "huge": rng.choice([-1.0, 1.0], time) * 1.7e308,
        "subnormal": 5e-324 * rng.integers(0, 9, time),
    }[kind]
    return np.stack([first, second], -1)[None]


KINDS = ["plain", "far", "levels", "constant", "nearly constant", "faint", "constant at first"]
KINDS += ["huge", "subnormal"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [8, 40, 100])
def test_of_what_is_constant(rng, monkeypatch, kind, time):
    series = pair(rng, kind, time)
    by_python = steady.plain(np, series, 1, SPACING)
    monkeypatch.setattr(steady, "FEW", 0)
    assert by_python is steady.plain(np, series, 1, SPACING)
    assert by_python or kind not in ("plain", "far")
    assert not (by_python and kind in ("constant", "nearly constant", "faint"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("time", [8, 40, 100])
def test_of_the_mean(rng, monkeypatch, kind, time):
    rows = np.ascontiguousarray(pair(rng, kind, time)[0].T)
    glanced = above_mean.above_mean(np, rows)
    monkeypatch.setattr(above_mean, "GLANCE", 0)
    np.testing.assert_array_equal(glanced, above_mean.above_mean(np, rows))
    # One value is the mean, but for less than rounding lets be seen.
    rows[0] = np.where(np.arange(time) < time - time % 2, np.tile([1.0, -1.0], time)[:time], 0.0)
    rows[0, 0] = np.nextafter(1.0, 2.0)
    long = above_mean.above_mean(np, rows)
    monkeypatch.undo()
    np.testing.assert_array_equal(above_mean.above_mean(np, rows), long)


def test_of_levels(rng, monkeypatch):
    glance = np.stack([rng.integers(0, n, 32) for n in (2, 21, 22)] + [rng.random(32)], -1)
    few = list(states._of_few_levels(glance.astype(float)))
    monkeypatch.setattr(states, "_FEW_NODES", 0)
    assert few == list(states._of_few_levels(glance.astype(float)))
    assert 0 in few
    assert 3 not in few


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_states_that_never_occur(rng, redundancy):
    """NaN if asked for; and the others are the same, bit for bit, if not."""
    fitted = rng.choice([0, 1, 4, 7, 10, 15], (3, 50))
    blank = pointwise.discrete(np, fitted, redundancy)
    finite = pointwise.discrete(np, fitted, redundancy, blank=False)
    seen = (fitted[:, None] == np.arange(16)[:, None]).any(-1)
    assert 0 < seen.sum() < seen.size
    for with_nan, without in zip(blank[:4], finite[:4], strict=True):
        assert np.isnan(with_nan.swapaxes(1, 2)[~seen]).all()
        kept = with_nan.swapaxes(1, 2)[seen]
        assert kept.tobytes() == without.swapaxes(1, 2)[seen].tobytes()
        assert np.isfinite(without).all()

import statistics

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern.decomposition.preprocess import PREPROCESSING, copula, detrend, difference, zscore

TIME = np.arange(100.0)


def ar1(rng, rho, time, nodes):
    noise = rng.standard_normal((time, nodes))
    series = np.empty_like(noise)
    series[0] = noise[0] / np.sqrt(1 - rho**2)
    for t in range(1, time):
        series[t] = rho * series[t - 1] + noise[t]
    return series


def lag_correlation(series):
    past, future = (part - part.mean(0) for part in (series[:-1], series[1:]))
    return ((past * future).sum(0) / np.sqrt((past**2).sum(0) * (future**2).sum(0))).mean()


@pytest.mark.parametrize("order", [1, 2])
def test_detrend_leaves_the_residual_of_polyfit(rng, order):
    series = rng.standard_normal((3, 50, 4)) + np.linspace(0, 9, 50)[:, None] ** 2
    out = detrend(series, order)
    for trial in range(3):
        fit = np.polynomial.polynomial.Polynomial.fit
        for node in range(4):
            column = series[trial, :, node]
            expected = column - fit(np.arange(50), column, order)(np.arange(50))
            np.testing.assert_allclose(out[trial, :, node], expected, rtol=0, atol=1e-12)


def test_detrend_keeps_what_a_large_offset_leaves(rng):
    noise = rng.standard_normal((2000, 2))
    for order in (1, 2):
        drift = 1e9 * (1 + np.linspace(0, 3, 2000)[:, None]) ** order
        # Rounded to half a unit in the last place by the sum here and by each large subtraction.
        unit = np.finfo(float).eps * drift.max()
        out = detrend(noise + drift, order)
        np.testing.assert_allclose(out, detrend(noise, order), rtol=0, atol=2 * unit)


def test_zscore_keeps_what_a_large_offset_leaves(rng):
    series = 1e12 + rng.standard_normal((1000, 2))
    np.testing.assert_allclose(zscore(series).mean(0), 0, atol=1e-14)


def test_difference(rng):
    series = rng.standard_normal((2, 30, 3))
    np.testing.assert_array_equal(difference(series), np.diff(series, axis=1))


def test_zscore(rng):
    series = 5 + 3 * rng.standard_normal((2, 40, 3))
    out = zscore(series)
    np.testing.assert_allclose(out.mean(1), 0, atol=1e-15)
    np.testing.assert_allclose(out.std(1), 1, rtol=1e-14)
    np.testing.assert_allclose(
        out[1, :, 2], (series[1] - series[1].mean(0))[:, 2] / series[1, :, 2].std()
    )


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_zscore_of_extreme_units(rng, scale):
    series = rng.standard_normal((40, 3))
    np.testing.assert_allclose(zscore(scale * series), zscore(series), rtol=1e-12)


def test_copula_is_the_quantile_of_mean_ranks():
    # Ranks 4, 1, 2.5, 2.5, 5 of 5 values.
    quantile = statistics.NormalDist().inv_cdf
    expected = [quantile(rank / 6) for rank in (4, 1, 2.5, 2.5, 5)]
    out = copula(np.array([[7.0, -2, 0, 0, 1e9]]).T)
    np.testing.assert_allclose(out[:, 0], expected, rtol=0, atol=1e-14)


def test_copula_sees_only_the_order(rng):
    series = rng.standard_normal((2, 60, 4))
    np.testing.assert_array_equal(copula(series), copula(np.exp(series)))
    np.testing.assert_array_equal(copula(-series), -copula(series))


@pytest.mark.parametrize("name", PREPROCESSING)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1])
def test_constant_stays_constant(rng, name, value):
    series = rng.standard_normal((2, 37, 3))
    series[1, :, 1] = value
    out = PREPROCESSING[name](series)
    assert np.ptp(out[1, :, 1]) == 0
    assert (np.ptp(out, axis=1) > 0).sum() == 5
    with pytest.warns(UserWarning, match="2 constant"):
        synkern.phiid(out)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_nothing_is_left_of_a_line(rng, kind, dtype):
    """Rounding errors of a removed trend must not be decomposed."""
    series = rng.standard_normal((100, 3))
    series[:, 1] = 0.3 + 0.1 * TIME
    series = kind(series.astype(dtype))
    for name in ("linear", "quadratic", "difference"):
        out = np.asarray(PREPROCESSING[name](series))
        assert np.ptp(out[:, 1]) == 0
        assert (np.ptp(out, axis=0)[[0, 2]] > 1).all()
    np.testing.assert_allclose(np.asarray(difference(series))[:, 1], 0.1, rtol=1e-6)


def test_signal_beside_a_trend_is_kept():
    """Small against the trend, large against its rounding."""
    series = np.stack([TIME, TIME + 1e-9 * np.sin(TIME)], 1)
    out = detrend(series)
    assert np.ptp(out[:, 0]) == 0
    np.testing.assert_allclose(out[:, 1], detrend(1e-9 * np.sin(TIME)[:, None])[:, 0], atol=1e-13)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_same_kind_out(rng, name):
    series = rng.standard_normal((2, 40, 3))
    step = PREPROCESSING[name]
    out = step(series)
    assert isinstance(out, np.ndarray)
    assert out.dtype == np.float64
    tensor = step(torch.from_numpy(series))
    assert isinstance(tensor, torch.Tensor)
    # Sums in another order: some 40 values about 1, an eps each, and a quantile to a few eps.
    np.testing.assert_allclose(tensor.numpy(), out, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(step(series.tolist()), out)
    np.testing.assert_allclose(step(series[1]), out[1], rtol=0, atol=1e-14)
    np.testing.assert_array_equal(step(series[:, ::-1][:, ::-1]), out)


@pytest.mark.parametrize("name", sorted(set(PREPROCESSING) - {"copula"}))
def test_gradient(rng, name):
    series = torch.from_numpy(rng.standard_normal((1, 9, 2))).requires_grad_()
    assert torch.autograd.gradcheck(PREPROCESSING[name], [series])


def test_copula_has_no_gradient(rng):
    series = torch.from_numpy(rng.standard_normal((20, 2))).requires_grad_()
    assert not copula(series).requires_grad


def test_gradient_passes_a_constant_node(rng):
    series = torch.from_numpy(rng.standard_normal((1, 40, 3)))
    series[..., 1] = 2
    series.requires_grad_()
    for name in sorted(set(PREPROCESSING) - {"copula"}):
        (gradient,) = torch.autograd.grad((PREPROCESSING[name](series) ** 3).sum(), series)
        assert torch.isfinite(gradient).all()


def test_copula_of_ties_is_that_of_tensors(rng):
    series = rng.integers(0, 4, (3, 101, 5)).astype(float)
    series[0, :, 0] = -0.0
    series[0, 50, 0] = 0.0  # equal to it
    out, tensor = copula(series), copula(torch.from_numpy(series)).numpy()
    # Quantiles by two algorithms, each to a few units in the last place of values below 2.4.
    np.testing.assert_allclose(out, tensor, rtol=0, atol=4e-15)
    assert not out[0, :, 0].any()


def test_documented_persistence(rng):
    """The numbers of the docstrings, within their sampling error (0.001) at fewer series."""
    series = ar1(rng, 0.97, 100, 3000)
    measured = {name: lag_correlation(step(series)) for name, step in PREPROCESSING.items()}
    measured["none"] = lag_correlation(series)
    expected = {
        "none": 0.925,
        "linear": 0.891,
        "quadratic": 0.853,
        "difference": -0.015,
        "copula": 0.894,
        "zscore": 0.925,
    }
    for name, value in expected.items():
        assert measured[name] == pytest.approx(value, abs=0.006), name


def test_zscore_changes_no_atom(rng):
    series = 4 + 100 * rng.standard_normal((2, 50, 4)).cumsum(1)
    raw, scaled = synkern.phiid(series), synkern.phiid(zscore(series))
    for atom in raw:
        np.testing.assert_allclose(scaled[atom], raw[atom], rtol=0, atol=1e-11)


@pytest.mark.parametrize("name", PREPROCESSING)
def test_bad_input(rng, name):
    step = PREPROCESSING[name]
    with pytest.raises(ValueError, match=r"series must be \(trials, time, nodes\).*\(7,\)"):
        step(np.zeros(7))
    with pytest.raises(ValueError, match=r"time points; series has 1 \(shape \(1, 3\)\)"):
        step(np.zeros((1, 3)))
    with pytest.raises(TypeError, match="series must hold real numbers"):
        step(np.zeros((20, 3), complex))
    series = rng.standard_normal((2, 20, 3))
    series[1, 4, 2] = np.nan
    with pytest.raises(ValueError, match="1 values.*trial 1, time 4, node 2: nan"):
        step(series)
    with pytest.raises(ValueError, match="first at time 4, node 2"):
        step(series[1])


def test_unknown_order():
    with pytest.raises(ValueError, match="order must be one of 1, 2; got 3"):
        detrend(np.zeros((9, 2)), 3)

"""What is said of masks, of samples too few as they are pooled, and of trials put together."""

import re

import numpy as np
import pytest
import torch
import xarray

import synkern
from synkern.decomposition import preprocess


@pytest.fixture
def series(rng):
    return rng.standard_normal((3, 40, 4))


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (np.ones(40), TypeError, "mask must hold truth values.*float64.*astype"),
        (np.arange(40), TypeError, "indices of valid samples numpy.isin"),
        (np.ones(39, bool), ValueError, r"mask must be .*here \(40,\) or \(3, 40\); got.*\(39,\)"),
        (np.ones((40, 3), bool), ValueError, r"got shape \(40, 3\)"),
        (np.ones((3, 40, 4), bool), ValueError, r"same for all nodes.*mask.all\(-1\)"),
        (["yes"] * 40, TypeError, "truth values"),
    ],
)
def test_what_is_no_mask(series, mask, error, said):
    for call in (
        lambda: synkern.phiid(series, mask=mask),
        lambda: synkern.persistence_reference(series, mask=mask),
        lambda: synkern.phiid_local(series, [[0, 1]], mask=mask),
        lambda: synkern.LaggedMoments().update(series, mask=mask),
        lambda: synkern.null_test(series, mask=mask),
        lambda: preprocess.detrend(series, mask=mask),
    ):
        with pytest.raises(error, match=said):
            call()


def test_a_value_that_is_said_to_be_valid(series, backend):
    mask = np.ones((3, 40), bool)
    mask[0, 3] = False
    series[0, 3] = np.nan
    series[1, 7, 2] = np.inf
    with pytest.raises(ValueError, match="1 values that are NaN or inf.*trial 1, time 7, node 2"):
        synkern.phiid(series, mask=mask, backend=backend)


def test_nan_is_answered_with_a_mask(series):
    series[1, 7, 2] = np.nan
    said = "mask.*false lags.*persistence"
    for call in (
        lambda: synkern.phiid(series),
        lambda: synkern.phiid_local(series, [[0, 1]]),
        lambda: preprocess.zscore(series),
    ):
        with pytest.raises(ValueError, match=said) as raised:
            call()
        assert "remove or fill" not in str(raised.value)
    with pytest.raises(ValueError, match="mask=") as raised:
        synkern.LaggedMoments().update(series)
    assert "remove or fill" not in str(raised.value)


def test_a_trial_with_too_few_pairs(series, backend):
    mask = np.ones((3, 40), bool)
    mask[1, 3:] = False
    for average in ("trials", None):
        with pytest.raises(
            ValueError,
            match="trial 1 has 3 valid time points and tau = 1.*leaves 2 samples.*at least 5",
        ):
            synkern.phiid(series, mask=mask, average=average, backend=backend)
    found = synkern.phiid(series, mask=mask, average="concatenate", backend=backend)
    assert np.isfinite(found["sts"][0, 1])
    # At a lag of 2 every pair of these has one end that is not valid.
    series = np.tile(series, (1, 3, 1))
    mask = np.tile(np.arange(120) % 4 < 2, (3, 1))
    with pytest.raises(ValueError, match=r"trial 0 has 60 valid.*tau = 2.*leaves 0 samples"):
        synkern.phiid_lags(series, mask=mask, tau=(1, 2), average=None, backend=backend)


def test_few_pairs_warn(series):
    mask = np.ones((3, 40), bool)
    mask[2, ::2] = False
    mask[2, 20:] = True
    with pytest.warns(
        UserWarning, match="trial 2 has 30 valid.*leaves 20 samples.*below 30 the bias"
    ):
        synkern.phiid(series, mask=mask)
    synkern.phiid(series, mask=mask, average="concatenate")


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_pieces_are_judged_together(rng, backend, kind):
    """Twelve pieces of 4 points, of which each alone has too few."""
    pieces = rng.standard_normal((12, 4, 3))
    found = synkern.phiid(pieces, average="concatenate", kind=kind, backend=backend)
    assert np.isfinite(found["sts"][0, 1])
    # 36 samples, less one for each mean but the first: 25, and a bias that pooling leaves.
    with pytest.warns(UserWarning, match="36 samples together at tau = 1, 25 but for the means"):
        synkern.phiid(pieces, average="moments", kind=kind, backend=backend)
    with pytest.raises(ValueError, match="4 time points and tau = 1, which leaves 3 samples"):
        synkern.phiid(pieces, kind=kind, backend=backend)


def test_least_pooled_samples(rng):
    """As for one trial, whose five samples have a mean and four degrees of freedom."""
    series = rng.standard_normal((4, 3, 2))
    few = pytest.warns(UserWarning, match="below 30")
    with few:
        synkern.phiid(series, average="moments")  # 8 - 3 = 5
    with pytest.raises(ValueError, match="6 samples together at tau = 1, 4 but for the means"):
        synkern.phiid(series[:3], average="moments")
    with few:
        synkern.phiid(series[:3], average="concatenate")
    with pytest.raises(ValueError, match="2 trials leave 4 samples together"):
        synkern.phiid(series[:2], average="concatenate")
    with pytest.raises(ValueError, match="4 trials leave 0 samples together at tau = 3"):
        synkern.phiid(series, average="concatenate", tau=3)


def test_short_trials_about_their_own_means_keep_a_bias(rng):
    """Enough samples together: what is left to say is that the means take persistence."""
    noise = rng.standard_normal((400, 6, 2))
    for t in range(1, 6):
        noise[:, t] += 0.9 * noise[:, t - 1]
    with pytest.warns(UserWarning, match="5 samples at tau = 1 on average.*takes persistence"):
        moments = synkern.phiid(noise, average="moments")
    kept = synkern.phiid(noise, average="concatenate")
    assert moments["sts"][0, 1] < 0.5 * kept["sts"][0, 1]


def test_fit_of_short_pieces(rng):
    series, pieces = rng.standard_normal((2, 4, 3)), rng.standard_normal((20, 3, 3))
    found = synkern.phiid_local(series, [[0, 1]], fit=pieces)
    assert found.shape == (2, 1, 16, 3)
    assert np.isfinite(found).all()
    with pytest.raises(ValueError, match="fit: 2 trials leave 4 samples together"):
        synkern.phiid_local(series, [[0, 1]], fit=pieces[:2])
    with pytest.raises(ValueError, match="series has 4 time points and tau = 4"):
        synkern.phiid_local(series, [[0, 1]], fit=rng.standard_normal((20, 9, 3)), tau=4)
    with pytest.raises(ValueError, match="mask leaves no two valid samples tau = 1 apart"):
        synkern.phiid_local(series, [[0, 1]], mask=np.arange(4) % 2 > 0, fit=pieces)
    with pytest.raises(ValueError, match="fit_mask is of fit"):
        synkern.phiid_local(series, [[0, 1]], fit_mask=np.ones(4, bool))


def test_moments_have_no_samples_to_choose_from(series):
    moments = synkern.LaggedMoments().update(series)
    with pytest.raises(ValueError, match=re.escape("update(chunk, mask=...)")):
        synkern.phiid(moments, mask=np.ones(40, bool))


def test_stacked_pieces_of_unequal_length(rng):
    pieces = [rng.standard_normal((time, 3)) for time in (9, 2, 40, 3)]
    moments = synkern.LaggedMoments.stack([synkern.LaggedMoments().update(p) for p in pieces])
    with pytest.raises(ValueError, match="trial 1 has 1 samples at tau = 1; at least 5.*concat"):
        synkern.phiid(moments)
    assert np.isfinite(synkern.phiid(moments, average="concatenate")["sts"][0, 1])


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_trials_of_unequal_length(rng, library):
    trials = [rng.standard_normal((time, 3)) for time in (50, 35, 50, 41)]
    series, mask = synkern.stack_trials([library(trial) for trial in trials])
    assert series.shape == (4, 50, 3)
    assert mask.sum(1).tolist() == [50, 35, 50, 41]
    assert type(series) is type(library(trials[0]))
    found = synkern.phiid(series, mask=mask, average=None)
    for k, trial in enumerate(trials):
        alone = synkern.phiid(trial)
        for atom in found:
            np.testing.assert_allclose(found[atom][k], alone[atom], rtol=0, atol=1e-12)


def test_trials_that_do_not_stack(rng):
    whole, mask = synkern.stack_trials([np.arange(6).reshape(3, 2), np.arange(4).reshape(2, 2)])
    assert whole.dtype.kind == "i"
    assert whole[1, 2].tolist() == [0, 0]
    assert mask.tolist() == [[True] * 3, [True, True, False]]
    for trials in ([], [np.ones((4, 2)), np.ones((4, 3))], [np.ones(4), np.ones(4)]):
        with pytest.raises(ValueError, match=r"trials must be \(time, nodes\) arrays of the same"):
            synkern.stack_trials(trials)
    with pytest.raises(ValueError, match="stack_trials"):
        synkern.phiid([np.ones((9, 2)), np.ones((8, 2))])


@pytest.mark.parametrize("library", [np.asarray, torch.as_tensor])
def test_pasts_and_futures_given_apart(rng, library):
    """Four matrices: past and future of x, past and future of y."""
    series = rng.standard_normal((2, 60, 3))
    past, future = library(series[:, :-2]), library(series[:, 2:])
    pairs, tau = synkern.lagged_pairs(past, future)
    assert tau == 58
    for options in ({}, {"kind": "discrete"}, {"average": "moments"}):
        found = synkern.phiid(pairs, tau=tau, **options)
        wanted = synkern.phiid(library(series), tau=2, **options)
        for atom in found:
            np.testing.assert_allclose(found[atom], wanted[atom], rtol=0, atol=1e-12)
    for other in (future[:, :-1], future[..., :2], future[0]):
        with pytest.raises(ValueError, match="past and future must have one shape"):
            synkern.lagged_pairs(past, other)
    with pytest.raises(TypeError, match="future must hold real numbers"):
        synkern.lagged_pairs(past, future * 1j)


# ---- Preprocessing -------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, 2])
def test_detrend_follows_valid_samples_alone(rng, order):
    time = np.arange(80.0)
    series = rng.standard_normal((3, 80, 2)) + 0.3 * time[:, None] + 0.01 * time[:, None] ** 2
    mask = rng.random((3, 80)) > 0.2
    mask[2, :70] = False
    mask[2, 71:] = True
    series[~mask] = np.nan
    found = preprocess.detrend(series, order, mask=mask)
    for trial, valid in enumerate(mask):
        for node in range(2):
            values = series[trial, valid, node]
            fitted = np.polynomial.Polynomial.fit(time[valid], values, order)
            # Residuals of one least-squares problem, two factorisations: rounding of values of 100.
            np.testing.assert_allclose(
                found[trial, valid, node], values - fitted(time[valid]), rtol=0, atol=1e-11
            )
    assert np.isnan(found[~mask]).all()
    line = preprocess.detrend(
        np.where(mask[..., None], time[:, None] * [1.0, 3.0], np.nan), mask=mask
    )
    assert (line[mask] == 0).all()


def test_other_steps_with_a_mask(rng):
    """As of the valid samples alone; changes only between valid neighbours."""
    series, mask = rng.standard_normal((3, 50, 2)).cumsum(1), rng.random((3, 50)) > 0.2
    series[~mask] = np.nan
    for step in (preprocess.zscore, preprocess.copula):
        found = step(series, mask=mask)
        for trial, valid in enumerate(mask):
            alone = step(series[trial, valid])
            np.testing.assert_allclose(found[trial, valid], alone, rtol=0, atol=1e-13)
        assert np.isnan(found[~mask]).all()
    changes = preprocess.difference(series, mask=mask)
    both = mask[:, 1:] & mask[:, :-1]
    np.testing.assert_array_equal(changes[both], np.diff(series, axis=1)[both])
    assert np.isnan(changes[~both]).all()
    one = preprocess.difference(series[0], mask=mask[0])
    np.testing.assert_array_equal(one, changes[0])


def test_steps_flow_on_into_phiid(rng):
    series, mask = rng.standard_normal((2, 80, 3)), rng.random((2, 80)) > 0.1
    series[~mask] = np.nan
    cleaned = preprocess.zscore(preprocess.detrend(series, mask=mask), mask=mask)
    assert np.isfinite(synkern.phiid(cleaned, mask=mask)["sts"][0, 1])
    leaf = torch.tensor(series, requires_grad=True)
    done = preprocess.difference(preprocess.detrend(leaf, mask=mask), mask=mask)
    both = mask[:, 1:] & mask[:, :-1]
    synkern.phiid(done, mask=both)["sts"][0, 1].backward()
    assert torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("all_valid", [np.ones(60, bool), np.ones((2, 60), bool)])
def test_steps_with_nothing_left_out(rng, all_valid):
    series = rng.standard_normal((2, 60, 3))
    for step in preprocess.PREPROCESSING.values():
        np.testing.assert_array_equal(step(series, mask=all_valid), step(series))


def test_steps_say_what_is_missing(rng):
    series, mask = rng.standard_normal((2, 30, 3)), np.ones((2, 30), bool)
    mask[1, 2:] = False
    with pytest.raises(ValueError, match="mask leaves 2 time points in trial 1, where at least 3"):
        preprocess.detrend(series, mask=mask)
    mask[1] = np.arange(30) % 2 == 0
    with pytest.raises(ValueError, match="no two neighbouring samples in trial 1"):
        preprocess.difference(series, mask=mask)


def test_series_and_masks_with_names(rng):
    """Axes are told by their names; a mask that is square would else be taken as it lies."""
    series, mask = rng.standard_normal((40, 40, 3)), rng.random((40, 40)) > 0.1
    wanted = synkern.phiid(series, mask=mask, average="concatenate")
    named = xarray.DataArray(series, dims=("subject", "time", "roi")).transpose(
        "roi", "time", "subject"
    )
    of_time = xarray.DataArray(mask, dims=("subject", "time"))
    for given in (of_time, of_time.transpose()):
        found = synkern.phiid(named, mask=given, average="concatenate")
        for atom in wanted:
            np.testing.assert_array_equal(found[atom], wanted[atom])
    cleaned = preprocess.detrend(named, mask=of_time)
    assert cleaned.dims == ("subject", "time", "roi")
    assert np.isnan(cleaned.values[~mask]).all()

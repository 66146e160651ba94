"""Masks of series that are not float64, and what float64 could not hold of samples left out."""

import warnings

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern.decomposition import preprocess

TIME = 50
LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@pytest.fixture
def mask(rng):
    found = rng.random((3, TIME)) > 0.1
    found[:, 9] = False
    return found


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int16, np.float16, ">f8", np.longdouble])
def test_as_in_float64(rng, backend, mask, kind, average, dtype):
    series = rng.integers(0, 2, (3, TIME, 4)).astype(dtype)
    options = {"mask": mask, "kind": kind, "average": average, "backend": backend}
    found = synkern.phiid(series, **options)
    wanted = synkern.phiid(series.astype(np.float64), **options)
    np.testing.assert_array_equal(found["sts"], wanted["sts"])
    assert np.isfinite(found["sts"][0, 1])


def test_truth_values_of_tensors(rng, mask):
    series = torch.from_numpy(rng.random((3, TIME, 4)) < 0.5)
    found = synkern.phiid(series, mask=mask, backend="torch")
    wanted = synkern.phiid(series.double(), mask=mask, backend="torch")
    torch.testing.assert_close(found["sts"], wanted["sts"], rtol=0, atol=0, equal_nan=True)


MISSING = {
    "least": lambda whole: (whole, LEAST),
    "netcdf": lambda whole: (whole, LEAST + 2),
    "most": lambda whole: (whole, MOST),
    "unsigned": lambda whole: (whole.astype(np.uint64), np.iinfo(np.uint64).max),
    "wider": lambda whole: (whole.astype(np.longdouble), np.finfo(np.longdouble).max),
}

CALLS = {
    "phiid": lambda s, m: synkern.phiid(s, mask=m)["sts"],
    "local": lambda s, m: synkern.phiid_local(s, [[0, 1]], mask=m),
    "fit": lambda s, m: synkern.phiid_local(s[:, :8] * 0, [[0, 1]], fit=s, fit_mask=m),
    "moments": lambda s, m: synkern.phiid(synkern.LaggedMoments().update(s, mask=m))["sts"],
    "null": lambda s, m: synkern.null_test(s, n=19, mask=m).p["sts"],
    "zscore": lambda s, m: preprocess.zscore(s, mask=m),
    "difference": lambda s, m: preprocess.difference(s, mask=m),
}


@pytest.mark.filterwarnings("ignore:.*trials can be paired in too few ways")
@pytest.mark.parametrize("missing", MISSING.values(), ids=MISSING)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_numbers_that_stand_for_what_is_missing(rng, mask, missing, call):
    mask = mask[:1].repeat(3, 0)
    series, marker = missing(rng.integers(0, 90, (3, TIME, 3)))
    wanted = call(series.astype(np.float64), mask)
    series[~mask] = marker
    np.testing.assert_allclose(call(series, mask), wanted, rtol=1e-12, atol=1e-12)
    if series.dtype.kind in "iu":
        tensor = call(torch.from_numpy(series), mask)
        np.testing.assert_allclose(tensor, wanted, rtol=1e-12, atol=1e-12)


def test_such_a_number_is_refused_where_it_is_valid(rng, mask):
    series = rng.integers(0, 90, (3, TIME, 3))
    mask[1, 7:9] = True
    series[1, 7] = LEAST
    with pytest.raises(ValueError, match=r"2\*\*53 apart"):
        synkern.phiid(series, mask=mask)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_states_are_told_beside_a_trial_without_samples(rng, library):
    series = rng.integers(0, 3, (3, 100, 2)).astype(float)
    mask = np.ones((3, 100), bool)
    mask[0], series[0] = False, np.nan
    with pytest.warns(UserWarning, match="2 of 2 nodes take more than two levels"):
        synkern.phiid(library(series), kind="discrete", average="concatenate", mask=mask)


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
def test_few_samples_are_told_once_in_a_transform(rng, average):
    series = torch.from_numpy(rng.standard_normal((1, 20, 3)))
    mask = np.arange(20) != 6

    def loss(values):
        return torch.nansum(synkern.phiid(values, mask=mask, average=average)["sts"])

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.func.grad(loss)(series)
    [few] = [str(one.message) for one in caught]
    assert "samples" in few

"""Numbers at the limits of float64, and beyond what it holds."""

import numpy as np
import pytest

import synkern
from support.optional import torch
from synkern import LaggedMoments
from synkern.decomposition.preprocess import PREPROCESSING

AVERAGES = ["trials", "moments", "concatenate", None]
INTEGERS = [
    pytest.param(lambda w: w + 2**62, id="int64"),
    pytest.param(lambda w: w - 2**62, id="negative"),
    pytest.param(lambda w: w + np.array([2**62, -(2**62), 5]), id="each its own"),
    pytest.param(lambda w: w.astype(np.uint64) + np.uint64(2**64 - 10_000), id="uint64"),
    pytest.param(lambda w: (w + 2**62).astype(">i8"), id="big endian"),
]


@pytest.fixture
def whole(rng):
    """Walks of whole numbers from 0 on, (2 trials, 80, 3)."""
    return rng.integers(0, 50, (2, 80, 3)).cumsum(1)


# ---- Near the largest ----------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_sums_that_would_overflow(rng, backend, redundancy, average):
    """A power of two changes no digit, so the atoms are those of the same series at size 1."""
    series = rng.standard_normal((3, 80, 3)).cumsum(1)
    series /= np.abs(series).max()
    series[0, :2, 0] = 1.9, -1.9  # so that the range alone overflows
    options = {"redundancy": redundancy, "average": average, "backend": backend, "atoms": "all"}
    huge = series * np.array([2.0**1023, 1.0, 2.0**-900])
    expected = synkern.phiid(series, **options)
    found = synkern.phiid(huge, **options)
    assert not any(found.degenerate.values())
    for atom in synkern.ATOMS:
        np.testing.assert_array_equal(found[atom], expected[atom])


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_pointwise_ranges_that_would_overflow(rng, redundancy):
    series = rng.standard_normal((80, 2)).cumsum(0)
    series[:2, 0] = np.array([1.9, -1.9]) * np.abs(series).max()
    series /= np.abs(series).max() / 1.9
    expected = synkern.phiid_local(series, [[0, 1]], redundancy=redundancy)
    huge = series * [2.0**1023, 1]
    found = synkern.phiid_local(huge, [[0, 1]], redundancy=redundancy)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    pair = synkern.calc_PhiID(*huge.T, 1, redundancy=redundancy)[0]
    np.testing.assert_allclose(pair["sts"], expected[0, -1], rtol=0, atol=1e-12)
    fitted = synkern.phiid_local(huge, [[0, 1]], redundancy=redundancy, fit=huge)
    np.testing.assert_allclose(fitted, expected, rtol=0, atol=1e-12)


def test_moments_say_which_node_overflows(rng):
    series = rng.standard_normal((2, 80, 3)).cumsum(1)
    series[1, :, 2] *= 1e307
    moments = LaggedMoments().update(series)
    for average in AVERAGES:
        with pytest.raises(ValueError, match=r"squares of node 2 in trial \d leave the range"):
            synkern.phiid(moments, average=average)


# ---- Extended precision --------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["1e400", "-1e320", "1e-400", "1e-320"])
def test_extended_precision_beyond_float64(whole, backend, scale):
    series = (whole + 1) * np.longdouble(scale)
    with pytest.raises(ValueError, match=r"series is .*128.* reaches from 2e-308 to 2e\+308"):
        synkern.phiid(series, backend=backend)
    with pytest.raises(ValueError, match="src is"):
        synkern.calc_PhiID(series[0, :, 0], whole[0, :, 1], 1)
    with pytest.raises(ValueError, match="chunk is"):
        LaggedMoments().update(series)


def test_extended_precision_within_float64(whole, backend):
    series = whole * np.longdouble("1e-300")
    series[0, 0] = 0  # as small as one likes beside the others
    series[0, 1] = np.longdouble("1e-4000")
    expected = synkern.phiid(series.astype(np.float64), backend=backend)
    np.testing.assert_array_equal(synkern.phiid(series, backend=backend)["sts"], expected["sts"])


# ---- Whole numbers that float64 does not tell apart ----------------------------------------------


@pytest.mark.parametrize("shift", INTEGERS)
def test_large_integers_without_their_offset(whole, backend, shift):
    least = whole - whole.min((0, 1))
    for average in AVERAGES:
        options = {"backend": backend, "average": average}
        expected = synkern.phiid(least, **options)
        found = synkern.phiid(shift(whole), **options)
        np.testing.assert_array_equal(found["sts"], expected["sts"])
    assert np.array_equal(shift(whole), shift(whole.copy()))  # the caller's are as they were


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint64])
def test_tensors_of_large_integers(whole, backend, dtype):
    shift = 2**62 if dtype == torch.int64 else -10_000
    tensor = torch.from_numpy(whole + shift)
    expected = synkern.phiid(torch.from_numpy(whole - whole.min((0, 1))), backend=backend)
    found = synkern.phiid(tensor.view(dtype), backend=backend)
    assert torch.equal(found["sts"].nan_to_num(), expected["sts"].nan_to_num())


def test_small_integers_are_left_alone(whole, backend):
    series = whole + 2**53 - int(whole.max())
    expected = synkern.phiid(series.astype(np.float64), backend=backend)
    np.testing.assert_array_equal(synkern.phiid(series, backend=backend)["sts"], expected["sts"])


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_integers_too_far_apart(whole, backend, library):
    series = whole.copy()
    series[1, 7, 2] = -(2**63) + 10
    series[0, 7, 2] = 2**63 - 10
    with pytest.raises(ValueError, match=r"series holds .* more than 2\*\*53 apart.*divide them"):
        synkern.phiid(library(series), backend=backend)


def test_where_the_offset_matters(whole):
    large = whole + 2**60
    for series, fit in ((large, whole), (whole, large), (large, large)):
        with pytest.raises(ValueError, match="(series|fit) holds .* subtract an offset from each"):
            synkern.phiid_local(series, [[0, 1]], fit=fit)
    with pytest.raises(ValueError, match=r"chunk holds .* 115292150460684\d+; .*beyond 2\*\*53"):
        LaggedMoments().update(large)


@pytest.mark.filterwarnings("ignore:.*no persistence reference:UserWarning")
def test_other_calls_take_large_integers(whole):
    large, least = whole + 2**60, whole - whole.min((0, 1))
    calls = [
        lambda s: synkern.phiid_local(s, [[0, 1]]),
        lambda s: synkern.calc_PhiID(*s[0, :, :2].T, 1)[0]["sts"],
        lambda s: synkern.calc_PhiID(*s[0, :, :2].T, 1, kind="discrete")[0]["sts"],
        lambda s: synkern.persistence_reference(s)["sts"],
        lambda s: synkern.null_test(s, "row_shift", n=19).p["sts"],
        *(PREPROCESSING[name] for name in ("linear", "difference", "zscore", "copula")),
    ]
    for call in calls:
        np.testing.assert_allclose(call(large), call(least), rtol=0, atol=1e-9)

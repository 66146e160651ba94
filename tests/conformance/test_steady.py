"""A node that varies by the rounding of its values alone is constant, on every backend."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import synkern
from synkern import LaggedMoments
from synkern.decomposition.preprocess import PREPROCESSING
from synkern.kernels.contract import Outcome
from synkern.kernels.formulas.steady import FAINT, ROUNDINGS

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*no persistence reference:UserWarning"),
    # Of triton 3.6's interpreter, about itself.
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
]

TIME = 130
LEVELS = [1000.1, -0.3, 7.7e4, 1.9e-5, 1e300, 1e-290]
KINDS = [("gaussian", "MMI"), ("gaussian", "CCS"), ("discrete", "MMI")]


def last_bit(level, rng):
    """Every value the level or the next number beyond it."""
    beyond = np.nextafter(level, np.copysign(np.inf, level))
    return np.where(rng.random(TIME) < 0.5, level, beyond)


def there_and_back(level, rng):
    del rng
    return np.fft.irfft(np.fft.rfft(np.full(TIME, level)), TIME)


def mean_of_many(level, rng):
    weights = rng.random((TIME, 300))
    return (weights / weights.sum(1, keepdims=True) * level).sum(1)


def line_taken_and_mean_given(level, rng):
    del rng
    time = np.column_stack([np.ones(TIME), np.arange(TIME)])
    flat = np.full(TIME, level)
    return flat - time @ np.linalg.lstsq(time, flat, rcond=None)[0] + level


PROCESSED = [last_bit, there_and_back, mean_of_many, line_taken_and_mean_given]


def beside(rng, node, trials=2):
    """Three walks and a node in every trial, in the node's unit."""
    series = rng.standard_normal((trials, TIME, 4)).cumsum(1) * abs(node[0])
    series[:, :, 3] = node
    return series


@pytest.mark.parametrize("make", PROCESSED)
@pytest.mark.parametrize("level", LEVELS)
def test_processed_constants_are_constant(rng, backend, make, level):
    node = make(level, rng)
    if level == LEVELS[0]:
        assert np.ptp(node) > 0
    series = beside(rng, node)
    expected = synkern.phiid(np.where(np.arange(4) == 3, level, series), backend=backend)
    found = synkern.phiid(series, backend=backend)
    assert found.degenerate == expected.degenerate
    assert found.degenerate["constant"] == 6
    np.testing.assert_array_equal(found.constant, expected.constant)
    np.testing.assert_array_equal(found["sts"], expected["sts"])


@pytest.mark.parametrize(("kind", "redundancy"), KINDS)
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
def test_in_every_estimator_and_average(rng, backend, kind, redundancy, average):
    series = beside(rng, last_bit(1000.1, rng), trials=3)
    options = {"kind": kind, "redundancy": redundancy, "average": average, "backend": backend}
    found = synkern.phiid(series, **options)
    assert found.constant[:, 3].all()
    assert not found.constant[:, :3].any()
    assert np.isnan(found["sts"][..., 3, :]).all()
    assert np.isfinite(found["sts"][..., 0, 1]).all()


def test_constant_in_some_trials(rng, backend):
    series = beside(rng, last_bit(5.3, rng), trials=3)
    series[1, :, 3] = rng.standard_normal(TIME)
    found = synkern.phiid(series, backend=backend)
    np.testing.assert_array_equal(found.constant[:, 3], [True, False, True])
    for average in ("moments", "concatenate"):
        assert not synkern.phiid(series, backend=backend, average=average).constant.any()


def test_levels_of_trials_differ(rng, backend):
    """Constant about the mean of each trial, but not as one long series."""
    series = np.stack([beside(rng, last_bit(level, rng), 1)[0] for level in (0.1, 5.3, 1 / 3)])
    assert synkern.phiid(series, backend=backend, average="moments").constant[0, 3]
    joined = synkern.phiid(series, backend=backend, average="concatenate")
    assert not joined.constant.any()


@pytest.mark.parametrize("tau", [1, 40, 80])
@pytest.mark.parametrize("side", ["past", "future"])
def test_constant_in_past_or_future_alone(rng, backend, tau, side):
    series = beside(rng, last_bit(1000.1, rng))
    series[0, -1 if side == "past" else 0, 3] = 2000
    found = synkern.phiid(series, tau=tau, backend=backend)
    assert found.constant[:, 3].all()
    both = series.copy()
    both[0, [0, -1], 3] = 2000, 2001
    assert not synkern.phiid(both, tau=tau, backend=backend).constant[0, 3]


def test_each_lag_on_its_own(rng, backend):
    series = beside(rng, last_bit(1000.1, rng), 1)
    series[0, -5:, 3] += 1  # past only at lags below 5
    found = synkern.phiid_lags(series, tau=[1, 3, 5, 8], backend=backend)
    assert [bool(one.constant[0, 3]) for one in found.values()] == [False, False, True, True]


@pytest.mark.filterwarnings("ignore:.*as rounding errors of:UserWarning")
@pytest.mark.parametrize("units", [1, ROUNDINGS, ROUNDINGS + 1, 3 * ROUNDINGS])
def test_the_limit_is_the_same_everywhere(rng, units):
    """At 1.0 a unit in the last place is 2**-52, and the bound counts those of the peak."""
    spread = units * 2.0**-52
    node = rng.choice([1.0, 1 + spread], TIME)
    expected = spread <= ROUNDINGS * 2.0**-52 * (1 + spread)
    series = beside(rng, node)
    for backend in ("numpy", "torch", "cpu"):
        assert synkern.phiid(series, backend=backend).constant[:, 3].all() == expected
    assert synkern.phiid(LaggedMoments().update(series)).constant[:, 3].all() == expected
    atoms = synkern.phiid_local(series, [[0, 3]])
    assert np.isnan(atoms).all() == expected
    pair = synkern.calc_PhiID(*series[0, :, [0, 3]], 1)[0]
    assert np.isnan(pair["sts"]).all() == expected


def test_data_on_a_large_offset_vary(rng, backend):
    whole = rng.integers(0, 3, (200, 4)).cumsum(0)
    steps = rng.integers(0, 2, (200, 4))
    for values, offset in ((whole, 1e15), (steps, 1e15), (steps, 2.0**51), (steps, -(2.0**51))):
        shifted = synkern.phiid(values + offset, backend=backend)
        assert not shifted.constant.any()
        expected = synkern.phiid(values, backend=backend)
        # What is added is exact, and the mean of a segment is known to one unit in its last place.
        np.testing.assert_allclose(shifted["sts"], expected["sts"], rtol=0, atol=1e-6)
    normal = rng.standard_normal((200, 4)) + 1e15
    assert not synkern.phiid(normal, backend=backend).constant.any()


def test_float32_rounds_more_coarsely(rng, backend):
    level = np.float32(1000.1)
    node = rng.choice([level, np.nextafter(level, np.float32(2000))], TIME)
    series = beside(rng, node).astype(np.float32)
    for given in (series, torch.from_numpy(series)):
        assert synkern.phiid(given, backend=backend).constant[:, 3].all()
    # The same numbers as float64 could have been told from a constant.
    assert not synkern.phiid(series.astype(np.float64), backend=backend).constant.any()
    assert synkern.phiid(LaggedMoments().update(series)).constant[:, 3].all()
    whole = series + np.float32(0)
    whole[:, :, 3] = 2**22 + rng.integers(0, 2, TIME)
    assert not synkern.phiid(whole, backend=backend).constant.any()


def test_lists_of_arrays_and_frames_keep_the_precision_of_their_values(rng):
    series = rng.standard_normal((2, TIME, 3)).astype(np.float32)
    series[..., 1] = np.float32(1000.1)
    series[:, ::3, 1] = np.nextafter(np.float32(1000.1), np.float32(0))
    for given in (list(series), pd.DataFrame(series[0])):
        assert synkern.phiid(given).constant[:, 1].all()
    assert not synkern.phiid(series.tolist()).constant.any()  # Numbers of Python are float64.
    mixed = pd.DataFrame(series[0]).astype({0: np.float64})
    assert not synkern.phiid(mixed).constant.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.uint8])
def test_exact_numbers_vary_by_one_step(rng, dtype):
    series = torch.from_numpy(rng.integers(0, 2, (TIME, 4)) + 128).to(dtype)
    assert not synkern.phiid(series).constant.any()


def test_integers_on_any_offset_are_exact(rng):
    steps = rng.integers(0, 2, (TIME, 4))
    expected = synkern.phiid(steps)
    for series in (steps + 2**62, steps.astype(np.uint64) + np.uint64(2**63)):
        found = synkern.phiid(series)
        np.testing.assert_array_equal(found["sts"], expected["sts"])


@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
@pytest.mark.parametrize("size", [1, 7, 64])
def test_moments_of_chunks(rng, size, average):
    levels = (1000.1, 1000.1, 1000.1)
    series = np.stack([beside(rng, last_bit(level, rng), 1)[0] for level in levels])
    series[0, -1, 3] = 5.0  # constant in the past alone
    moments = LaggedMoments()
    for start in range(0, TIME, size):
        moments.update(series[:, start : start + size])
    found, whole = (synkern.phiid(s, average=average) for s in (moments, series))
    np.testing.assert_array_equal(found.constant, whole.constant)
    assert found.constant[:, 3].all()
    np.testing.assert_allclose(found["sts"], whole["sts"], rtol=0, atol=1e-12)


def test_stacked_moments_keep_the_precision_of_their_values(rng):
    level = np.float32(0.3)
    node = rng.choice([level, np.nextafter(level, np.float32(1))], TIME)
    series = beside(rng, node).astype(np.float32)
    stacked = LaggedMoments.stack([LaggedMoments().update(trial) for trial in series])
    assert synkern.phiid(stacked).constant[:, 3].all()


@pytest.mark.parametrize("kind", ["gaussian", "discrete"])
def test_pointwise(rng, kind):
    series = beside(rng, last_bit(1000.1, rng))
    with pytest.warns(UserWarning, match="2 of 4 .* 2 constant"):
        atoms = synkern.phiid_local(series, [[0, 3], [0, 1]], kind=kind)
    assert np.isnan(atoms[:, 0]).all()
    assert np.isfinite(atoms[:, 1]).all()
    fitted = synkern.phiid_local(series[:1, 60:], [[0, 3], [0, 1]], kind=kind, fit=series)
    assert np.isnan(fitted[:, 0]).all()
    exact = np.where(np.arange(4) == 3, 1000.1, series)
    pairs = [synkern.calc_PhiID(*s[0, :, [0, 3]], 1, kind=kind)[0] for s in (series, exact)]
    for atom in synkern.ATOMS:
        np.testing.assert_array_equal(pairs[0][atom], pairs[1][atom])


def test_triton_and_means_by_node(rng):
    series = beside(rng, last_bit(1000.1, rng))
    expected = synkern.phiid(series, backend="numpy")
    found = synkern.phiid(torch.from_numpy(series), backend="triton")
    means = synkern.phiid_nodes(series)
    assert found.degenerate == means.degenerate == expected.degenerate
    assert found.degenerate["constant"] == 6
    np.testing.assert_allclose(found["sts"], expected["sts"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(means.pairs, [2, 2, 2, 0])


def test_gradient_flows_past_it(rng):
    series = torch.from_numpy(beside(rng, last_bit(1000.1, rng))).requires_grad_()
    synkern.phiid(series)["sts"][0, 1].backward()
    assert series.grad[..., :2].abs().sum() > 0
    assert not series.grad[..., 3].any()


def test_other_calls_take_it_for_constant(rng):
    series = beside(rng, last_bit(1000.1, rng), trials=6)
    reference = synkern.persistence_reference(series)
    assert reference.constant[:, 3].all()
    for null in ("cross_trial", "phase"):
        tested = synkern.null_test(series, null, n=19)
        assert np.isnan(tested.p["sts"][3, :3]).all()
        assert np.isfinite(tested.p["sts"][0, 1])
    for step in ("zscore", "copula"):
        out = PREPROCESSING[step](series)
        assert not out[..., 3].any()
        assert out[..., :3].std() > 0.5


# ---- Where the offset is gone --------------------------------------------------------------------


def filtered(rng, level=1000.1):
    """Nodes on an offset, all through a band-pass that takes it away; the last was constant."""
    series = beside(rng, np.full(TIME, level))
    series[..., :3] = level + rng.standard_normal((2, TIME, 3)).cumsum(1)
    spectrum = np.fft.rfft(series, axis=1)
    spectrum[:, np.fft.rfftfreq(TIME, 2) > 0.1] = 0
    spectrum[:, 0] = 0
    return np.fft.irfft(spectrum, TIME, axis=1)


def line_subtracted(rng):
    series = 1000 + rng.standard_normal((2, TIME, 4)).cumsum(1)
    series[..., 3] = 1000.1
    time = np.column_stack([np.ones(TIME), np.arange(TIME)])
    return series - time @ np.linalg.lstsq(time, series[..., 3].T, rcond=None)[0].T[0, :, None] * [
        [[0, 0, 0, 1]]
    ]


def messages(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return [str(w.message) for w in caught if "rounding errors of a constant" in str(w.message)]


def test_what_a_filter_leaves_of_a_constant_is_warned_of(rng, backend):
    series = filtered(rng)
    assert np.ptp(series[..., 3]) > 0
    for average in ("trials", "moments", "concatenate"):
        with pytest.warns(UserWarning, match=r"node 3 varies by \de-1[3-7] of what the others do"):
            result = synkern.phiid(series, backend=backend, average=average)
        assert not result.constant.any()  # in another unit it could be data
    (message,) = messages(lambda: synkern.phiid_lags(series, tau=[1, 2], backend=backend))
    with warnings.catch_warnings():  # as the message says
        warnings.filterwarnings("ignore", ".*as rounding errors of")
        synkern.phiid(series, backend=backend)
    assert "filterwarnings('ignore', '.*as rounding errors of')" in message


def test_where_else_it_is_warned_of(rng):
    series = filtered(rng)
    calls = [
        lambda: synkern.phiid_local(series, [[0, 3]]),
        lambda: synkern.calc_PhiID(*series[0, :, [0, 3]], 1),
        lambda: synkern.persistence_reference(series),
        lambda: synkern.phiid(LaggedMoments().update(series)),
        lambda: synkern.null_test(series, "row_shift", n=19),
        lambda: synkern.phiid(torch.from_numpy(line_subtracted(rng))),
    ]
    for call in calls:
        assert len(messages(call)) == 1


def test_silence_of_ordinary_and_of_mixed_units(rng):
    series = rng.standard_normal((TIME, 20)).cumsum(0)
    sparse = series * (rng.random(series.shape) < 0.02)
    few = series.copy()
    few[:, :6] *= 1e15  # in degrees, say, beside many sensors in tesla
    quiet = [
        series,
        sparse,
        few,
        series * 10 ** rng.uniform(-11, 0, 20),
        series * [1e-30] * 20,
        np.where(np.arange(20) < 5, 0.1, series),
        series * np.where(np.arange(20) == 0, 1e-30, 1),
    ]
    for given in quiet:
        assert not messages(lambda given=given: synkern.phiid(given))
    assert messages(lambda: synkern.phiid(series * np.where(np.arange(20) < 3, 1e-14, 1)))


def test_window_of_what_is_faint():
    """Rounding, 2**-53, of a constant that is 2**-10 to 2**13 times what others vary by."""
    assert FAINT == (2.0 ** (-53 - 10), 2.0 ** (-53 + 13))
    assert Outcome.CONSTANT == 1

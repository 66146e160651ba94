"""Each kind of degenerate input has one documented outcome."""

import numpy as np
import pytest

import synkern
from synkern import ATOMS
from synkern.decomposition.reference import phiid_pair
from synkern.kernels.contract import Outcome

pytestmark = [pytest.mark.brief, pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")]


@pytest.fixture
def series(rng):
    return rng.standard_normal((3, 60, 4)).cumsum(1)


def shared_information(x, tau=1):
    """I(x; a) of one series with itself."""
    return -0.5 * np.log1p(-(np.corrcoef(x[:-tau], x[tau:])[0, 1] ** 2))


@pytest.mark.parametrize("level", [0.0, 1.0, 0.1, -7e30])
def test_constant_node_is_masked_and_counted(series, backend, level):
    series[1, :, 2] = level
    with pytest.warns(UserWarning, match="3 of 18 .* degenerate: 3 constant"):
        each = synkern.phiid(series, atoms="all", average=None, backend=backend)
    assert each.degenerate == {"constant": 3, "deterministic": 0, "duplicate": 0}
    np.testing.assert_array_equal(np.argwhere(each.constant), [[1, 2]])
    assert not len(each.flagged)
    expected = np.zeros((3, 4, 4), dtype=bool)
    expected[1, 2] = expected[1, :, 2] = expected[:, range(4), range(4)] = True
    for atom in ATOMS:
        np.testing.assert_array_equal(np.isnan(each[atom]), expected)

    mean = synkern.phiid(series, atoms="all", backend=backend)
    for atom in ATOMS:
        off = ~np.eye(4, dtype=bool)
        expected_mean = np.nanmean(each[atom][:, off], axis=0)
        np.testing.assert_allclose(mean[atom][off], expected_mean, rtol=0, atol=1e-12)
    valid = mean.valid_trials()
    assert valid[0, 2] == valid[2, 3] == 2
    assert valid[0, 1] == 3
    assert valid[1, 1] == 0


def test_constant_in_every_trial_is_nan_in_the_average(series, backend):
    series[:, :, 0] = 5.0
    result = synkern.phiid(series, backend=backend)
    assert np.isnan(result["sts"][0]).all()
    assert np.isnan(result["rtr"][:, 0]).all()
    assert np.isfinite(result["sts"][1, 2:]).all()
    assert result.degenerate["constant"] == 9


def test_constant_only_in_the_past_or_the_future(series, backend):
    series[0, :-1, 1] = 0.3
    series[1, 1:, 2] = 0.3
    assert synkern.phiid(series, backend=backend).degenerate["constant"] == 6


@pytest.mark.parametrize(
    "copy", [lambda x: x, lambda x: -x, lambda x: 3 * x + 1e3, lambda x: 1e-30 * x]
)
def test_duplicates_are_reduced(series, backend, copy):
    series[2, :, 3] = copy(series[2, :, 1])
    result = synkern.phiid(series, atoms="all", average=None, backend=backend)
    assert result.degenerate == {"constant": 0, "deterministic": 0, "duplicate": 1}
    np.testing.assert_array_equal(result.flagged, [[2, 1, 3, Outcome.DUPLICATE]])
    expected = dict.fromkeys(ATOMS, 0.0) | {"rtr": shared_information(series[2, :, 1])}
    found = {atom: result[atom][2, 1, 3] for atom in ATOMS}
    assert found == pytest.approx(expected, abs=1e-10)
    few = synkern.phiid(series, average=None, backend=backend)
    assert few["sts"][2, 3, 1] == pytest.approx(0, abs=1e-10)
    # A finite value: it takes part in the average.
    assert result.valid_trials()[1, 3] == 3


def test_duplicate_only_in_the_past(series, backend):
    series[0, :, 1] = series[0, :, 0]
    series[0, -1, 1] += 1.0  # the last sample belongs to the future alone
    result = synkern.phiid(series[:1, :, :2], atoms="all", backend=backend)
    assert result.degenerate["duplicate"] == 1
    found = {atom: result[atom][0, 1] for atom in ATOMS}
    for atom in ATOMS:  # nothing unique or synergistic in a past that is one variable
        if atom[0] != "r":
            assert found[atom] == pytest.approx(0, abs=1e-10)
    x, y = series[0, :, 0], series[0, :, 1]
    to_future = np.c_[x[1:], y[1:]] - [x[1:].mean(), y[1:].mean()]
    past = x[:-1] - x[:-1].mean()
    residual = past - to_future @ np.linalg.lstsq(to_future, past)[0]
    everything = -0.5 * np.log((residual @ residual) / (past @ past))
    assert sum(found.values()) == pytest.approx(everything, abs=1e-9)


def shifted(rng):
    x = rng.standard_normal(61)
    return np.stack([x[1:], x[:-1]], axis=-1)


def trends(_):
    time = np.arange(60.0)
    return np.stack([2 * time, 5 - time], axis=-1)


def sine(rng):
    time = np.arange(60.0)
    return np.stack([np.sin(time), np.cos(time)], axis=-1)


@pytest.mark.parametrize("make", [shifted, trends, sine])
def test_determinism_across_time_is_nan_and_flagged(rng, backend, make):
    series = np.concatenate([make(rng), rng.standard_normal((60, 1))], axis=-1)
    with pytest.warns(UserWarning, match="deterministic"):
        result = synkern.phiid(series, atoms="all", backend=backend)
    for atom in ATOMS:
        assert np.isnan(result[atom][0, 1])
        assert np.isnan(result[atom][1, 0])
    assert [0, 0, 1, Outcome.DETERMINISTIC] in result.flagged.tolist()


def test_other_pairs_are_untouched(series, backend):
    series[:, :, 3] = 1.0
    result = synkern.phiid(series, atoms="all", average=None, backend=backend)
    expected = phiid_pair(series[1, :, 0], series[1, :, 2], 1)
    found = {atom: result[atom][1, 0, 2] for atom in ATOMS}
    assert found == pytest.approx(expected, abs=1e-9)


def test_all_nodes_alike(rng, backend):
    series = np.repeat(rng.standard_normal((1, 50, 1)).cumsum(1), 30, axis=-1)
    result = synkern.phiid(series, backend=backend)
    off = ~np.eye(30, dtype=bool)
    np.testing.assert_allclose(result["sts"][off], 0, atol=1e-10)
    expected = shared_information(series[0, :, 0])
    np.testing.assert_allclose(result["rtr"][off], expected, rtol=0, atol=1e-10)
    assert result.degenerate["duplicate"] == 435


def test_float32_has_the_same_outcomes(series, backend):
    series[0, :, 1] = 2.0
    series[1, :, 2] = series[1, :, 3]
    double = synkern.phiid(series, average=None, backend=backend)
    single = synkern.phiid(series, average=None, backend=backend, dtype="float32")
    np.testing.assert_array_equal(single.flagged, double.flagged)
    np.testing.assert_array_equal(single.constant, double.constant)
    np.testing.assert_array_equal(np.isnan(single["sts"]), np.isnan(double["sts"]))

"""The promise on ill-conditioned pairs, against exact sums and 80 decimal digits.

`python -m bench.suites.conditioning` prints a table of the same and more; here are its bounds.
"""

import functools

import numpy as np
import pytest

import synkern
from bench.harness.extended_precision import SingularError, exact_atoms, least_gaps, promise
from support.backends import AT_FULL_SPEED
from synkern import ATOMS

EPSILONS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8]


def near_collinear(rng, eps, rho, time=100):
    """y = x + eps * noise, both AR(1) with coefficient rho: (time, 2)."""
    noise = rng.standard_normal((time, 2))
    series = np.zeros((time, 2))
    for t in range(1, time):
        series[t] = rho * series[t - 1] + noise[t]
    return np.stack([series[:, 0], series[:, 0] + eps * series[:, 1]], axis=-1)


@functools.cache
def truth(data, time, tau, redundancy):
    x, y = np.frombuffer(data).reshape(time, 2).T
    return np.array(list(exact_atoms(x, y, tau, redundancy).values()))


def largest_error(series, backend, tau=1, **options):
    exact = truth(series.tobytes(), len(series), tau, options.get("redundancy", "MMI"))
    everything = synkern.phiid(series, tau=tau, atoms="all", backend=backend, **options)
    few = synkern.phiid(series, tau=tau, backend=backend, **options)
    assert not len(everything.flagged)
    found = np.array([everything[atom][0, 1] for atom in ATOMS])
    pair = np.array([few["rtr"][0, 1], few["sts"][0, 1]])
    return max(np.abs(found - exact).max(), np.abs(pair - exact[[0, 15]]).max())


@pytest.mark.parametrize("rho", [0.0, 0.9, 0.998])
@pytest.mark.parametrize("eps", EPSILONS)
def test_near_collinear_pairs(rng, backend, eps, rho):
    series = near_collinear(rng, eps, rho)
    gap = 1 - np.abs(np.corrcoef(series[:-1].T))[0, 1]
    # The promise reaches down to 1 - |r| = 5e-9 (eps of 1e-4); the stable path holds it beyond.
    assert largest_error(series, backend) <= (1e-9 if gap >= 1e-3 else 1e-6)


@pytest.mark.parametrize("eps", [1e-2, 1e-4, 1e-6])
def test_future_nearly_fixed_by_the_past(rng, backend, eps):
    """y_t = x_{t-1} + eps * noise: a large information across time."""
    x, noise = rng.standard_normal((2, 101))
    series = np.stack([x[1:], x[:-1] + eps * noise[1:]], axis=-1)
    assert largest_error(series, backend) <= (1e-9 if eps > 1e-2 else 1e-6)


@pytest.mark.parametrize("eps", [1e-2, 1e-3, 1e-5])
def test_joint_collinearity_without_pairwise(rng, backend, eps):
    """The future of y is x + y + eps * noise: no pair of variables is near-collinear."""
    x, noise = rng.standard_normal((2, 100))
    y = np.zeros(100)
    for t in range(1, 100):
        y[t] = 0.6 * (x[t - 1] + y[t - 1]) + eps * noise[t]
    series = np.stack([x, y], axis=-1)
    assert np.abs(np.corrcoef(series[:-1].T, series[1:].T) - np.eye(4)).max() < 0.99
    assert largest_error(series, backend) <= 1e-9


@pytest.mark.parametrize("length", [6, 7, 20, 10_000])
def test_short_and_long_series(rng, backend, length):
    series = rng.standard_normal((length, 2)).cumsum(0)
    if length < 30:
        with pytest.warns(UserWarning, match="below 30"):
            assert largest_error(series, backend) <= 1e-9
    else:
        assert largest_error(series, backend) <= 1e-9


def test_outlier_of_a_million_sigma(rng, backend):
    series = rng.standard_normal((500, 2))
    series[250, 0] = 1e6
    assert largest_error(series, backend) <= 1e-9


def test_large_offset(rng, backend):
    series = rng.standard_normal((200, 2)).cumsum(0) + 1e8
    assert largest_error(series, backend) <= 1e-9


def near_copy_in_the_future(rng, eps):
    x, y = rng.standard_normal((2, 100))
    y[50:] = x[50:] + eps * y[50:]
    return np.stack([x, y], -1), 50


def near_copy_of_its_past(rng, eps):
    x, y = rng.standard_normal((2, 100))
    x[50:] = x[:50] + eps * x[50:]
    return np.stack([x, y], -1), 50


def near_copy_delayed(rng, eps):
    x, y = rng.standard_normal((2, 100))
    y[1:] = x[:-1] + eps * y[1:]
    return np.stack([x, y], -1), 1


def dependent_together(rng, eps):
    """The future of y is x + y + eps * noise: no two variables are near each other."""
    x, y = rng.standard_normal((2, 100))
    for t in range(1, 100):
        y[t] = 0.6 * (x[t - 1] + y[t - 1]) + eps * y[t]
    return np.stack([x, y], -1), 1


def near_trends(rng, eps):
    line = np.arange(-50.0, 50)[:, None]  # whole numbers: exactly linear
    return line * [1, -3] + 50 * eps * rng.standard_normal((100, 2)), 1


def common_outlier(rng, eps):
    series = rng.standard_normal((500, 2))
    series[250] = 1 / eps
    return series, 1


CALLS = [("MMI", "float64"), ("CCS", "float64"), ("MMI", "float32"), ("CCS", "float32")]
each_call = pytest.mark.parametrize(("redundancy", "dtype"), CALLS)


@each_call
@pytest.mark.parametrize("eps", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9])
@pytest.mark.parametrize(
    "make",
    [
        near_copy_in_the_future,
        near_copy_of_its_past,
        near_copy_delayed,
        dependent_together,
        near_trends,
        common_outlier,
    ],
)
def test_near_dependence(rng, backend, make, eps, redundancy, dtype):
    series, tau = make(rng, eps)
    gaps = least_gaps(*series.T, tau)
    found = largest_error(series, backend, tau, redundancy=redundancy, dtype=dtype)
    assert found <= promise(*gaps, dtype)


def dependent_four(rng, trials):
    """Nested dependencies of x, y, a, b at random scales, (trials, 100, 2) for a lag of 50."""
    series = np.empty((trials, 100, 2))
    for trial in series:
        left = np.diag(10 ** -rng.uniform(0, 11, 4)) + np.triu(rng.standard_normal((4, 4)), 1)
        mixed = rng.standard_normal((50, 4)) @ left[:, rng.permutation(4)]
        trial[:50], trial[50:] = mixed[:, :2], mixed[:, 2:]
    return series


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@each_call
def test_what_rounding_would_decide_has_no_value(rng, backend, redundancy, dtype):
    """Where each lambda is resolved, but not what the four variables leave of each other."""
    series = dependent_four(rng, 40)
    options = {"tau": 50, "backend": backend, "redundancy": redundancy, "dtype": dtype}
    result = synkern.phiid(series, atoms="all", average=None, **options)
    flagged = set(result.flagged[:, 0].tolist())
    assert 5 < len(flagged) < 35
    for k in range(40):
        gaps = least_gaps(*series[k].T, 50)
        if k in flagged:
            assert gaps[1] < 1e-19  # what is left is at most 4e-10 of a variable
        else:
            exact = truth(series[k].tobytes(), 100, 50, redundancy)
            found = [result[atom][k, 0, 1] for atom in ATOMS]
            np.testing.assert_allclose(found, exact, rtol=0, atol=promise(*gaps, dtype))


@each_call
@pytest.mark.parametrize("length", [6, 10, 1000])
@pytest.mark.filterwarnings("ignore:.*below 30:UserWarning")
def test_ordinary_pairs(rng, backend, length, redundancy, dtype):
    series = rng.standard_normal((length, 2)).cumsum(0) + 1e8
    options = {"redundancy": redundancy, "dtype": dtype}
    assert largest_error(series, backend, **options) <= (1e-9 if dtype == "float64" else 1e-5)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@each_call
@pytest.mark.parametrize("make", [near_copy_of_its_past, near_copy_delayed, near_trends])
def test_exact_dependence_has_no_value(rng, backend, make, redundancy, dtype):
    series, tau = make(rng, 0.0)
    with pytest.raises(SingularError):
        exact_atoms(*series.T, tau, redundancy)
    result = synkern.phiid(
        series, tau=tau, atoms="all", backend=backend, redundancy=redundancy, dtype=dtype
    )
    assert result.degenerate["deterministic"] == 1
    assert all(np.isnan(result[atom]).all() for atom in ATOMS)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@each_call
@pytest.mark.parametrize("part", [slice(50), slice(50, 100), slice(100)])
def test_exact_copies_are_reduced(rng, backend, part, redundancy, dtype):
    series = rng.standard_normal((100, 2))
    series[part, 1] = series[part, 0]
    exact = exact_atoms(*series.T, 50, redundancy)
    options = {"tau": 50, "backend": backend, "redundancy": redundancy, "dtype": dtype}
    result = synkern.phiid(series, atoms="all", **options)
    assert result.degenerate["duplicate"] == 1
    bound = 1e-9 if dtype == "float64" else 1e-5
    assert {atom: result[atom][0, 1] for atom in ATOMS} == pytest.approx(exact, abs=bound)


def noisy_sine(rng, eps, trials=1000, nodes=2):
    time = np.linspace(-1, 1, 100)[:, None]
    phase = rng.uniform(0, 6, (trials, 1, nodes))
    return np.sin(np.pi * time + phase) + eps * rng.standard_normal((trials, 100, nodes))


def noisy_trend(rng, eps, trials=1000, nodes=2):
    time = np.linspace(-1, 1, 100)[:, None]
    return time + eps * rng.standard_normal((trials, 100, nodes))


# A thousand tiles of one pair each: stand-ins would take minutes, and have the next test.
@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("backend", AT_FULL_SPEED, indirect=True)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("eps", [1e-10, 1e-9, 3e-9, 1e-8, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("make", [noisy_sine, noisy_trend])
def test_singular_in_several_directions(rng, backend, make, eps, dtype):
    """Rounding turns products of two vanishing variances positive: nothing may slip through."""
    series = make(rng, eps)
    result = synkern.phiid(series, average=None, backend=backend, dtype=dtype)
    swapped = synkern.phiid(series[..., ::-1].copy(), average=None, backend=backend, dtype=dtype)
    # The stable path is off by some rounding errors of the data over eps.
    bound = (1e-6 if dtype == "float64" else 1e-5) + 1e-15 / eps
    for atom in ("rtr", "sts"):
        one, other = result[atom][:, 0, 1], swapped[atom][:, 0, 1]
        assert np.isfinite(one).sum() + result.degenerate["deterministic"] == len(series)
        both = np.isfinite(one) & np.isfinite(other)
        np.testing.assert_allclose(one[both], other[both], rtol=1e-6, atol=bound)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("eps", [1e-10, 1e-9, 3e-9, 1e-8, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("make", [noisy_sine, noisy_trend])
def test_singular_in_several_directions_side_by_side(rng, backend, make, eps, dtype):
    """The same of many nodes in one trial, for few atoms and for all."""
    series = make(rng, eps, 1, 40)[0]
    bound = (1e-6 if dtype == "float64" else 1e-5) + 1e-15 / eps
    off = ~np.eye(40, dtype=bool)
    for names in (("rtr", "sts"), "all"):
        options = {"atoms": names, "backend": backend, "dtype": dtype}
        result = synkern.phiid(series, **options)
        swapped = synkern.phiid(series[:, ::-1].copy(), **options)
        for atom in ("rtr", "sts"):
            one, other = result[atom][off], swapped[atom][::-1, ::-1].T[off]
            known = np.isfinite(one)
            assert known.sum() + 2 * result.degenerate["deterministic"] == off.sum()
            both = known & np.isfinite(other)
            np.testing.assert_allclose(one[both], other[both], rtol=1e-6, atol=bound)


@pytest.mark.parametrize("scale", [1e-310, 1e-150, 1e150, 1e307, 1.7e308])
def test_values_near_the_limits(rng, backend, scale):
    series = rng.uniform(-1, 1, (100, 3)).cumsum(0)
    series /= np.abs(series).max()
    expected = synkern.phiid(series, backend=backend)
    result = synkern.phiid(series * scale, backend=backend)
    np.testing.assert_allclose(result["sts"], expected["sts"], rtol=0, atol=1e-9)


def test_random_weights_are_finite_and_right(heads, backend):
    """Lag-1 autocorrelation of 0.998: where a closed form in float32 has infinities."""
    series = heads["random"].astype(np.float64)
    result = synkern.phiid(series, atoms="all", average=None, backend=backend)
    for atom in ATOMS:
        assert np.isfinite(result[atom][:, ~np.eye(25, dtype=bool)]).all()
    for trial, i, j in [(0, 0, 1), (1, 3, 20), (2, 11, 12)]:
        exact = exact_atoms(series[trial, :, i], series[trial, :, j], 1)
        found = {atom: result[atom][trial, i, j] for atom in ATOMS}
        assert found == pytest.approx(exact, abs=1e-9)


def test_rescued_pairs_are_counted_and_others_left_alone(rng, backend):
    series = rng.standard_normal((3, 100, 4))
    series[1, :, 2] = series[1, :, 0] + 1e-5 * series[1, :, 2]
    result = synkern.phiid(series, average=None, backend=backend)
    assert result.rescued == 1
    exact = exact_atoms(series[1, :, 0], series[1, :, 2], 1)
    assert result["sts"][1, 0, 2] == pytest.approx(exact["sts"], abs=1e-6)
    mean = synkern.phiid(series, backend=backend)
    np.testing.assert_allclose(mean["sts"], result["sts"].mean(0), rtol=0, atol=1e-12)

"""CCS where informations are exactly zero: whole numbers, bits, spikes, symmetric series."""

import numpy as np
import pytest

import synkern
from bench.harness.extended_precision import exact_atoms
from support.optional import torch
from synkern import ATOMS, calc_PhiID
from synkern.decomposition.reference import phiid_pair
from synkern.kernels.formulas.uncorrelated import resolution
from synkern.kernels.formulas.unit_vectors import standardise

pytestmark = pytest.mark.filterwarnings("ignore:series has .* time points:UserWarning")

NODES = 24


def odd(rng, time):
    """Its second half is its first one backwards and negative: sums over the whole vanish."""
    first = rng.integers(-2, 3, (time // 2, NODES))
    return np.concatenate([first, np.zeros((1, NODES), int), -first[::-1]])


KINDS = {
    "three levels": lambda rng: rng.integers(-1, 2, (20, NODES)),
    "few whole numbers": lambda rng: rng.integers(0, 6, (8, NODES)),
    "bits": lambda rng: rng.integers(0, 2, (13, NODES)),
    "spikes": lambda rng: (rng.random((65, 2 * NODES)) < 0.125).astype(int),
    "counts": lambda rng: rng.poisson(0.7, (17, NODES)),
    "odd": lambda rng: odd(rng, 21),
}
# As they are measured; the last two leave a correlation of zero only to 2e-14 and 3e-12.
SCALES = {"as they are": (1, 0), "thousandths": (1e-3, 0.1), "far from zero": (1e-2, 300)}


@pytest.fixture(params=KINDS)
def whole(request, rng):
    """(time, nodes) integers that vary, and which pairs i < j have a correlation of zero."""
    values = KINDS[request.param](rng)
    varies = (np.ptp(values[1:], 0) > 0) & (np.ptp(values[:-1], 0) > 0)
    values = values[:, varies]
    zero = covariances(values) == 0
    pairs = np.argwhere(np.triu(zero | zero.T | zero.diagonal()[:, None] | zero.diagonal(), 1))
    assert len(pairs) > 0
    return values, pairs


def covariances(values):
    """Of past (rows) with future, times the square of the number of samples: exact."""
    past, future = values[:-1], values[1:]
    return len(past) * past.T @ future - np.outer(past.sum(0), future.sum(0))


def matrices(series, **options):
    found = synkern.phiid(series, redundancy="CCS", atoms="all", **options)
    return np.stack([np.asarray(found[name]) for name in ATOMS])


def assert_same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*degenerate")
def test_backends_agree_however_the_numbers_are_kept(whole, backend):
    values, _ = whole
    expected = matrices(values, backend="numpy")
    for gain, offset in SCALES.values():
        found = matrices(values * gain + offset, backend=backend)
        kept = ~np.isnan(expected)  # Scaling may make two nodes coincide to rounding, or not.
        assert_same(found[kept], expected[kept])


# Correlations of zero that rounding of the values makes 1e-9, or 1e-10: far beyond `resolution`.
COARSE = {
    "standardised in float32": lambda v: ((v - v.mean(0)) / v.std(0)).astype(np.float32),
    "tenths in float32": lambda v: ((v + 2) / 10).astype(np.float32),
    "millions of deviations from zero": lambda v: (v + 2) / 10 + 3e5,
}


@pytest.fixture(params=COARSE)
def coarse(request, rng):
    """(time, nodes) of three levels, the middle one at the mean of past and future, nearly."""
    levels = np.stack([rng.permutation(np.resize([-1.0, 0, 1], 21)) for _ in range(NODES)], 1)
    series = COARSE[request.param](np.concatenate([levels, levels[:1]]))
    unit = standardise(np, series[None].astype(float), 1)
    lagged = np.abs(unit.past[0] @ unit.future[0].T)
    of_values = (lagged > resolution(21)) & (lagged < 1e-7)
    assert of_values.sum() > 5
    return series


def test_backends_agree_on_what_was_rounded_coarsely(coarse, backend):
    assert_same(matrices(coarse, backend=backend), matrices(coarse, backend="numpy"))


def test_paths_agree_on_what_was_rounded_coarsely(coarse):
    pairs = [(i, j) for i in range(NODES) for j in range(i)]
    local = synkern.phiid_local(coarse, pairs, redundancy="CCS").mean(-1)
    found = np.stack([matrices(coarse)[:, i, j] for i, j in pairs[::40]])
    assert_same(local[::40], found)
    for (i, j), atoms in zip(pairs[::40], found, strict=True):
        x, y = coarse[:, i].astype(float), coarse[:, j].astype(float)
        of_phyid = calc_PhiID(coarse[:, i], coarse[:, j], 1, "gaussian", "CCS")[0]
        assert_same([of_phyid[name].mean() for name in ATOMS], atoms)
        if np.abs(x).max() < 1e6:  # The reference adds up what is that far from zero as it is.
            reference = phiid_pair(x, y, 1, "gaussian", "CCS")
            assert_same([reference[name] for name in ATOMS], atoms)


@pytest.mark.filterwarnings("ignore:.*degenerate")
def test_every_path_has_the_exact_atoms(whole):
    values, pairs = whole
    found = matrices(values)
    regular = [(i, j) for i, j in pairs if np.isfinite(found[:, i, j]).all()]
    compared = 0
    for i, j in regular[:: max(1, len(regular) // 6)]:
        x, y = values[:, i].astype(float), values[:, j].astype(float)
        exact = exact_atoms(x, y, 1, "CCS")
        expected = np.array([exact[name] for name in ATOMS])
        if expected[-1] == 0:
            continue  # They coincide: the reference has no value.
        local = synkern.phiid_local(values, [(i, j)], redundancy="CCS")[0]
        reference = phiid_pair(x, y, 1, "gaussian", "CCS")
        of_phyid = calc_PhiID(x, y, 1, "gaussian", "CCS")[0]
        assert_same(found[:, i, j], expected)
        assert_same(local.mean(-1), expected)
        assert_same([reference[name] for name in ATOMS], expected)
        assert_same([of_phyid[name].mean() for name in ATOMS], expected)
        compared += 1
    assert compared > 2


@pytest.mark.filterwarnings("ignore:.*degenerate")
def test_order_of_nodes_does_not_matter(whole, backend):
    values, _ = whole
    forward, backward = (matrices(v, backend=backend) for v in (values, values[:, ::-1]))
    assert_same(backward[:, ::-1, ::-1], forward)


def test_a_pair_whose_rounding_decided(backend):
    """Backends gave 0.33 and 0.20 here, by the order in which they add."""
    x, y = np.array([1.0, 0, 1, 1, 0, 0, 1]), np.array([0.0, 1, 2, 2, 0, 0, 1])
    assert (covariances(np.stack([x, y], 1).astype(int)) == 0).any()
    found = matrices(np.stack([x, y], 1), backend=backend)[:, 0, 1]
    exact = exact_atoms(x, y, 1, "CCS")
    assert_same(found, [exact[name] for name in ATOMS])
    assert exact["sts"] == pytest.approx(0.2012, abs=1e-4)


@pytest.mark.parametrize(("gain", "offset"), SCALES.values(), ids=SCALES)
def test_resolution_is_above_what_rounding_leaves(rng, gain, offset):
    """A tenth of it on data that `resolution` names, 20,000 deviations from zero at most."""
    for time in (8, 51, 401):
        values = rng.integers(0, 6, (time, 100))
        series = (values * gain + offset)[None]
        for xp, taken in ((np, series), (torch, torch.tensor(series, dtype=torch.float64))):
            past, future, constant = standardise(xp, taken, 1)
            r = np.asarray(past[0] @ future[0].swapaxes(0, 1))
            zero = (covariances(values) == 0) & ~np.asarray(constant[0] | constant[0][:, None])
            assert time > 100 or zero.any()
            assert np.abs(r[zero]).max(initial=0) < resolution(time - 1) / 2


def with_correlation(rng, wanted):
    """Two series (40, 2) of which the first one's past and future correlate as wanted."""
    series = rng.standard_normal((40, 2))
    low, high = -10.0, 10.0

    def correlation(value):
        series[20, 0] = value
        past, future, _ = standardise(np, series[None], 1)
        return float(past[0, 0] @ future[0, 0])

    # Bisection needs a change of sign, which neighbours far from zero on both sides give.
    series[19, 0], series[21, 0] = 1.0, 1.0
    assert correlation(low) < wanted < correlation(high)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if correlation(middle) < wanted else (low, middle)
    assert correlation(high) == pytest.approx(wanted, abs=1e-14)
    return series


@pytest.mark.parametrize("wanted", [1e-6, -1e-8, 1e-10])
def test_a_small_correlation_has_a_sign(rng, backend, wanted):
    series = with_correlation(rng, wanted)
    exact = exact_atoms(*series.T, 1, "CCS")
    assert_same(matrices(series, backend=backend)[:, 0, 1], [exact[name] for name in ATOMS])
    zero = matrices(with_correlation(rng, 0.0), backend=backend)[:, 0, 1]
    assert np.abs(zero[ATOMS.index("rtr")]) == 0


def test_gradient_where_informations_are_zero(rng):
    values = torch.tensor(odd(rng, 21)[:, :6], dtype=torch.float64, requires_grad=True)
    found = synkern.phiid(values, redundancy="CCS", backend="torch", atoms="all")
    sum(torch.nansum(found[name]) for name in ATOMS).backward()
    assert torch.isfinite(values.grad).all()
    assert values.grad.abs().max() > 0


def test_float32_is_the_rounded_float64(rng, backend):
    """A sign that float32 arithmetic turns moved atoms by up to 1e-2."""
    series = np.zeros((2, 101, 80))
    noise = rng.standard_normal(series.shape)
    for t in range(1, 101):
        series[:, t] = 0.8 * series[:, t - 1] + noise[:, t]
    double, single = (
        matrices(series, backend=backend, dtype=dtype, average=None)
        for dtype in ("float64", "float32")
    )
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, double.astype(np.float32))

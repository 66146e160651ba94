import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

import synkern
from support.backends import AT_FULL_SPEED
from support.optional import torch
from synkern import ATOMS, calc_PhiID
from synkern.decomposition.pointwise import phiid_local
from synkern.decomposition.reference import local_pair

VARIANTS = list(itertools.product(["gaussian", "discrete"], ["MMI", "CCS"]))
variants = pytest.mark.parametrize(("kind", "redundancy"), VARIANTS)


def evaluate(series, pairs, *, backend="numpy", **options):
    """As NumPy, by the backend asked for."""
    array = np.asarray(series)
    given = torch.from_numpy(array.copy()) if backend == "torch" else array
    found = phiid_local(given, pairs, backend=backend, **options)
    assert type(found) is type(given)
    return np.asarray(found)


def reference(x, y, tau, kind, redundancy):
    return np.stack(list(local_pair(x, y, tau, kind, redundancy).values()))


@pytest.fixture
def series(rng):
    return rng.standard_normal((3, 60, 4)).cumsum(1)


def test_golden(variant, backend):
    options = {"tau": variant.tau, "kind": variant.kind, "redundancy": variant.redundancy}
    found = evaluate(variant.series, [[0, 1]], backend=backend, **options)
    assert found.shape == (1, 16, len(variant.series) - variant.tau)
    np.testing.assert_allclose(found[0].mean(1), variant.average, rtol=0, atol=1e-10)
    if variant.local is not None:
        np.testing.assert_allclose(found[0], variant.local, rtol=0, atol=1e-8)


@variants
def test_every_pair_of_every_trial(series, backend, kind, redundancy):
    pairs = np.array([[2, 0], [1, 3], [0, 2], [2, 0]])
    options = {"tau": 3, "kind": kind, "redundancy": redundancy}
    found = evaluate(series, pairs, backend=backend, **options)
    assert found.shape == (3, 4, 16, 57)
    assert found.dtype == np.float64
    for trial, (row, (i, j)) in itertools.product(range(3), enumerate(pairs)):
        expected = reference(series[trial, :, i], series[trial, :, j], 3, kind, redundancy)
        np.testing.assert_allclose(found[trial, row], expected, rtol=0, atol=1e-9)
    one = evaluate(series[1], pairs, backend=backend, **options)
    np.testing.assert_allclose(one, found[1], rtol=0, atol=1e-12)


def test_means_are_those_of_all_pairs(heads, backend):
    series = heads["random"].astype(np.float64)
    found = evaluate(series, [[3, 8], [20, 7]], backend=backend).mean(-1)
    expected = synkern.phiid(series, atoms="all", average=None)
    for k, atom in enumerate(ATOMS):
        np.testing.assert_allclose(found[:, 0, k], expected[atom][:, 3, 8], rtol=0, atol=1e-8)
        np.testing.assert_allclose(found[:, 1, k], expected[atom][:, 20, 7], rtol=0, atol=1e-8)


@variants
def test_many_pairs_are_those_of_single_ones(series, kind, redundancy):
    """What is computed in several chunks, 30 of these pairs at a time."""
    pairs = [[0, 1], [2, 1], [3, 0]]
    options = {"kind": kind, "redundancy": redundancy}
    expected = np.concatenate([evaluate(series, [pair], **options) for pair in pairs], axis=1)
    found = evaluate(series, pairs * 25, **options)
    np.testing.assert_allclose(found, np.tile(expected, (1, 25, 1, 1)), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "own", "other"), [("gaussian", "nats", "bits"), ("discrete", "bits", "nats")]
)
def test_units(series, backend, kind, own, other):
    default = evaluate(series, [[0, 1]], backend=backend, kind=kind)
    same = evaluate(series, [[0, 1]], backend=backend, kind=kind, unit=own)
    np.testing.assert_array_equal(same, default)
    found = evaluate(series, [[0, 1]], backend=backend, kind=kind, unit=other)
    factor = math.log(2) if other == "nats" else 1 / math.log(2)
    np.testing.assert_allclose(found, default * factor, rtol=1e-12)


# ---- Fitted to other data than evaluated ---------------------------------------------------------


@variants
def test_fit_on_itself_is_plain(series, backend, kind, redundancy):
    options = {"backend": backend, "kind": kind, "redundancy": redundancy}
    fit = torch.from_numpy(series[1]) if backend == "torch" else series[1]
    found = evaluate(series[1], [[0, 2], [3, 1]], fit=fit, **options)
    expected = evaluate(series[1], [[0, 2], [3, 1]], **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-11)


@variants
def test_trials_of_a_fit_are_pooled_without_their_seams(series, backend, kind, redundancy):
    """As if past and future of all trials were two halves of one series, with tau its half."""
    tau, (i, j) = 2, (3, 1)
    halves = np.concatenate([series[:, :-tau].reshape(-1, 4), series[:, tau:].reshape(-1, 4)])
    samples = len(halves) // 2
    expected = reference(halves[:, i], halves[:, j], samples, kind, redundancy)
    fit = torch.from_numpy(series) if backend == "torch" else series
    options = {"backend": backend, "tau": tau, "kind": kind, "redundancy": redundancy}
    found = evaluate(series, [[i, j]], fit=fit, **options)
    assert found.shape == (3, 1, 16, 58)
    pooled = np.moveaxis(found[:, 0], 1, 0).reshape(16, -1)
    np.testing.assert_allclose(pooled, expected, rtol=0, atol=1e-9)
    alone = evaluate(series[2], [[i, j]], fit=fit, **options)
    np.testing.assert_allclose(alone, found[2], rtol=0, atol=1e-12)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_densities_of_the_fit_at_other_samples(rng, backend, redundancy):
    fit, series = rng.standard_normal((2, 80, 2)).cumsum(1) + np.array([1e3, -5])
    fitted, points = (np.concatenate([v[:-1], v[1:]], -1) for v in (fit, series))

    def density(index):
        covariance = np.cov(fitted[:, index].T).reshape(len(index), -1)
        centred = points[:, index] - fitted[:, index].mean(0)
        distance = (centred @ np.linalg.inv(covariance) * centred).sum(1)
        return 0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + distance)

    given = torch.from_numpy(fit) if backend == "torch" else fit
    atoms = evaluate(series, [[0, 1]], backend=backend, fit=given, redundancy=redundancy)[0]
    everything = density([0, 1]) + density([2, 3]) - density([0, 1, 2, 3])
    np.testing.assert_allclose(atoms.sum(0), everything, rtol=1e-9)
    below_xtx = atoms[[ATOMS.index(name) for name in ("rtr", "rtx", "xtr", "xtx")]].sum(0)
    expected = density([0]) + density([2]) - density([0, 2])
    np.testing.assert_allclose(below_xtx, expected, rtol=0, atol=1e-9 * abs(atoms).max())


def test_least_informative_source_is_that_of_the_fit(rng, backend):
    """Of x and y about a: the one that says less in the fit has nothing of its own."""
    white, noise = rng.standard_normal((2, 200))
    fit = np.stack([np.convolve(noise, [1, 1], "same"), white], -1)
    series = fit[:50, ::-1].copy()  # by itself it would choose the other one
    own = {name: [ATOMS.index(f"{name}tr"), ATOMS.index(f"{name}tx")] for name in "xy"}
    given = torch.from_numpy(fit) if backend == "torch" else fit
    fitted = evaluate(series, [[0, 1]], backend=backend, fit=given)[0]
    np.testing.assert_allclose(fitted[own["y"]].sum(0), 0, atol=1e-9)
    assert abs(fitted[own["x"]].sum(0)).max() > 0.1
    plain = evaluate(series, [[0, 1]], backend=backend)[0]
    np.testing.assert_allclose(plain[own["x"]].sum(0), 0, atol=1e-9)
    assert abs(plain[own["y"]].sum(0)).max() > 0.1


def test_states_that_the_fit_never_shows(rng, backend):
    fit = (rng.random((40, 2)) < 0.5) * 1.0
    fit[:, 1] = fit[:, 0]
    series = fit.copy()
    series[10, 1] = 1 - series[10, 1]
    given = torch.from_numpy(fit) if backend == "torch" else fit
    found = evaluate(series, [[0, 1]], backend=backend, fit=given, kind="discrete")[0]
    unseen = np.zeros(39, bool)
    unseen[[9, 10]] = True  # the state at time 10 is future to 9 and past to 10
    assert np.isnan(found[:, unseen]).all()
    assert np.isfinite(found[:, ~unseen]).all()


# ---- Exact arithmetic ----------------------------------------------------------------------------


def exact_atoms(states, redundancy):
    """Discrete local atoms of (samples, 4) bits, with the signs and ties of exact arithmetic."""
    rows = [tuple(row) for row in states.tolist()]

    def ratio(source, target):
        """2 to the local information, at every sample."""

        def share(names):
            index = ["xyab".index(name) for name in names]
            parts = [tuple(row[k] for k in index) for row in rows]
            return [Fraction(parts.count(part), len(rows)) for part in parts]

        triples = zip(share(source), share(target), share(source + target), strict=True)
        return [joint / (u * v) for u, v, joint in triples]

    def common(first, second, both):
        terms = zip(first, second, both, strict=True)
        found = [(p, q, s, p * q / s) for p, q, s in terms]
        return [row[-1] if one_sign(row) else Fraction(1) for row in found]

    def one_sign(row):
        return all(v > 1 for v in row) or all(v < 1 for v in row)

    past = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
    future = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}
    cumulative = {}
    for atom in ATOMS:
        sources, targets = past[atom[0]], future[atom[2]]
        parts = [ratio(*pair) for pair in itertools.product(sources, targets)]
        if redundancy == "MMI" or len(parts) == 1:
            ordered = parts[::-1] if len(parts) == 2 else parts
            cumulative[atom] = min(ordered, key=math.prod)
        elif len(parts) == 2:
            cumulative[atom] = common(*parts, ratio("".join(sources), "".join(targets)))
    inverse = np.rint(np.linalg.inv(synkern.kernels.lattice.zeta_matrix())).astype(int)
    if redundancy == "CCS":
        weights = inverse[-1].tolist()
        singles = [ratio(*pair) for pair in itertools.product("xy", "ab")]
        double = [
            math.prod(
                cumulative[atom][t] ** -w
                for atom, w in zip(ATOMS, weights, strict=True)
                if atom != "rtr"
            )
            for t in range(len(rows))
        ]
        cumulative["rtr"] = [
            row[-1] if one_sign(row) else Fraction(1) for row in zip(*singles, double, strict=True)
        ]
    logs = [[math.log2(v) for v in cumulative[atom]] for atom in ATOMS]
    return inverse @ np.array(logs)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("seed", range(12))
def test_signs_and_ties_are_those_of_exact_arithmetic(redundancy, seed):
    """Few samples of coins have many informations that are zero or equal."""
    rng = np.random.default_rng(seed)
    samples = 30 + 2 * seed
    bits = np.tile(np.array(list(itertools.product([0, 1], repeat=4))), (3, 1))[:samples]
    bits = np.concatenate([bits, rng.integers(0, 2, (max(0, samples - len(bits)), 4))])
    bits[rng.integers(0, samples, 6)] = bits[rng.integers(0, samples, 6)]
    # With half the length as lag, past and future are free of each other.
    x, y = (np.r_[bits[:, k], bits[:, k + 2]].astype(float) for k in range(2))
    expected = exact_atoms(bits, redundancy)
    options = {"tau": samples, "kind": "discrete", "redundancy": redundancy}
    for backend in ("numpy", "torch"):
        found = evaluate(np.stack([x, y], -1), [[0, 1]], backend=backend, **options)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    atoms, _ = calc_PhiID(x, y, samples, "discrete", redundancy)
    np.testing.assert_allclose(list(atoms.values()), expected, rtol=0, atol=1e-12)
    found = reference(x, y, samples, "discrete", redundancy)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


# ---- Degenerate pairs ----------------------------------------------------------------------------


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_degenerate_pairs(series, backend, redundancy):
    pairs = [[0, 1], [0, 2], [3, 0], [1, 3]]
    series[0, :, 2] = 0.1
    series[1, :, 3] = 5 - 2 * series[1, :, 0]
    series[2, 1:, 3] = series[2, :-1, 1]
    with pytest.warns(
        UserWarning, match="3 of 12 .* degenerate: 1 constant, 1 deterministic, 1 duplicate"
    ) as caught:
        found = phiid_local(
            torch.from_numpy(series) if backend == "torch" else series,
            pairs,
            redundancy=redundancy,
            backend=backend,
        )
    assert caught[0].filename == __file__
    found = np.asarray(found)
    lost = np.zeros((3, 4), bool)
    lost[0, 1] = lost[2, 3] = True
    np.testing.assert_array_equal(np.isnan(found).all((-1, -2)), lost)
    np.testing.assert_array_equal(np.isnan(found).any((-1, -2)), lost)
    x = series[1, :, 0]
    shared = -0.5 * np.log1p(-(np.corrcoef(x[:-1], x[1:])[0, 1] ** 2))
    assert found[1, 2, 0].mean() == pytest.approx(shared, abs=1e-10)
    np.testing.assert_allclose(found[1, 2, 1:], 0, atol=1e-9)
    for trial, row in [(0, 0), (0, 2), (1, 0), (1, 1), (2, 2)]:  # those beside are untouched
        i, j = pairs[row]
        expected = reference(series[trial, :, i], series[trial, :, j], 1, "gaussian", redundancy)
        np.testing.assert_allclose(found[trial, row], expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("where", [0, -1])
@pytest.mark.parametrize("sign", [1, -1])
def test_duplicates_on_one_side_of_time(rng, backend, where, sign):
    x = rng.standard_normal(60).cumsum()
    series = np.stack([x, sign * x], -1)
    series[where, 1] += 1.0  # that sample belongs to the past alone, or to the future alone
    found = evaluate(series, [[0, 1]], backend=backend)[0].mean(-1)
    expected = synkern.phiid(series, atoms="all")
    np.testing.assert_allclose(found, [expected[a][0, 1] for a in ATOMS], rtol=0, atol=1e-10)
    assert abs(found).max() > 0.1


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_duplicates_in_the_fit(rng, redundancy):
    """The second node is dropped, whatever it does in the series evaluated."""
    x = rng.standard_normal((80, 1)).cumsum(0)
    series = rng.standard_normal((40, 2))
    with pytest.warns(UserWarning, match="1 duplicate"):
        found = phiid_local(series, [[0, 1]], fit=np.repeat(x, 2, 1), redundancy=redundancy)[0]
    other = np.concatenate([x, rng.standard_normal((80, 1))], 1)
    alone = phiid_local(series, [[0, 1]], fit=other, redundancy=redundancy)[0]
    below_xtx = [ATOMS.index(name) for name in ("rtr", "rtx", "xtr", "xtx")]
    np.testing.assert_allclose(found[0], alone[below_xtx].sum(0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(found[1:], 0, atol=1e-9)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_constant_bits_are_nan_as_in_all_pairs(series, backend, redundancy):
    series[1, :, 2] = 3.0
    with pytest.warns(UserWarning, match="1 of 6 .* degenerate: 1 constant"):
        found = evaluate(
            series, [[0, 2], [1, 0]], backend=backend, kind="discrete", redundancy=redundancy
        )
    assert np.isnan(found[1, 0]).all()
    assert np.isfinite(found[1, 1]).all()
    assert np.isfinite(found[[0, 2]]).all()


# ---- What is passed ------------------------------------------------------------------------------


def test_input_is_left_alone(series):
    kept = series.copy()
    phiid_local(series, [[0, 1]], fit=series)
    np.testing.assert_array_equal(series, kept)


@pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning")
def test_kinds_of_array(series):
    expected = phiid_local(series[0], [[0, 1], [2, 3]])
    assert isinstance(phiid_local(series[0].tolist(), [(0, 1)]), np.ndarray)
    tensor = torch.from_numpy(series[0]).requires_grad_()
    found = phiid_local(tensor, torch.tensor([[0, 1], [2, 3]]), fit=series[0])
    assert isinstance(found, torch.Tensor)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    found = phiid_local(series[0], np.array([[0, 1], [2, 3]], np.uint8), backend="torch")
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    found = phiid_local(series[0].astype(np.int32), [[0, 1]], backend="torch", kind="discrete")
    whole = phiid_local(series[0].astype(np.int32), [[0, 1]], kind="discrete")
    np.testing.assert_allclose(found, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int16])
def test_arithmetic_is_in_float64(series, backend, dtype):
    given = (100 * series).astype(dtype)
    found = evaluate(given, [[0, 1]], backend=backend)
    assert found.dtype == np.float64
    expected = evaluate(given.astype(np.float64), [[0, 1]])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@variants
def test_backends_by_name(series, kind, redundancy):
    options = {"kind": kind, "redundancy": redundancy}
    expected = phiid_local(series, [[0, 1], [3, 2]], **options)
    for backend in AT_FULL_SPEED:
        found = phiid_local(series, [[0, 1], [3, 2]], backend=backend, **options)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_no_pairs(series):
    assert phiid_local(series, np.zeros((0, 2), int)).shape == (3, 0, 16, 59)


@pytest.mark.parametrize(
    ("pairs", "error", "message"),
    [
        ([[0, 4]], ValueError, r"nodes from 0 to 3; entry \[0, 1\] is 4"),
        ([[0, 1], [-1, 2]], ValueError, r"nodes from 0 to 3; entry \[1, 0\] is -1"),
        ([[0, 1], [2, 2]], ValueError, r"two different nodes; entry \[1\] is \[2, 2\]: remove it"),
        ([0, 1], ValueError, r"\(pairs, 2\).* shape \(2,\): one pair is \[\[i, j\]\]"),
        ([[0, 1, 2]], ValueError, r"shape \(1, 3\)"),
        ([[0.0, 1.0]], TypeError, "whole numbers, indices of nodes; got dtype float64"),
        ([[True, False]], TypeError, "got dtype bool"),
    ],
)
def test_bad_pairs(series, pairs, error, message):
    with pytest.raises(error, match=message):
        phiid_local(series, pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "kraskov"}, "kind must be one of 'gaussian', 'discrete'; got 'kraskov'"),
        ({"redundancy": "Imin"}, "redundancy must be one of 'MMI', 'CCS'; got 'Imin'"),
        ({"unit": "dits"}, "unit must be one of 'nats', 'bits', None; got 'dits'"),
        ({"backend": "tpu"}, "backend must be 'auto' or one of cpu, numpy, .*; got 'tpu'"),
        ({"backend": "triton"}, "backend 'triton' does not compute atoms at every sample; choose"),
        ({"backend": "cupy"}, "backend 'cupy' cannot compute a series on device 'cpu' here"),
        ({"tau": 0}, "tau must be a positive whole number"),
        ({"tau": 57}, "60 time points and tau = 57"),
        ({"fit": np.ones((60, 3))}, "fit: its nodes must be those of series; got 3 nodes for 4"),
        ({"fit": np.full((60, 4), np.nan)}, "fit: .* NaN"),
        ({"fit": np.ones(60)}, r"fit: .* shape \(60,\)"),
    ],
)
def test_bad_options(series, options, message):
    with pytest.raises(ValueError, match=message):
        phiid_local(series, [[0, 1]], **options)


def test_bad_series(series):
    series[1, 7, 2] = np.inf
    with pytest.raises(ValueError, match="trial 1, time 7, node 2: inf"):
        phiid_local(series, [[0, 1]])

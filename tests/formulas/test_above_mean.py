"""Samples above the mean, held to fractions: where rounding would decide, nothing else will do."""

import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import synkern
from support import cupy_stand_in
from support.backends import AT_FULL_SPEED
from support.optional import needs_torch, torch
from synkern import calc_PhiID, phiid, phiid_local
from synkern.decomposition.reference import local_pair, phiid_pair
from synkern.kernels.formulas.above_mean import above_mean

# Levels are the matter here; and Triton's interpreter, of version 3.6, warns about itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning"),
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
]

TINY = 5e-324
HUGE = sys.float_info.max
LIBRARIES = {"numpy": np, "torch": torch, "cupy": cupy_stand_in.module()}


def exactly_above(row, values):
    mean = sum(map(Fraction, row)) / len(row)
    return [Fraction(value) > mean for value in values]


def found_above(xp, rows, values=None, **bound):
    given = [xp.asarray(np.asarray(part, float)) for part in (rows, values) if part is not None]
    found = above_mean(xp, *given, **bound)
    return np.asarray(found.get() if hasattr(found, "get") else found).tolist()


# ---- The rule ------------------------------------------------------------------------------------

LEVELS = [
    [0.1, 0.2, 0.3],
    [-1.224744871391589, 3.7e-17, 1.2247448713915892],
    [0.2, 0.4, 0.6, 0.8, 1.0],
    [0.0, 0.001, 0.002, 0.003, 0.004],
    [1e6 + 0.1, 1e6 + 0.2, 1e6 + 0.3],
    [-HUGE, 0.0, HUGE, HUGE / 2, 3e292],
    [0.0, TINY, 2 * TINY, 3 * TINY, 7 * TINY],
    [-1e308, 1e308, TINY, 2 * TINY, -1.0, 1.0, 1e-200],
    [2.0**53, 2.0**53 + 2, 1.0, 0.5],
]
levels = st.one_of(
    st.sampled_from(LEVELS),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4),
)


@given(st.data())
def test_as_fractions_have_it(data):
    """Rows of few levels, and values that were not in the row: its mean, and those beside it."""
    n = data.draw(st.integers(1, 30))
    chosen = data.draw(levels)
    rows = data.draw(
        st.lists(st.lists(st.sampled_from(chosen), min_size=n, max_size=n), min_size=1, max_size=3)
    )
    means = [float(sum(map(Fraction, row)) / n) for row in rows]
    near = [[np.nextafter(mean, -HUGE), mean, np.nextafter(mean, HUGE), *chosen] for mean in means]
    for xp in LIBRARIES.values():
        assert found_above(xp, rows) == [exactly_above(row, row) for row in rows]
        expected = [exactly_above(row, values) for row, values in zip(rows, near, strict=True)]
        assert found_above(xp, rows, near) == expected


@given(st.sampled_from(LEVELS[:5]), st.integers(0, 2**32 - 1), st.integers(-900, 900))
@example(LEVELS[1], 0, -900)
def test_scale_and_order_do_not_matter(chosen, seed, power):
    """A power of two changes no digit as long as nothing leaves the range."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(chosen, (3, 3 * len(chosen)))
    order = rng.permutation(rows.shape[1])
    expected = np.array(found_above(np, rows))
    np.testing.assert_array_equal(found_above(np, np.ldexp(rows, power)), expected)
    np.testing.assert_array_equal(found_above(np, rows[:, order]), expected[:, order])


@pytest.mark.parametrize("library", LIBRARIES)
def test_parts_and_axes(library, rng):
    """More undecided rows than are taken at a time, among decided ones, along any axes."""
    rows = rng.standard_normal((2, 5, 3, 12))
    rows[0, 1:4] = rng.permuted(np.resize([0.1, 0.2, 0.3], (3, 3, 12)), axis=-1)
    rows[1, :, 2] *= 1e-3 * HUGE
    expected = [exactly_above(row, row) for row in rows.reshape(-1, 12)]
    found = found_above(LIBRARIES[library], rows, elements=1)
    np.testing.assert_array_equal(np.reshape(found, (-1, 12)), expected)


@pytest.mark.parametrize("library", LIBRARIES)
def test_long_rows(library, rng):
    """Digits are shorter where more of them are added up."""
    whole = rng.permuted(np.resize([1, 2, 3], 60_000))
    for unit in (0.1, 0.7, 1e-310):
        row = whole * unit
        ratios = [value.as_integer_ratio() for value in row.tolist()]
        top = max(denominator for _, denominator in ratios)
        exact = [numerator * (top // denominator) for numerator, denominator in ratios]
        total = sum(exact)
        expected = [len(exact) * number > total for number in exact]
        assert found_above(LIBRARIES[library], row[None]) == [expected]


def test_tensor_that_requires_a_gradient(rng):
    rows = torch.tensor(np.resize([0.1, 0.2, 0.3], (4, 9)), requires_grad=True)
    assert above_mean(torch, rows).tolist() == [exactly_above(r, r) for r in rows.tolist()]
    series = rows[:, :7].mT.contiguous()
    for function in (phiid, lambda s, **o: phiid_local(s, [[0, 1]], **o)):
        with pytest.warns(UserWarning, match="below 30"):
            function(series[[*range(7), 0]], kind="discrete")


# ---- All functions -------------------------------------------------------------------------------


def tied(rng, levels, trials=2, nodes=2):
    """(trials, time, nodes) whose pasts and futures hold each level as often as any other."""
    each = np.resize(levels, len(levels) * (60 // len(levels)))
    rows = rng.permuted(np.tile(each[:, None], (trials, 1, nodes)), axis=1)
    return np.concatenate([rows, rows[:, :1]], 1)


def z_scored(rng):
    series = tied(rng, [-1.0, 0.0, 1.0])
    return (series - series[:, 1:].mean(1, keepdims=True)) / series[:, 1:].std(1, keepdims=True)


SERIES = {
    "z-scored ternary": z_scored,
    ".1 .2 .3": lambda rng: tied(rng, [0.1, 0.2, 0.3]),
    "Likert items / 5": lambda rng: tied(rng, np.arange(1, 6) / 5),
    "gain of 1e-3, T = 41": lambda rng: rng.integers(0, 5, (2, 41, 2)) * 1e-3,
    "balanced, gain of 1e-3": lambda rng: tied(rng, np.arange(5) * 1e-3),
    "rounded to .1": lambda rng: np.round(rng.standard_normal((2, 61, 2)), 1),
    "offset": lambda rng: 1e6 + tied(rng, [0.1, 0.2, 0.3]),
    "half of all at the mean": lambda rng: tied(rng, [0.7, 0.1, 0.4, 0.4]),
    "near the largest": lambda rng: tied(rng, [0.5e308, 1e308, 1.5e308]),
    "subnormal": lambda rng: tied(rng, [1e-310, 2e-310, 3e-310]),
    "continuous": lambda rng: rng.standard_normal((2, 61, 2)),
}


def information(past, future):
    """Of bits, (samples, 2) each: time-delayed mutual information."""

    def entropy(rows):
        share = np.unique(rows, axis=0, return_counts=True)[1] / len(rows)
        return -(share * np.log2(share)).sum()

    return entropy(past) + entropy(future) - entropy(np.hstack([past, future]))


def exact_bits(trials, tau=1):
    """Past and future, (samples, nodes) each, of trials whose samples have one mean."""

    def bits(parts):
        joined = np.concatenate(parts).T.tolist()
        return np.array([exactly_above(node, node) for node in joined]).T

    return bits([t[:-tau] for t in trials]), bits([t[tau:] for t in trials])


def sum_of(result):
    return float(sum(result[name][0, 1] for name in synkern.ATOMS))


@pytest.mark.parametrize("name", SERIES)
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_functions_agree(name, redundancy, rng):
    """All atoms of the reference, whose sum is the information of the bits of fractions."""
    series = SERIES[name](rng)[0]
    options = {"kind": "discrete", "redundancy": redundancy}
    expected = phiid_pair(*series.T, 1, **options)
    assert sum(expected.values()) == pytest.approx(information(*exact_bits([series])), abs=1e-12)
    pointwise = local_pair(*series.T, 1, **options)
    local = phiid_local(series, [[0, 1]], **options)[0]
    tensor = phiid_local(torch.tensor(series), [[0, 1]], **options)[0]
    drop_in = calc_PhiID(*series.T, 1, **options)[0]
    for k, atom in enumerate(synkern.ATOMS):
        for found in (local[k], tensor[k], drop_in[atom]):
            np.testing.assert_allclose(found, pointwise[atom], rtol=0, atol=1e-12)
    for backend in AT_FULL_SPEED:
        found = phiid(series, atoms="all", backend=backend, **options)
        for atom, value in expected.items():
            assert found[atom][0, 1] == pytest.approx(value, abs=1e-12), (backend, atom)


@pytest.mark.parametrize("name", SERIES)
def test_averages(name, rng):
    """Each trial about its own mean, or all about one."""
    series = SERIES[name](rng)
    own = [exact_bits([trial]) for trial in series]
    expected = {
        "trials": np.mean([information(*bits) for bits in own]),
        "moments": information(*map(np.concatenate, zip(*own, strict=True))),
        "concatenate": information(*exact_bits(series)),
    }
    for average, value in expected.items():
        for backend in AT_FULL_SPEED:
            options = {"kind": "discrete", "average": average, "backend": backend}
            found = sum_of(phiid(series, atoms="all", **options))
            assert found == pytest.approx(value, abs=1e-12), (backend, average)
    fitted = phiid_local(series, [[0, 1]], kind="discrete", fit=series)
    assert fitted.sum(-2).mean() == pytest.approx(expected["concatenate"], abs=1e-12)


@needs_torch
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_interpreted_kernels(redundancy, rng):
    """Nodes of all kinds in one call, as each of its programs takes a second."""
    series = np.stack([draw(rng)[0, :, 0] for name, draw in SERIES.items() if "T" not in name], 1)
    options = {"kind": "discrete", "redundancy": redundancy}
    found = phiid(series, backend="triton", **options)
    for i, j in [(0, 1), (2, 5), (3, 6), (7, 8), (4, 9)]:
        expected = phiid_pair(series[:, i], series[:, j], 1, **options)
        for atom in ("rtr", "sts"):
            assert found[atom][i, j] == pytest.approx(expected[atom], abs=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int16", "uint8"])
def test_narrow_types_are_taken_as_they_are(dtype, rng):
    """Levels as the dtype has them; a tenth in float32 is not a tenth in float64."""
    levels = [1, 2, 3] if "int" in dtype else [0.1, 0.2, 0.3]
    series = tied(rng, levels, trials=1)[0].astype(dtype)
    expected = information(*exact_bits([series.astype(float)]))
    for given_series in (series, torch.tensor(series)):
        result = phiid(given_series, kind="discrete", atoms="all")
        assert sum_of(result) == pytest.approx(expected, abs=1e-12)


def test_nulls_agree(rng):
    series = tied(rng, [0.1, 0.2, 0.3], trials=5, nodes=3)
    tests = [
        synkern.null_test(given_series, "cross_trial", n=19, kind="discrete", backend=backend)
        for given_series, backend in (
            (series, "numpy"),
            (series, "cpu"),
            (torch.tensor(series), "torch"),
        )
    ]
    for atom in ("rtr", "sts"):
        for name in ("observed", "null_mean", "null_sd", "p"):
            first, *others = (np.asarray(getattr(test, name)[atom]) for test in tests)
            for other in others:
                np.testing.assert_allclose(other, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", AT_FULL_SPEED)
def test_a_node_is_constant_where_its_bits_are(backend, rng):
    """The largest of different samples exceeds their mean, however near; equal ones never do."""
    series = rng.standard_normal((40, 3))
    series[:, 0] = 0.1  # whose rounded mean is another number
    series[:, 1] = 1e15 + (np.arange(40) == 7)  # whole numbers, which hold no rounding
    with pytest.warns(UserWarning, match="2 constant"):
        result = phiid(series, kind="discrete", backend=backend)
    np.testing.assert_array_equal(result.constant, [[True, False, False]])
    assert np.isfinite(result["sts"][1, 2])

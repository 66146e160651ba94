"""CCS and discrete decomposition as Triton kernels, interpreted: numbers, addresses, marks."""

import numpy as np
import pytest
import torch
import triton

import synkern
from support.bounded import bounded
from support.golden import GOLDEN_VARIANTS
from synkern import ATOMS
from synkern.decomposition.reference import phiid_pair
from synkern.kernels.contract import Limits
from synkern.kernels.engine.libraries import torch_library
from synkern.kernels.engine.marks import unpack
from synkern.kernels.formulas.discrete import binarise
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.triton_backend import ccs, discrete
from synkern.kernels.triton_backend.configurations import Launch
from synkern.kernels.triton_backend.device.discrete import ones

# Of triton 3.6's interpreter, about itself.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:series has (6|12) time points:UserWarning"),
    pytest.mark.usefixtures("addresses", "poisoned_outputs"),
]

FEW = ("rtr", "sts")
OTHERS = [("gaussian", "CCS"), ("discrete", "MMI"), ("discrete", "CCS")]
# An interpreted kernel takes milliseconds a sample: only the short series.
OTHER_GOLDEN = [
    case
    for case in GOLDEN_VARIANTS
    if (case.kind, case.redundancy) in OTHERS and len(case.series) <= 40
]

others = pytest.mark.parametrize(("kind", "redundancy"), OTHERS)


def ccs_sums(segments, names, *, per_trial=False, dtype="float64", capacity=4096, **launch):
    marked, count = torch.full((capacity,), -1), torch.zeros(1, dtype=torch.int64)
    options = {"names": names, "per_trial": per_trial, "dtype": dtype, **launch}
    return ccs.fill(*segments, marked, count, **options), marked, int(count)


def sums(kind, redundancy, series, tau, names, **options):
    """By the kernel alone, of a tensor (trials, time, nodes)."""
    if kind == "discrete":
        options = {"per_trial": False, "dtype": "float64", **options}
        return discrete.fill(binarise(torch, series, tau), redundancy, names=names, **options)
    return ccs_sums(unit_vectors(torch, series, tau), names, **options)[0]


def compare(series, tolerance, **options):
    """`phiid` by these kernels, held to the torch backend."""
    found, expected = (
        synkern.phiid(series, backend=name, **options) for name in ("triton", "torch")
    )
    assert found.backend == "triton"
    assert found.unit == expected.unit
    assert found.rescued == expected.rescued
    np.testing.assert_array_equal(found.constant, expected.constant)
    np.testing.assert_array_equal(found.flagged, expected.flagged)
    assert list(found) == list(expected)
    for atom in expected:
        assert found[atom].dtype == expected[atom].dtype
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=tolerance)
    return found


@pytest.mark.proof
@pytest.mark.parametrize("golden", OTHER_GOLDEN, ids=lambda c: f"{c.name}-{c.kind}-{c.redundancy}")
def test_golden_averages(golden):
    options = {"kind": golden.kind, "redundancy": golden.redundancy, "tau": golden.tau}
    found = synkern.phiid(golden.series, atoms="all", backend="triton", **options)
    values = np.stack([found[atom][0, 1] for atom in ATOMS])
    np.testing.assert_allclose(values, golden.average, rtol=0, atol=1e-9)


@others
@pytest.mark.parametrize("per_trial", [False, True])
def test_sums_equal_the_reference(rng, kind, redundancy, per_trial):
    series = rng.standard_normal((2, 37, 3))
    expected = np.zeros((16, 2, 3, 3))
    for k, i, j in np.ndindex(2, 3, 3):
        if i != j:
            pair = phiid_pair(series[k, :, i], series[k, :, j], 2, kind, redundancy)
            expected[:, k, i, j] = [pair[name] for name in ATOMS]
    found = sums(kind, redundancy, torch.from_numpy(series), 2, ATOMS, per_trial=per_trial)
    expected = expected if per_trial else expected.sum(1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.proof
# Nodes on both sides of a tile and two; samples on both sides of a word and of two words.
@others
@pytest.mark.parametrize(
    ("nodes", "trials", "time"),
    [
        (2, 1, 6),
        (3, 3, 33),
        (2, 1, 34),
        (2, 1, 65),
        (2, 1, 66),
        (16, 2, 12),
        (17, 1, 12),
        (35, 1, 12),
    ],
)
def test_odd_sizes(rng, kind, redundancy, nodes, trials, time):
    series = rng.standard_normal((trials, time, nodes))
    options = {"kind": kind, "redundancy": redundancy}
    found = compare(series, 1e-12, atoms=FEW, **options)
    away = ~np.eye(nodes, dtype=bool)
    for atom in FEW:
        assert np.isfinite(found[atom][away]).all()
        # These two do not change under exchange of x and y.
        np.testing.assert_array_equal(found[atom][away], found[atom].T[away])
    # Other tiles and other chunks: chunks of one trial against sums.
    values = torch.from_numpy(series)
    whole = sums(kind, redundancy, values, 1, FEW, launch=Launch(32, 8))
    apart = sums(kind, redundancy, values, 1, FEW, per_trial=True)
    torch.testing.assert_close(apart.sum(1), whole, rtol=0, atol=1e-12 * trials)


@pytest.mark.proof
@others
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
def test_recorded_heads(heads, kind, redundancy, average):
    series = heads["trained"][:2, :40, :6]
    options = {"kind": kind, "redundancy": redundancy, "average": average}
    compare(series, 1e-12, atoms=["xtr", "sts", "stx"], **options)


@pytest.mark.proof
@others
def test_float32_is_the_float64_result_rounded(rng, kind, redundancy):
    series = torch.from_numpy(rng.standard_normal((2, 40, 6)))
    options = {"per_trial": True}
    single = sums(kind, redundancy, series, 1, FEW, dtype="float32", **options)
    double = sums(kind, redundancy, series, 1, FEW, **options)
    assert single.dtype == torch.float32
    assert torch.equal(single, double.to(torch.float32))


@pytest.mark.proof
@others
@pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
def test_degenerate_and_near_singular_pairs(rng, kind, redundancy, average):
    series = rng.standard_normal((3, 40, 9)).cumsum(1)
    series[0, :, 1] = 2.0
    series[1, :, 3] = series[1, :, 2]
    series[2, :, 5] = series[2, :, 4] + 1e-6 * series[2, :, 5]
    series[2, 1:, 7] = series[2, :-1, 6]
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": "all"}
    # Each backend unit_vectorss with a rounding of its own, which the near pair magnifies by 1e6.
    found = compare(series, 1e-9 if kind == "gaussian" else 1e-12, **options)
    assert found.degenerate["constant"] == 8
    if kind == "gaussian":
        assert found.rescued > 0
        # A list too short for all of them is filled again, longer.
        options = {"names": options.pop("atoms"), **options} | {"names": ATOMS}
        again = bounded(series, Limits(capacity=1), backend="triton", **options)
        for atom in ATOMS:
            np.testing.assert_array_equal(again[atom], found[atom])


def test_untrusted_pairs_are_marked_once_and_contribute_nothing(rng):
    series = rng.standard_normal((3, 20, 18))
    close = {(0, 1, 2), (1, 0, 17), (2, 15, 16)}
    for k, i, j in close:
        series[k, :, j] = series[k, :, i] + 1e-6 * series[k, :, j]
    series[1, :, 5] = 7.0  # constant: never marked
    segments = unit_vectors(torch, torch.from_numpy(series), 1)
    out, marked, count = ccs_sums(segments, FEW, per_trial=True)
    assert {tuple(p) for p in unpack(torch_library(), marked[:count], 18).tolist()} == close
    assert count == len(close)
    assert (marked[count:] == -1).all()
    for k, i, j in close:
        assert not out[:, k, i, j].any()
        assert not out[:, k, j, i].any()
    assert not out[:, 1, 5].any()
    assert not out[:, 1, :, 5].any()
    assert (out[1] != 0).sum() == 3 * 18 * 17 - 2 * 17 - 2 * len(close)


def test_list_that_overflows_counts_on_and_stays_in_bounds(rng):
    series = np.repeat(rng.standard_normal((2, 20, 1)), 5, axis=-1)
    segments = unit_vectors(torch, torch.from_numpy(series), 1)
    _, marked, count = ccs_sums(segments, FEW, capacity=7)
    assert count == 2 * 10
    assert (marked >= 0).all()


def test_discrete_information_that_is_zero_has_no_sign(rng):
    """33 samples of fair bits meet exact independence often; rounding must not break the tie."""
    series = rng.integers(0, 2, (4, 33, 4)).astype(float)
    compare(series, 1e-12, kind="discrete", redundancy="CCS", atoms="all", average=None)


def test_packed_words_hold_every_bit(rng):
    """The highest bit of a word is its sign."""
    values = torch.from_numpy(rng.integers(0, 2, (2, 3, 70)))
    words = discrete.packed(values.to(torch.float32))
    assert words.shape == (2, 3, 3)
    assert words.dtype == torch.int32
    unpacked = torch.stack([words >> place & 1 for place in range(32)], 2).reshape(2, 96, 3)
    assert torch.equal(unpacked[:, :70].mT, values)
    assert not unpacked[:, 70:].any()


@triton.jit
def ones_kernel(words, out):
    at = triton.language.arange(0, 16)
    word = triton.language.load(words + at).to(triton.language.uint32, bitcast=True)
    triton.language.store(out + at, ones(word))


def test_population_count(rng):
    words = np.r_[rng.integers(-(2**31), 2**31, 12), -1, 0, -(2**31), 2**31 - 1].astype(np.int32)
    out = torch.full((16,), -1, dtype=torch.int32)
    ones_kernel[(1,)](words=torch.from_numpy(words), out=out)
    assert out.tolist() == [int(word & 0xFFFFFFFF).bit_count() for word in words.tolist()]


def test_chosen_pairs(rng):
    series = rng.standard_normal((2, 40, 5))
    pairs = [(0, 1), (2, 4), (1, 3)]
    for kind, redundancy in OTHERS:
        options = {"kind": kind, "redundancy": redundancy, "atoms": "all", "pairs": pairs}
        found, expected = (
            synkern.phiid(series, backend=name, **options) for name in ("triton", "torch")
        )
        for atom in ATOMS:
            np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*degenerate")
def test_an_information_of_zero_has_no_sign(rng):
    series = rng.integers(-1, 2, (2, 12, 12)).astype(float)
    past, future = (v - v.mean(1, keepdims=True) for v in (series[:, :-4], series[:, 4:]))
    covariances = past.swapaxes(1, 2) @ future
    assert (np.abs(covariances) < 1e-12).sum() > 4
    compare(series, 1e-12, tau=4, redundancy="CCS", atoms="all", average=None)


def test_gradient_of_ccs_is_that_of_the_torch_backend(rng):
    values = rng.standard_normal((2, 40, 4))
    gradients = []
    for name in ("triton", "torch"):
        series = torch.tensor(values, requires_grad=True)
        found = synkern.phiid(series, redundancy="CCS", backend=name)
        sum(torch.nansum(found[atom]) for atom in FEW).backward()
        gradients.append(series.grad)
    assert gradients[1].abs().max() > 0
    assert torch.equal(*gradients)

"""What holds for any recording, however its nodes are made: ordinary, degenerate and mixed.

Series are whole numbers or dyadic fractions of them, so that copies, lags, scales and offsets are
exact: a pair is either singular or far from the limit of what float64 can resolve.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import synkern
from support.backends import AT_FULL_SPEED
from support.optional import torch
from synkern import ATOMS
from synkern.kernels.contract import Outcome
from synkern.kernels.lattice import swap_nodes

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*below 30:UserWarning"),
]

U = np.finfo(np.float64).eps
RESOLVED = 1e-8
"""What is left of unit vectors is above this, or, where they are dependent, below `ROUNDING`."""
ROUNDING = 1e-12
NEAR = 2.0**-16


def anything(examples):
    return settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])


# ---- Recordings ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A series (trials, time, nodes) and options of `phiid`."""

    series: np.ndarray
    tau: int
    kind: str
    redundancy: str
    backend: str
    average: str | None = None
    dtype: str = "float64"

    def phiid(self, atoms="all"):
        options = {k: v for k, v in vars(self).items() if k != "series"}
        return synkern.phiid(self.series, atoms=atoms, **options)


def lagged(x, rng):
    return np.concatenate([x[:1, rng.permutation(x.shape[1])[:1]].repeat(len(x), 0), x[:, :-1]], 1)


def outlier(x, rng):
    x = x.copy()
    x[:, rng.integers(x.shape[1])] = 1e4
    return x


def constant_somewhere(x, rng):
    x = x.copy()
    x[rng.integers(len(x))] = rng.integers(-5, 6) / 2
    return x


def half(x, rng):
    """Constant but for the first, or the last sample."""
    return np.where(np.arange(x.shape[1]) == rng.choice([0, x.shape[1] - 1]), x, 3.0)


# What becomes of a node: of x, values of an earlier node, and n, values of its own.
ROLES = {
    "ordinary": lambda x, n, rng: n,
    "coupled": lambda x, n, rng: x + n,
    "copy": lambda x, n, rng: x,
    "scaled copy": lambda x, n, rng: -3 * x + 7,
    "near copy": lambda x, n, rng: x + NEAR * n,
    "lagged copy": lambda x, n, rng: lagged(x, rng),
    "walk": lambda x, n, rng: np.sign(n).cumsum(1),
    "trend": lambda x, n, rng: np.arange(n.shape[1]) + 0 * n,
    "near trend": lambda x, n, rng: np.arange(n.shape[1]) + NEAR * n,
    "outlier": lambda x, n, rng: outlier(n, rng),
    "rare": lambda x, n, rng: 1.0 * (n > 35),
    "constant": lambda x, n, rng: np.full_like(n, 0.5),
    "level of its trial": lambda x, n, rng: n[:, :1] / 8 + 0 * n,
    "constant in a trial": lambda x, n, rng: constant_somewhere(n, rng),
    "constant in past or future": lambda x, n, rng: half(n, rng),
}
DTYPES = ("float64", "float32", "float16", "int64", "int32", "int8", "bool")
TIED = ("walk", "rare")
"""Roles whose few values make correlations that are exactly 0."""


@st.composite
def calls(draw, variant, averages=(None,), dtypes=DTYPES):
    kind, redundancy = variant
    # A Gaussian information that is exactly 0 has no sign, but its rounded value has one, and CCS
    # is not continuous there. So nothing is tied where that is asked for.
    tied = (kind, redundancy) != ("gaussian", "CCS")
    tau, trials, nodes = (draw(st.integers(1, top)) for top in (3, 4, 8))
    time = draw(st.integers(tau + 5, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    fine = 1 if tied else 2**20
    series = rng.integers(-40 * fine, 40 * fine + 1, (trials, time, nodes + 1)) / fine
    roles = [role for role in ROLES if tied or role not in TIED]
    for node in range(1, nodes + 1):
        make = ROLES[draw(st.sampled_from(roles))]
        source = series[..., rng.integers(node)]
        series[..., node] = make(source, series[..., node].copy(), rng)
    series[..., np.ptp(series, (0, 1)) == 0] = 0.1  # the mean of which is rounded
    if draw(st.integers(0, 3)) == 0:
        series[rng.integers(trials)] = 0
    dtypes = [dtype for dtype in dtypes if tied or dtype.startswith("float")]
    return Call(
        cast(series[..., rng.permutation(nodes + 1)], draw(st.sampled_from(dtypes))),
        tau,
        kind,
        redundancy,
        backend=draw(st.sampled_from(AT_FULL_SPEED)),
        average=draw(st.sampled_from(averages)),
    )


def cast(series, dtype):
    if dtype == "bool":
        return series > 0
    if dtype.startswith("int"):
        limits = np.iinfo(dtype)
        series = series.clip(limits.min, limits.max)
    return series.astype(dtype)


def past_and_future(call):
    """(trials, nodes, samples) each, float64 or bits, with pooled trials joined to one."""
    by_node = call.series.astype(np.float64).swapaxes(1, 2)
    sides = []
    for part in (by_node[..., : -call.tau], by_node[..., call.tau :]):
        side = part
        if call.average == "moments":
            side = above_mean(side) if call.kind == "discrete" else centred(side)
        if call.average in ("moments", "concatenate"):
            side = side.swapaxes(0, 1).reshape(1, by_node.shape[1], -1)
        if call.kind == "discrete" and call.average != "moments":
            side = above_mean(side)
        sides.append(side)
    return sides


def centred(side):
    varies = np.ptp(side, -1, keepdims=True) > 0
    return np.where(varies, side - side.mean(-1, keepdims=True), 0)


def above_mean(side):
    """In whole numbers, hence exactly."""
    whole = np.vectorize(int, otypes=[object])(np.ldexp(side, 60))
    return (whole * side.shape[-1] > whole.sum(-1, keepdims=True)).astype(int)


def constant_nodes(call):
    """(trials, nodes): which do not vary, in their past or in their future."""
    average = None if call.average == "moments" else call.average
    raw = replace(call, kind="gaussian", average=average)
    past, future = (np.ptp(side, -1) == 0 for side in past_and_future(raw))
    if call.average == "moments":
        return (past.all(0) | future.all(0))[None]
    return past | future


@dataclass(frozen=True)
class Pair:
    """What is known of a pair of nodes that vary, by singular values of its unit vectors.

    Attributes:
        outcome: `Outcome` or 0.
        information: of the past about the future, in the unit of the call.
        tolerance: what rounding may add to its atoms, over the least singular value.
    """

    outcome: int
    information: float
    tolerance: float


def resolved(values):
    """The number of values that are not zero; nothing is said of calls where that is in doubt."""
    assume(((values < ROUNDING) | (values > RESOLVED)).all())
    return int((values > RESOLVED).sum())


def basis(side):
    """Orthonormal rows, of as many dimensions as the two variables of a side span."""
    centred = side - side.mean(-1, keepdims=True)
    centred = centred - centred.mean(-1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=-1, keepdims=True)
    _, values, rows = np.linalg.svd(unit, full_matrices=False)
    rank = resolved(values)
    return rows[:rank], values[:rank].min()


def gaussian_pair(past, future):
    """Past and future, (2, samples) each. The information is minus the log of angles' sines."""
    (p, least_past), (f, least_future) = basis(past), basis(future)
    # Projected twice: what is left after once is orthogonal to p only up to rounding.
    left = f - (f @ p.T) @ p
    sines = np.linalg.svd(left - (left @ p.T) @ p, compute_uv=False)
    if resolved(sines) < len(f):
        return Pair(Outcome.DETERMINISTIC, np.inf, 0.0)
    outcome = Outcome.DUPLICATE if min(len(p), len(f)) == 1 else 0
    left = sines.min() * min(least_past, least_future)
    assume(left > RESOLVED)
    return Pair(outcome, float(-np.log(sines).sum()), 2e-9 + 20 * U / left)


def discrete_pair(past, future):
    """Past and future bits, (2, samples) each."""

    def entropy(states):
        share = np.unique(states, axis=1, return_counts=True)[1] / states.shape[1]
        return float(-(share * np.log2(share)).sum())

    both = np.concatenate([past, future])
    return Pair(0, entropy(past) + entropy(future) - entropy(both), 1e-12)


def varying_pairs(call):
    """{(trial, i, j): Pair} for i < j, both of which vary."""
    constant, sides = constant_nodes(call), past_and_future(call)
    analyse = gaussian_pair if call.kind == "gaussian" else discrete_pair
    return {
        (k, i, j): analyse(*(side[k, [i, j]] for side in sides))
        for k, (i, j) in itertools.product(
            range(len(constant)), itertools.combinations(range(constant.shape[1]), 2)
        )
        if not constant[k, [i, j]].any()
    }


def compare(call, found, expected, tolerance=0.0):
    """Atoms by name: NaN at the same places, and no further apart than rounding may take them."""
    pairs = varying_pairs(call)
    trials, _, nodes = call.series.shape
    bound = np.full((trials, nodes, nodes), tolerance)
    for (k, i, j), pair in pairs.items():
        bound[k, [i, j], [j, i]] += pair.tolerance
    if call.average is not None:
        bound = bound.max(0)
    for atom in found:
        np.testing.assert_array_equal(np.isnan(found[atom]), np.isnan(expected[atom]))
        apart = np.nan_to_num(np.abs(found[atom] - expected[atom]))
        np.testing.assert_array_less(apart, bound + np.finfo(float).tiny)


# ---- Properties ----------------------------------------------------------------------------------

AVERAGES = (None, "trials", "moments", "concatenate")
each_variant = pytest.mark.parametrize(
    "variant", list(itertools.product(["gaussian", "discrete"], ["MMI", "CCS"])), ids="-".join
)


@each_variant
@given(st.data())
@anything(30)
def test_what_has_no_value_is_said(variant, data):
    """NaN exactly where the outcomes say so, nothing infinite, and the counts add up."""
    call = data.draw(calls(variant, AVERAGES))
    dtype = data.draw(st.sampled_from(["float64", "float32"]))
    call = replace(call, dtype=dtype)
    pairs, constant = varying_pairs(call), constant_nodes(call)
    result = call.phiid()
    np.testing.assert_array_equal(result.constant, constant)
    flagged = {tuple(flag[:3]): flag[3] for flag in result.flagged.tolist()}
    assert flagged == {place: pair.outcome for place, pair in pairs.items() if pair.outcome}

    nodes = constant.shape[1]
    valued = np.zeros((len(constant), nodes, nodes), bool)
    for (k, i, j), pair in pairs.items():
        valued[k, [i, j], [j, i]] = pair.outcome != Outcome.DETERMINISTIC
    np.testing.assert_array_equal(result.valid_trials(), valued.sum(0))
    where = valued if call.average is None else valued.any(0)
    for atom in ATOMS:
        np.testing.assert_array_equal(np.isnan(result[atom]), ~where)
        assert not np.isinf(result[atom]).any()

    everything = len(constant) * nodes * (nodes - 1) // 2
    assert result.degenerate == {
        "constant": everything - len(pairs),
        "deterministic": len(pairs) - int(np.triu(valued.sum(0)).sum()),
        "duplicate": sum(pair.outcome == Outcome.DUPLICATE for pair in pairs.values()),
    }


@each_variant
@given(st.data())
@anything(15)
def test_average_is_the_mean_over_trials_with_a_value(variant, data):
    call = data.draw(calls(variant))
    each = call.phiid()
    mean = replace(call, average="trials").phiid()
    count = (~np.isnan(each["sts"])).sum(0)
    for atom in ATOMS:
        total = np.nan_to_num(each[atom]).sum(0)
        expected = np.divide(total, count, where=count > 0, out=np.full(count.shape, np.nan))
        np.testing.assert_allclose(mean[atom], expected, rtol=1e-12, atol=1e-12)


@each_variant
@given(st.data())
@anything(15)
def test_order_of_nodes_and_trials_does_not_matter(variant, data):
    """The order decides which node of a pair is x, and the tile that a pair belongs to."""
    call = data.draw(calls(variant, AVERAGES))
    random = data.draw(st.randoms(use_true_random=False))
    trials, _, nodes = call.series.shape
    order = random.sample(range(nodes), nodes)
    trial_order = random.sample(range(trials), trials)
    moved = replace(call, series=call.series[trial_order][..., order])
    result = call.phiid()
    expected = {atom: result[atom][..., order, :][..., order] for atom in ATOMS}
    if call.average is None:
        expected = {atom: values[trial_order] for atom, values in expected.items()}
    compare(moved, moved.phiid(), expected)
    compare(call, result, {a: result[swap_nodes(a)].swapaxes(-1, -2) for a in ATOMS})


@each_variant
@given(st.data())
@anything(15)
def test_scale_and_offset_do_not_matter(variant, data):
    """Nor the sign, to Gaussian atoms; a bit, "above the mean", is another one upside down."""
    call = data.draw(calls(variant, AVERAGES, dtypes=("float64", "int32")))
    random = data.draw(st.randoms(use_true_random=False))
    scales = [1, 3] if call.kind == "discrete" else [-1, 2, 5]
    scale, offset = (
        np.array([random.choice(values) for _ in range(call.series.shape[2])])
        for values in (scales, [0, -3, 1000])
    )
    moved = replace(call, series=call.series * scale + offset)
    result, found = call.phiid(), moved.phiid()
    assert sorted(found.flagged.tolist()) == sorted(result.flagged.tolist())
    compare(moved, found, result)


@each_variant
@given(st.data())
@anything(15)
def test_atoms_sum_to_the_information_of_past_about_future(variant, data):
    call = data.draw(calls(variant, AVERAGES))
    result, pairs, count = call.phiid(), varying_pairs(call), {}
    expected = np.zeros(result["sts"].shape)
    for (k, i, j), pair in pairs.items():
        if pair.outcome != Outcome.DETERMINISTIC:
            place = (k, i, j) if call.average is None else (i, j)
            expected[place] += pair.information
            count[place] = count.get(place, 0) + 1
    for place, number in count.items():
        expected[place] /= number
        expected[(*place[:-2], place[-1], place[-2])] = expected[place]
    total = sum(result[atom] for atom in ATOMS)
    compare(call, {"sum": total}, {"sum": np.where(np.isnan(total), np.nan, expected)})


@pytest.mark.parametrize("variant", [("gaussian", "MMI"), ("discrete", "MMI")], ids="-".join)
@given(st.data())
@anything(15)
def test_redundancies_by_minimum_are_not_negative(variant, data):
    """Each is the least of some informations, or what a larger minimum adds to a smaller one."""
    call = data.draw(calls(variant, AVERAGES))
    result = call.phiid()
    names = ("rtr", "rtx", "rty", "xtr", "ytr")
    found = {atom: result[atom].clip(max=0) for atom in names}
    compare(call, found, {atom: 0 * found[atom] for atom in names})


@each_variant
@given(st.data())
@anything(15)
def test_backends_agree(variant, data):
    call = data.draw(calls(variant, AVERAGES))
    one, *others = (replace(call, backend=name).phiid() for name in AT_FULL_SPEED)
    varying_pairs(call)  # may find that outcomes are in doubt
    for other in others:
        np.testing.assert_array_equal(one.constant, other.constant)
        assert sorted(one.flagged.tolist()) == sorted(other.flagged.tolist())
        compare(call, one, other)


@each_variant
@given(st.data())
@anything(15)
def test_single_precision_and_fewer_atoms_are_near(variant, data):
    call = data.draw(calls(variant, AVERAGES))
    double, single = call.phiid(), replace(call, dtype="float32").phiid()
    compare(call, single, double, tolerance=1e-5)
    compare(call, call.phiid(atoms=("sts", "rtr")), double)


@each_variant
@given(st.data())
@anything(15)
def test_atoms_are_means_of_local_ones(variant, data):
    call = data.draw(calls(variant))
    random = data.draw(st.randoms(use_true_random=False))
    nodes = call.series.shape[2]
    pairs = random.sample(list(itertools.permutations(range(nodes), 2)), min(4, nodes))
    options = {"tau": call.tau, "kind": call.kind, "redundancy": call.redundancy}
    series = torch.from_numpy(call.series) if call.backend == "torch" else call.series
    local = np.asarray(synkern.phiid_local(series, pairs, **options)).mean(-1)
    result = call.phiid()
    expected = {atom: np.full(result[atom].shape, np.nan) for atom in ATOMS}
    found = {atom: np.full(result[atom].shape, np.nan) for atom in ATOMS}
    i, j = np.array(pairs).T
    for k, atom in enumerate(ATOMS):
        expected[atom][:, i, j] = result[atom][:, i, j]
        found[atom][:, i, j] = local[:, :, k]
    compare(call, found, expected)

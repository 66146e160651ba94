"""Nodes that coincide: one outcome, whatever their order, and no synergy."""

import itertools

import numpy as np
import pytest

import synkern
from bench.harness.extended_precision import exact_atoms
from support.optional import torch
from synkern.kernels.contract import Outcome
from synkern.kernels.formulas.rescue import VANISHED, lambdas_from_data
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.lattice import ATOMS, swap_nodes

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
    # Of triton 3.6's interpreter, about itself.
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
]

REDUNDANCIES = ["MMI", "CCS"]
TIME = np.arange(100.0)


def outcomes(series, **options):
    """Outcome of (trials, time, 2), and all atoms (trials, 16); of both orders, the second's
    atoms under the names they have in the first."""
    found = []
    for order, names in ((series, ATOMS), (series[..., ::-1], map(swap_nodes, ATOMS))):
        result = synkern.phiid(order.copy(), atoms="all", average=None, **options)
        outcome = np.zeros(len(series), np.int64)
        outcome[result.flagged[:, 0]] = result.flagged[:, 3]
        atoms = np.stack([result[name][:, 0, 1] for name in names], -1)
        assert not result.constant.any()
        np.testing.assert_array_equal(
            np.isnan(atoms).all(-1), outcome == Outcome.DETERMINISTIC, strict=True
        )
        found.append((outcome, atoms))
    return found


def ramps():
    """A clock that ticks finely on a large offset, and other lines as float64 rounds them."""
    slopes, offsets = (1.0, 0.1, 0.3, 1e-3, 7.0, 1 / 3), (0.0, 0.1, 1e3, 1e5, 1e6 + 0.1)
    lines = [offset + slope * TIME for offset in offsets for slope in slopes]
    return np.stack([np.stack(pair, -1) for pair in itertools.combinations(lines, 2)])


def jittered(rng, pairs):
    """Lines with noise from 1e-13 to 1e-7 of them, about the limit at which nodes coincide."""
    size = 100 * 10 ** rng.uniform(-13, -7, (pairs, 1, 2))
    return TIME[:, None] + size * rng.standard_normal((pairs, 100, 2))


@pytest.mark.many_tiles
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_lines_are_deterministic_in_both_orders(backend, redundancy):
    series = ramps()
    for outcome, _ in outcomes(series, backend=backend, redundancy=redundancy):
        # Of the finest clock on the largest offset rounding leaves 1e-10 and more of a line.
        assert (outcome == Outcome.DETERMINISTIC).sum() > 0.99 * len(series)
        assert not (outcome == Outcome.DUPLICATE).any()


@pytest.mark.many_tiles
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_no_order_of_nodes_near_the_limit(rng, backend, redundancy):
    series = jittered(rng, 500)
    (outcome, atoms), (other, exchanged) = outcomes(series, backend=backend, redundancy=redundancy)
    np.testing.assert_array_equal(outcome, other)
    assert set(outcome.tolist()) == {0, Outcome.DETERMINISTIC}
    # Unit vectors are known to some u = 1e-16, so what is left of them, VANISHED at least, is
    # known to u / VANISHED = 1e-6 of itself, and an atom to a few times that.
    np.testing.assert_allclose(atoms, exchanged, rtol=0, atol=1e-5)


@pytest.mark.many_tiles
def test_backends_agree_near_the_limit(rng, backend):
    series = jittered(rng, 500)
    expected, atoms = outcomes(series, backend="numpy")[0]
    for outcome, found in outcomes(series, backend=backend):
        np.testing.assert_array_equal(outcome, expected)
        np.testing.assert_allclose(found, atoms, rtol=0, atol=1e-5)


def test_a_line_and_its_rounded_copy(backend):
    """The copy leaves 1e-11 of its future open, the line nothing: infinite information."""
    clock = 1e5 + 1e-3 * TIME
    for pair in ((clock, TIME), (TIME, clock)):
        result = synkern.phiid(np.stack(pair, -1), backend=backend)
        assert result.degenerate == {"constant": 0, "deterministic": 1, "duplicate": 0}
        assert np.isnan(result["sts"]).all()


def test_a_line_and_its_rounded_copy_stay_out_of_the_average(rng, backend):
    series = rng.standard_normal((4, 100, 2)).cumsum(1)
    series[2] = np.stack([1e5 + 1e-3 * TIME, TIME], -1)
    mean = synkern.phiid(series, backend=backend)
    others = synkern.phiid(series[[0, 1, 3]], backend=backend)
    assert mean.valid_trials()[0, 1] == 3
    np.testing.assert_allclose(mean["sts"][0, 1], others["sts"][0, 1], rtol=0, atol=1e-12)
    nodes = synkern.phiid_nodes(series, backend=backend)
    np.testing.assert_allclose(nodes["sts"], mean["sts"][0, 1], rtol=0, atol=1e-12)
    chosen = synkern.phiid(series, backend=backend, pairs=[[1, 0]])
    np.testing.assert_allclose(chosen["sts"], mean["sts"][1, 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("copy", [lambda x: x, lambda x: -3 * x + 1e3, lambda x: 1e-30 * x])
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_copies_have_no_synergy_and_share_what_one_has(rng, backend, copy, redundancy):
    x = rng.standard_normal((2, 100)).cumsum(-1)
    series = np.stack([x, copy(x)], -1)
    for outcome, atoms in outcomes(series, backend=backend, redundancy=redundancy):
        assert (outcome == Outcome.DUPLICATE).all()
        for trial, found in zip(series, atoms, strict=True):
            expected = exact_atoms(*trial[:, [0, 0]].T, 1, redundancy)
            assert dict(zip(ATOMS, found, strict=True)) == pytest.approx(expected, abs=1e-9)
            assert found[ATOMS.index("sts")] == pytest.approx(0, abs=1e-14)  # a few roundings


@pytest.mark.parametrize("part", [slice(50), slice(50, 100)], ids=["past", "future"])
@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_copies_in_one_half(rng, backend, part, redundancy):
    series = rng.standard_normal((2, 100, 2))
    series[:, part, 1] = series[:, part, 0]
    options = {"backend": backend, "redundancy": redundancy, "tau": 50}
    for outcome, atoms in outcomes(series, **options):
        assert (outcome == Outcome.DUPLICATE).all()
        for trial, found in zip(series, atoms, strict=True):
            expected = exact_atoms(*trial.T, 50, redundancy)
            assert dict(zip(ATOMS, found, strict=True)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("redundancy", REDUNDANCIES)
def test_pointwise_has_the_same_outcomes(rng, redundancy):
    series = jittered(rng, 60)
    x = rng.standard_normal((20, 100)).cumsum(-1)
    series = np.concatenate([series, np.stack([x, 2 * x + 1], -1)])
    expected, atoms = outcomes(series, backend="numpy", redundancy=redundancy)[0]
    local = synkern.phiid_local(series, [[0, 1], [1, 0]], redundancy=redundancy).mean(-1)
    np.testing.assert_allclose(local[:, 0], atoms, rtol=0, atol=1e-5)
    exchanged = [ATOMS.index(swap_nodes(name)) for name in ATOMS]
    np.testing.assert_allclose(local[:, 1, exchanged], atoms, rtol=0, atol=1e-5)
    for k in (int(np.argmax(expected == Outcome.DETERMINISTIC)), 70):
        pair = synkern.calc_PhiID(*series[k].T, 1, redundancy=redundancy)[0]
        means = [pair[name].mean() for name in ATOMS]
        np.testing.assert_allclose(means, atoms[k], rtol=0, atol=1e-5)


@pytest.mark.parametrize("library", [np, torch], ids=["numpy", "torch"])
def test_lambdas_of_a_dropped_node_are_those_of_the_other(rng, library):
    """Nodes that differ by less than VANISHED, and leave open of their future only little more."""
    noise = rng.standard_normal((2, 99, 2)) * [[[3e-9]], [[1e-11]]]
    line = TIME[:99, None] / 100
    past = line + noise[1]
    future = line + noise[0, :, :1] + noise[1]
    segments = [
        unit_vectors(library, library.asarray(side.copy())[None], 1).past[0]
        for side in (np.r_[past, past[:1]], np.r_[future, future[:1]])
    ]
    (x, y), (a, b) = segments
    one, outcome = lambdas_from_data(library, *(v[None] for v in (x, y, a, b)))
    two, _ = lambdas_from_data(library, *(v[None] for v in (y, x, b, a)))
    assert int(outcome[0]) == Outcome.DUPLICATE
    values = {float(lam[0]) for lam in one} | {float(lam[0]) for lam in two}
    assert len(values) == 1
    assert values.pop() > VANISHED**2


@pytest.mark.brief
def test_lines_walks_and_copies_side_by_side(rng, backend):
    lines = [*ramps()[::90, :, 0], *jittered(rng, 3).swapaxes(1, 2).reshape(6, -1)]
    walks = rng.standard_normal((2, 100)).cumsum(-1)
    series = np.stack([*lines, *walks, 3 * walks[0], walks[1] - 7], -1)
    expected = synkern.phiid(series, backend="numpy")
    result = synkern.phiid(series, backend=backend)
    assert result.degenerate == expected.degenerate
    assert result.degenerate["duplicate"] == 2
    assert result.degenerate["deterministic"] > 10
    np.testing.assert_array_equal(result.valid_trials(), expected.valid_trials())
    for atom in ("rtr", "sts"):
        np.testing.assert_allclose(result[atom], expected[atom], rtol=0, atol=1e-5)

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from support.golden import GOLDEN_VARIANTS
from support.optional import torch
from synkern.kernels.contract import Limits, Tile
from synkern.kernels.engine.libraries import NUMPY, torch_library
from synkern.kernels.formulas.discrete import binarise, discrete_pairs, discrete_tile
from synkern.kernels.lattice import ATOMS, swap_nodes, zeta_matrix

LIBRARIES = {"numpy": lambda: NUMPY, "torch": torch_library}
SOURCES = {"r": ("x", "y"), "x": ("x",), "y": ("y",), "s": ("xy",)}
TARGETS = {"r": ("a", "b"), "x": ("a",), "y": ("b",), "s": ("ab",)}


@pytest.fixture(params=LIBRARIES)
def lib(request):
    return LIBRARIES[request.param]()


@pytest.fixture(params=["MMI", "CCS"])
def redundancy(request):
    return request.param


def all_pairs(lib, series, tau, redundancy, names=ATOMS):
    """(atoms, trials, nodes, nodes) from the tile above the diagonal and the one below it."""
    bits = binarise(lib.xp, lib.xp.asarray(series), tau)
    trials, _, nodes = series.shape
    atoms = np.full((len(names), trials, nodes, nodes), np.nan)
    for i, j in itertools.permutations(range(nodes), 2):
        tile = Tile(slice(0, trials), slice(i, i + 1), slice(j, j + 1))
        values = discrete_tile(lib, bits, tile, names, redundancy)
        atoms[:, :, i, j] = np.stack([np.asarray(v)[:, 0, 0] for v in values])
    return atoms


class BruteForce:
    """The definitions, one state at a time; signs of informations by exact integer comparison."""

    def __init__(self, x, y, tau):
        parts = {"x": x[:-tau], "y": y[:-tau], "a": x[tau:], "b": y[tau:]}
        bits = {
            name: [int(v > math.fsum(part) / len(part)) for v in part]
            for name, part in parts.items()
        }
        self.samples = len(x) - tau
        self.states = [
            dict(zip("xyab", state, strict=True))
            for state in zip(*(bits[name] for name in "xyab"), strict=True)
        ]
        self.counts = {
            "".join(names): Counter(tuple(state[v] for v in names) for state in self.states)
            for k in range(1, 5)
            for names in itertools.combinations("xyab", k)
        }

    def count(self, names, state):
        return self.counts[names][tuple(state[v] for v in names)]

    def local(self, u, v, state):
        joint, first, second = (self.count(names, state) for names in (u + v, u, v))
        return math.log2(joint * self.samples / (first * second))

    def sign(self, u, v, state):
        joint, first, second = (self.count(names, state) for names in (u + v, u, v))
        return np.sign(joint * self.samples - first * second)

    def mean(self, u, v):
        return sum(self.local(u, v, state) for state in self.states) / self.samples

    def mmi(self):
        return {
            name: min(self.mean(u, v) for u in SOURCES[name[0]] for v in TARGETS[name[2]])
            for name in ATOMS
        }

    def ccs(self):
        local = [self.ccs_local(state) for state in self.states]
        return {name: sum(values[name] for values in local) / self.samples for name in ATOMS}

    def ccs_local(self, state):
        found = {}
        for name in ATOMS[1:]:
            u, v = SOURCES[name[0]], TARGETS[name[2]]
            parts = [*itertools.product(u, v)]
            values = [self.local(*part, state) for part in parts]
            found[name] = values[0]
            if len(parts) == 2:
                parts.append(("".join(u), "".join(v)))
                change = sum(values) - self.local(*parts[-1], state)
                found[name] = self.common(parts, change, state)
        change = (
            -(found["xtx"] + found["xty"] + found["ytx"] + found["yty"])
            + (found["xts"] + found["yts"] + found["stx"] + found["sty"] - found["sts"])
            + (found["rtx"] + found["rty"] - found["rts"])
            + (found["xtr"] + found["ytr"] - found["str"])
        )
        parts = itertools.product("xy", "ab")
        return {"rtr": self.common(parts, change, state)} | found

    def common(self, parts, change, state):
        signs = {self.sign(u, v, state) for u, v in parts}
        return change if signs == {np.sign(change)} else 0.0


def brute_force(x, y, tau, redundancy):
    pair = BruteForce(x.tolist(), y.tolist(), tau)
    cumulative = {"MMI": pair.mmi, "CCS": pair.ccs}[redundancy]()
    return np.linalg.solve(zeta_matrix(), [cumulative[name] for name in ATOMS])


def odd_series(rng):
    """Four trials of five nodes: coupled, rarely above the mean, tied, (nearly) constant."""
    series = rng.standard_normal((4, 38, 5))
    series[:, 1:, 1] += series[:, :-1, 0]
    series[..., 2] = np.exp(3 * series[..., 2])
    series[..., 3] = rng.integers(0, 3, (4, 38))
    series[..., 4] = 0.1
    series[:2, 17, 4] = 5
    return series


GOLDEN = [case for case in GOLDEN_VARIANTS if case.kind == "discrete"]


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda case: f"{case.name}-{case.redundancy}")
def test_golden_averages(golden, lib):
    redundancy = golden.redundancy
    bits = binarise(lib.xp, lib.xp.asarray(golden.series[None]), golden.tau)
    tile = Tile(slice(0, 1), slice(0, 2), slice(0, 2))
    by_tile = discrete_tile(lib, bits, tile, ATOMS, redundancy)
    by_pair = discrete_pairs(lib, bits, lib.xp.asarray([[0, 0, 1]]), ATOMS, redundancy, Limits())
    expected = golden.average
    np.testing.assert_allclose([v[0, 0, 1] for v in by_tile], expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose([v[0] for v in by_pair], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("tau", [1, 3])
def test_definitions_on_odd_series(rng, lib, redundancy, tau):
    series = odd_series(rng)
    atoms = all_pairs(lib, series, tau, redundancy)
    for k, i, j in itertools.product(range(4), range(5), range(5)):
        if i != j:
            expected = brute_force(series[k, :, i], series[k, :, j], tau, redundancy)
            np.testing.assert_allclose(atoms[:, k, i, j], expected, rtol=0, atol=1e-12)


def test_information_that_is_zero_has_no_sign(rng, lib):
    """33 samples of fair bits meet exact independence often; rounding must not break the tie."""
    series = rng.integers(0, 2, (40, 33, 2)).astype(float)
    atoms = all_pairs(lib, series, 1, "CCS")[:, :, 0, 1]
    expected = [brute_force(*trial.T, 1, "CCS") for trial in series]
    np.testing.assert_allclose(atoms.T, expected, rtol=0, atol=1e-12)


def test_tiles_and_pairs_agree(rng, lib, redundancy):
    """Tiles large enough to be cut into parts, on the diagonal and off it."""
    bits = binarise(lib.xp, lib.xp.asarray(rng.standard_normal((5, 30, 150)).cumsum(1)), 2)
    for rows, columns in ((slice(3, 74), slice(3, 74)), (slice(3, 74), slice(80, 149))):
        tile = Tile(slice(1, 5), rows, columns)
        values = discrete_tile(lib, bits, tile, ("sts", "xtr"), redundancy)
        assert [v.shape for v in values] == [(4, 71, columns.stop - columns.start)] * 2
        k, i, j = np.indices(values[0].shape).reshape(3, -1)
        kept = i + rows.start < j + columns.start
        chosen = np.stack([k + 1, i + 3, j + columns.start], 1)[kept][::7]
        listed = discrete_pairs(
            lib, bits, lib.xp.asarray(chosen), ("sts", "xtr"), redundancy, Limits()
        )
        for value, pairs in zip(values, listed, strict=True):
            expected = np.asarray(value).reshape(-1)[kept][::7]
            np.testing.assert_allclose(pairs, expected, rtol=0, atol=1e-14)


def test_atoms_sum_to_the_information_of_past_about_future(rng, lib, redundancy):
    series = odd_series(rng)
    total = all_pairs(lib, series, 2, redundancy).sum(0)
    for k, i, j in ((0, 0, 1), (1, 1, 2), (3, 2, 3)):
        pair = BruteForce(series[k, :, i].tolist(), series[k, :, j].tolist(), 2)
        assert total[k, i, j] == pytest.approx(pair.mean("xy", "ab"), abs=1e-12)


def test_exchange_of_nodes_exchanges_names(rng, lib, redundancy):
    atoms = all_pairs(lib, odd_series(rng), 1, redundancy)
    swapped = atoms[[ATOMS.index(swap_nodes(name)) for name in ATOMS]].swapaxes(-1, -2)
    np.testing.assert_allclose(atoms, swapped, rtol=0, atol=1e-13)


@pytest.mark.parametrize("names", [("rtr",), ("sts", "rtr"), ("xty", "sts", "ytr")])
def test_some_atoms_equal_those_of_all(rng, lib, redundancy, names):
    series = odd_series(rng)
    every = all_pairs(lib, series, 1, redundancy)
    some = all_pairs(lib, series, 1, redundancy, names)
    np.testing.assert_array_equal(some, every[[ATOMS.index(name) for name in names]])


def test_constant_nodes_are_marked_and_carry_nothing(rng, lib, redundancy):
    series = rng.standard_normal((3, 20, 3))
    series[0, :, 0] = 0.1
    series[1, :-1, 1] = 1e9  # constant in the past only
    bits = binarise(lib.xp, lib.xp.asarray(series), 1)
    np.testing.assert_array_equal(bits.constant, [[1, 0, 0], [0, 1, 0], [0, 0, 0]])
    tile = Tile(slice(0, 3), slice(0, 1), slice(1, 3))
    atoms = np.stack([np.asarray(v) for v in discrete_tile(lib, bits, tile, ATOMS, redundancy)])
    assert np.isfinite(atoms).all()
    silent = [name for name in ATOMS if not set(name[::2]) <= {"y"}]
    for name in silent:
        np.testing.assert_allclose(atoms[ATOMS.index(name), 0], 0, atol=1e-14)


def test_bits_about_a_large_offset(rng, lib):
    bits = rng.integers(0, 2, (2, 50, 3))
    found = binarise(lib.xp, lib.xp.asarray(1e9 + 1e-6 * bits), 1)
    np.testing.assert_array_equal(found.past, bits[:, :-1].swapaxes(1, 2))
    np.testing.assert_array_equal(found.both, (bits[:, :-1] * bits[:, 1:]).swapaxes(1, 2))
    assert found.past.dtype == lib.xp.float32


def test_no_pairs(rng, lib, redundancy):
    bits = binarise(lib.xp, lib.xp.asarray(rng.standard_normal((1, 20, 2))), 1)
    none = lib.xp.asarray(np.empty((0, 3), np.int64))
    assert [
        tuple(v.shape) for v in discrete_pairs(lib, bits, none, ATOMS, redundancy, Limits())
    ] == [(0,)] * 16


def test_torch_stays_in_torch(rng):
    bits = binarise(torch, torch.asarray(rng.standard_normal((1, 20, 2))), 1)
    tile = Tile(slice(0, 1), slice(0, 2), slice(0, 2))
    (sts,) = discrete_tile(torch_library(), bits, tile, ("sts",), "MMI")
    assert isinstance(sts, torch.Tensor)
    assert sts.dtype == torch.float64

import functools

import numpy as np
import pytest

import synkern
from support.bounded import bounded
from support.optional import torch
from synkern import ATOMS
from synkern.decomposition.reference import phiid_pair
from synkern.kernels import Limits
from synkern.kernels.formulas import mmi
from synkern.kernels.lattice import swap_nodes


def as_array(result: synkern.PhiIDResult) -> np.ndarray:
    return np.stack([np.asarray(result[atom]) for atom in result])


def by_reference(series: np.ndarray, tau: int) -> np.ndarray:
    """(16, trials, nodes, nodes) from the reference, one pair at a time, once for all backends."""
    return _by_reference(series.tobytes(), series.shape, tau)


@functools.cache
def _by_reference(values: bytes, shape: tuple[int, ...], tau: int) -> np.ndarray:
    series = np.frombuffer(values).reshape(shape)
    trials, _, nodes = shape
    out = np.full((16, trials, nodes, nodes), np.nan)
    for k in range(trials):
        for i in range(nodes):
            for j in range(nodes):
                if i != j:
                    pair = phiid_pair(series[k, :, i], series[k, :, j], tau)
                    out[:, k, i, j] = list(pair.values())
    return out


def test_golden_averages(variant, backend):
    options = {"tau": variant.tau, "kind": variant.kind, "redundancy": variant.redundancy}
    result = synkern.phiid(variant.series, atoms="all", backend=backend, **options)
    assert result.atoms == ATOMS
    assert result.unit == {"gaussian": "nats", "discrete": "bits"}[variant.kind]
    np.testing.assert_allclose(as_array(result)[:, 0, 1], variant.average, rtol=0, atol=1e-9)
    few = synkern.phiid(variant.series, backend=backend, **options)
    expected = variant.average[[ATOMS.index("rtr"), ATOMS.index("sts")]]
    np.testing.assert_allclose(as_array(few)[:, 0, 1], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tile", [1, 700, 1 << 16])
@pytest.mark.parametrize("nodes", [2, 3, 17, pytest.param(37, marks=pytest.mark.proof)])
def test_every_pair_of_every_trial_equals_the_reference(rng, backend, nodes, tile):
    options = {"tau": 2, "names": ATOMS, "backend": backend}
    series = rng.standard_normal((3, 41, nodes)).cumsum(1)
    expected = by_reference(series, 2)
    every = bounded(series, Limits(tile=tile), average=None, **options)
    np.testing.assert_allclose(as_array(every), expected, rtol=0, atol=1e-10)
    mean = bounded(series, Limits(tile=tile), **options)
    np.testing.assert_allclose(as_array(mean), expected.mean(1), rtol=0, atol=1e-10)


def test_recorded_heads_equal_the_reference(heads, backend):
    series = heads["trained"][:1, :, ::4]
    expected = by_reference(series.astype(np.float64), 1)
    result = synkern.phiid(series, atoms="all", average=None, backend=backend)
    np.testing.assert_allclose(as_array(result), expected, rtol=0, atol=1e-9)
    assert result.rescued == 0


def test_average_is_the_mean_of_single_trials(rng, backend):
    series = rng.standard_normal((23, 60, 9)).cumsum(1)
    mean = synkern.phiid(series, atoms="all", backend=backend)
    single = [synkern.phiid(trial, atoms="all", backend=backend) for trial in series]
    expected = np.mean([as_array(result) for result in single], axis=0)
    np.testing.assert_allclose(as_array(mean), expected, rtol=0, atol=1e-12)


def test_swapping_two_nodes_swaps_x_and_y(rng, backend):
    series = rng.standard_normal((2, 80, 6)).cumsum(1)
    result = synkern.phiid(series, atoms="all", backend=backend)
    for atom in ATOMS:
        np.testing.assert_array_equal(result[atom], result[swap_nodes(atom)].T)
    swapped = synkern.phiid(series[..., [1, 0]], atoms="all", backend=backend)
    for atom in ATOMS:
        assert swapped[atom][0, 1] == pytest.approx(result[swap_nodes(atom)][0, 1], abs=1e-12)


def test_permuting_nodes_permutes_the_result(rng, backend):
    series = rng.standard_normal((2, 80, 40)).cumsum(1)
    order = rng.permutation(40)
    result = as_array(synkern.phiid(series, atoms="all", backend=backend))
    permuted = as_array(synkern.phiid(series[..., order], atoms="all", backend=backend))
    np.testing.assert_allclose(
        permuted, result[:, order][:, :, order], rtol=0, atol=1e-11, equal_nan=True
    )


def test_affine_maps_of_a_node_change_nothing(rng, backend):
    series = rng.standard_normal((1, 100, 3)).cumsum(1)
    moved = series * [1e-150, -3.0, 1e150] + [0.0, 7.0, 0.0]
    expected = as_array(synkern.phiid(series, atoms="all", backend=backend))
    result = as_array(synkern.phiid(moved, atoms="all", backend=backend))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


def test_diagonal_is_nan_and_nothing_else(rng, backend):
    result = synkern.phiid(rng.standard_normal((2, 50, 5)), atoms="all", backend=backend)
    for atom in ATOMS:
        np.testing.assert_array_equal(np.isnan(result[atom]), np.eye(5, dtype=bool))


def test_one_trial_without_a_trial_axis(rng, backend):
    series = rng.standard_normal((50, 4))
    flat = synkern.phiid(series, backend=backend)
    full = synkern.phiid(series[None], backend=backend)
    assert flat.shape == full.shape == (1, 50, 4)
    np.testing.assert_array_equal(flat["sts"], full["sts"])


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_rtr_and_sts_never_compute_the_others(rng, backend, monkeypatch):
    def fail(*_):
        raise AssertionError("the path of all atoms was taken")

    series = rng.standard_normal((2, 50, 5))
    expected = synkern.phiid(series, atoms="all", backend=backend)
    logarithms = []
    library = {"numpy": np, "torch": torch}[backend]
    log = library.log
    monkeypatch.setattr(mmi, "_any_atoms", fail)
    monkeypatch.setattr(library, "log", lambda v: logarithms.append(1) or log(v))
    for names in (["sts"], ["rtr"], ["sts", "rtr"]):
        logarithms.clear()
        result = synkern.phiid(series, atoms=names, backend=backend)
        assert list(result) == names
        for name in names:
            np.testing.assert_allclose(result[name], expected[name], rtol=0, atol=1e-12)
        # One logarithm an atom for the one tile, and as many again for the empty rescue at most.
        assert len(logarithms) <= 2 * len(names)


@pytest.mark.parametrize("names", [["xtx"], ["ytx", "sts"], ["str", "rtr", "xty"], "stx"])
def test_any_subset_of_atoms(rng, backend, names):
    series = rng.standard_normal((2, 50, 5)).cumsum(1)
    everything = synkern.phiid(series, atoms="all", backend=backend)
    some = synkern.phiid(series, atoms=names, backend=backend)
    assert list(some) == ([names] if isinstance(names, str) else names)
    for name in some:
        np.testing.assert_allclose(some[name], everything[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("model", ["trained", "random"])
def test_float32_keeps_its_tolerance_by_promotion(heads, backend, model):
    exact = synkern.phiid(heads[model], atoms="all", average=None, backend=backend)
    single = synkern.phiid(
        heads[model], atoms="all", average=None, backend=backend, dtype="float32"
    )
    assert single["sts"].dtype == np.float32
    scale = np.nanmax(np.abs(as_array(exact)))  # rounding of the output itself
    bound = 1e-5 + 2 * np.finfo(np.float32).eps * scale
    assert np.nanmax(np.abs(as_array(single) - as_array(exact))) <= bound
    assert not np.isinf(as_array(single)).any()


def test_backends_agree(heads, backend):
    for series in heads.values():
        one = synkern.phiid(series, atoms="all", backend="numpy")
        other = synkern.phiid(series, atoms="all", backend=backend)
        np.testing.assert_allclose(as_array(one), as_array(other), rtol=0, atol=1e-9)
        assert one.rescued == other.rescued
        np.testing.assert_array_equal(one.flagged, other.flagged)


def test_same_result_every_time(heads, backend):
    first, second = (synkern.phiid(heads["random"], backend=backend) for _ in range(2))
    np.testing.assert_array_equal(as_array(first), as_array(second))


def test_independent_persistent_nodes():
    """AR(1) at rho = 0.9, T = 100: phyid gives a mean sts of 1.124 and rtr of 0.032."""
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((40, 300, 8))
    series = np.zeros_like(noise)
    for t in range(1, 300):
        series[:, t] = 0.9 * series[:, t - 1] + noise[:, t]
    result = synkern.phiid(series[:, 200:])
    assert np.nanmean(result["sts"]) == pytest.approx(1.124, abs=0.08)
    assert np.nanmean(result["rtr"]) == pytest.approx(0.032, abs=0.02)

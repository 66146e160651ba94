"""Decompositions by backend `cupy`, its kernels and arrays being stand-ins on a CPU."""

import warnings

import numpy as np
import pytest
import torch

import synkern
from support.bounded import bounded, verb
from support.cupy_cases import assert_same, decomposed, hard, variants
from synkern.kernels.contract import Limits
from synkern.kernels.cupy_backend import launch
from synkern.kernels.lattice import ATOMS


@variants
@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all", ("xtx",)])
def test_all_pairs(cupy, rng, kind, redundancy, average, atoms):
    series = hard(rng)
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": atoms}
    expected = decomposed(series, backend="numpy", **options)
    assert_same(decomposed(cupy.asarray(series), **options), expected, 1e-9)


@variants
@pytest.mark.parametrize("shape", [(1, 60, 2), (5, 70, 3), (2, 130, 33), (9, 60, 17), (2, 6, 8)])
def test_sizes(cupy, rng, kind, redundancy, shape):
    """Odd ones; benign series, of which two backends differ by rounding alone."""
    series = rng.standard_normal(shape)
    options = {"kind": kind, "redundancy": redundancy, "atoms": "all"}
    expected = decomposed(series, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), **options)
    assert_same(found, expected, 1e-12 if shape[1] > 6 else 1e-9)


@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate"])
def test_samples_at_the_mean(cupy, rng, redundancy, average):
    """Of every node a third, where the rounding of the mean would decide."""
    series = rng.permuted(np.tile(np.resize([0.1, 0.2, 0.3], (60, 1)), (2, 1, 5)), axis=1)
    series = np.concatenate([series, series[:, :1]], 1)
    options = {"kind": "discrete", "redundancy": redundancy, "average": average, "atoms": "all"}
    found = decomposed(cupy.asarray(series), **options)
    assert_same(found, decomposed(series, backend="numpy", **options))
    pairs, options = [[0, 1], [3, 2]], {"kind": "discrete", "redundancy": redundancy}
    with pytest.warns(UserWarning, match="4 of 5 nodes take more than two levels"):
        local = synkern.phiid_local(cupy.asarray(series), pairs, **options)
    # The tenths of float64 make a mean that is a little less than its two tenths.
    expected = synkern.phiid_local(series >= 0.2, pairs, **options)
    np.testing.assert_allclose(local.get(), expected, rtol=0, atol=1e-12)


@variants
@pytest.mark.parametrize("average", ["trials", None])
def test_float32(cupy, heads, kind, redundancy, average):
    series = heads["trained"]
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": "all"}
    expected = decomposed(series, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), dtype="float32", **options)
    for atom in ATOMS:
        value = found[atom].get()
        assert value.dtype == np.float32
        # 1e-5 as promised, and the rounding of the output and of sums over trials.
        bound = 1e-5 + 4 * np.finfo("float32").eps * np.nanmax(np.abs(expected[atom]))
        np.testing.assert_allclose(value, expected[atom], rtol=0, atol=bound)
    assert found.rescued == expected.rescued


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("atoms", "time"), [(("rtr", "sts"), 1000), (ATOMS, 200)])
@pytest.mark.parametrize("average", ["trials", None])
def test_moments_through_memory(cupy, shim, rng, dtype, atoms, time, average):
    """Of so many samples, in parts of two trials; the list of marked pairs is one."""
    series = hard(rng, trials=5, time=time, nodes=21)
    # At lag 1 moments outdo the kernel of two atoms never, that of all from more samples on.
    options = {"names": atoms, "average": average, "tau": 2}
    limits = Limits(workspace=2 * 3 * 8 * 21 * 21)
    expected = bounded(series, limits, backend="numpy", **options)
    found = bounded(cupy.asarray(series), limits, dtype=dtype, **options)
    assert {name.partition("<")[0] for name in shim.of_pairs} == {"phiid::mmi_moments"}
    assert len(shim.of_pairs) == 3
    if dtype == "float64":
        assert_same(found, expected, 2e-9)
    else:
        for atom in expected:
            np.testing.assert_allclose(found[atom].get(), expected[atom], rtol=0, atol=2e-5)
        assert found.degenerate == expected.degenerate


def test_the_path_is_chosen_by_a_model():
    workspace = Limits().workspace

    def stored(nodes, samples, tile, rectangle=False, **options):
        sides = nodes, nodes
        return launch.through_memory(
            sides, samples, tile, workspace, rectangle=rectangle, **options
        )

    # As measured on an H100, bench/results/h100.json.
    assert not stored(1152, 99, 32)
    assert not stored(1152, 99, 16)
    # Float32 has the products of float64 there.
    assert not stored(1152, 99, 32, real="float")
    assert stored(1152, 1000, 32, real="float")
    # Elsewhere float64 may take 64 times as long as float32.
    assert not stored(1152, 2000, 32, real="float", capability=(12, 0))
    # By a model from there.
    assert stored(1152, 1000, 32)
    assert stored(1152, 200, 16)
    assert not stored(50_000, 1000, 32)  # one trial would take 60 GB
    # From one series.
    assert not stored(1152, 5000, 32, one_series=True)
    assert not stored(1152, 445, 16, one_series=True)
    assert stored(1152, 455, 16, one_series=True)
    assert not stored(50_000, 1000, 16, one_series=True)
    assert not stored(1152, 280, 16, rectangle=True, one_series=True)
    assert stored(1152, 290, 16, rectangle=True, one_series=True)
    # No product of a rectangle is in vain.
    assert stored(1152, 200, 32, rectangle=True)
    assert not stored(1152, 200, 32)
    assert not stored(50_000, 1000, 32, rectangle=True)


@pytest.mark.parametrize("by_node", [False, True])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
def test_a_list_that_overflows(cupy, shim, rng, redundancy, by_node):
    series = np.repeat(rng.standard_normal((2, 40, 1)).cumsum(1), 20, axis=-1)
    options = {"redundancy": redundancy, "by_node": by_node}
    expected = bounded(cupy.asarray(series), Limits(), **options)
    once = len(shim.of_pairs)
    found = bounded(cupy.asarray(series), Limits(capacity=7), **options)
    assert len(shim.of_pairs) > 2 * once
    assert found.degenerate == expected.degenerate
    assert found.degenerate["duplicate"] == 2 * 20 * 19 // 2
    for atom in ("rtr", "sts"):
        np.testing.assert_array_equal(found[atom].get(), expected[atom].get())


@variants
@pytest.mark.parametrize("average", ["trials", None])
def test_the_same_bits_whatever_the_order_of_threads(cupy, shim, rng, kind, redundancy, average):
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": "all"}
    series = cupy.asarray(hard(rng))
    results = []
    for shim.order in ("forward", "reverse", "random", "random"):
        results.append(decomposed(series, **options))
        results.append(decomposed(series, by_node=True, **options))
    for again in results[2:]:
        first = results[0] if type(again) is type(results[0]) else results[1]
        for atom in ATOMS:
            np.testing.assert_array_equal(again[atom].get(), first[atom].get())


@variants
@pytest.mark.parametrize("average", ["trials", None, "moments"])
@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all", ("sts",)])
def test_means_by_node(cupy, rng, kind, redundancy, average, atoms):
    series = hard(rng)
    options = {"kind": kind, "redundancy": redundancy, "average": average, "atoms": atoms}
    expected = decomposed(series, by_node=True, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), by_node=True, **options)
    assert_same(found, expected, 1e-9)
    np.testing.assert_array_equal(found.pairs.get(), expected.pairs)
    if expected.balance is not None:
        # Relative: where sts + rtr is nearly zero, as CCS has it, a share is large.
        np.testing.assert_allclose(found.balance.get(), expected.balance, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("average", ["trials", None])
def test_means_by_node_in_bands(cupy, shim, rng, average):
    series = hard(rng, nodes=70)
    options = {"by_node": True, "average": average}
    expected = decomposed(cupy.asarray(series), **options)
    before = len(shim.of_pairs)
    found = bounded(cupy.asarray(series), Limits(workspace=1), **options)
    # Rows of tiles one by one, each with its totals; of every trial if they are apart.
    assert len(shim.of_pairs) - before == 2 * 3 * (3 if average is None else 1)
    assert_same(found, _on_host(expected), 1e-12)


def _on_host(result):
    arrays = {name: result[name].get() for name in result}
    return type(result)(**{**vars(result), "arrays": arrays})


@variants
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("count", [5, 300], ids=["gathered", "from matrices"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_chosen_pairs(cupy, rng, kind, redundancy, average, count, dtype):
    series = hard(rng)
    first = rng.integers(0, 37, count)
    pairs = np.stack([first, (first + rng.integers(1, 37, count)) % 37], -1)
    pairs[:3] = [[4, 5], [20, 3], [8, 9]]
    options = {"kind": kind, "redundancy": redundancy, "average": average, "pairs": pairs}
    expected = decomposed(series, backend="numpy", atoms="all", **options)
    found = decomposed(cupy.asarray(series), atoms="all", dtype=dtype, **options)
    assert found["sts"].dtype == dtype
    for atom in ATOMS:
        bound = 1e-9
        if dtype == "float32":
            bound = 2e-5 + 4 * np.finfo(dtype).eps * np.nanmax(np.abs(expected[atom]), initial=0)
        np.testing.assert_allclose(found[atom].get(), expected[atom], rtol=0, atol=bound)
    assert found.rescued == expected.rescued
    np.testing.assert_array_equal(
        np.unique(found.flagged, axis=0), np.unique(expected.flagged, axis=0)
    )


@pytest.mark.parametrize("average", ["trials", None])
def test_persistence_reference(cupy, rng, average):
    series = hard(rng)
    options = {"average": average, "atoms": "all"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = synkern.persistence_reference(series, backend="numpy", **options)
        found = synkern.persistence_reference(cupy.asarray(series), **options)
    assert_same(found, expected, 1e-9)


@pytest.mark.parametrize("atoms", [("rtr", "sts"), "all"])
@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
@pytest.mark.parametrize("how", ["all", "chosen", "nodes", "reference"])
def test_moments(cupy, gpu_tensors, rng, atoms, average, how):
    """Gathered by torch on a GPU: taken through DLPack, and the atoms given back."""
    chunks = np.split(hard(rng, time=60), 3, axis=1)
    options = {"atoms": atoms, "average": average}
    options |= {"chosen": {"pairs": [[4, 5], [2, 1], [30, 8]]}, "nodes": {"by_node": True}}.get(
        how, {}
    )
    compute = synkern.persistence_reference if how == "reference" else verb
    moments = [synkern.LaggedMoments() for _ in range(2)]
    for chunk in chunks:
        moments[0].update(chunk)
        moments[1].update(torch.from_numpy(chunk))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = compute(moments[0], backend="numpy", **options)
        found = compute(moments[1], backend="cupy", **options)
    assert found.backend == "cupy"
    for atom in expected:
        assert isinstance(found[atom], torch.Tensor)
        # Moments alone promise no more than 1e-6 where pairs are nearly singular.
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=2e-6)
    assert found.degenerate == expected.degenerate


@pytest.mark.parametrize("average", ["trials", None, "moments", "concatenate"])
def test_moments_gathered_by_cupy(cupy, rng, average):
    """Chunk by chunk, of several lags and trials of different length, without torch."""
    parts = [hard(rng, time=60), hard(rng, trials=1, time=45)]

    def gathered(take):
        each = [synkern.LaggedMoments(tau=(1, 3)) for _ in parts]
        for moments, part in zip(each, parts, strict=True):
            for chunk in np.split(part, 3, axis=1):
                moments.update(take(chunk))
        return synkern.LaggedMoments.stack(each)

    there, here = gathered(cupy.asarray), gathered(np.asarray)
    assert there.library == "cupy"
    options = {"atoms": "all", "average": average, "tau": [1, 3]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = synkern.phiid_lags(there, **options)
        expected = synkern.phiid_lags(here, backend="numpy", **options)
    for lag in (1, 3):
        assert found[lag].backend == "cupy"
        assert found[lag].degenerate == expected[lag].degenerate
        for atom in expected[lag]:
            assert isinstance(found[lag][atom], cupy.ndarray)
            np.testing.assert_allclose(
                found[lag][atom].get(), expected[lag][atom], rtol=0, atol=2e-6
            )


@variants
@pytest.mark.parametrize("how", ["all", "chosen", "nodes"])
@pytest.mark.parametrize("average", ["trials", None, "moments"])
def test_masks(cupy, rng, kind, redundancy, how, average):
    """Trials that keep unequal numbers of pairs; constant and coinciding nodes among them."""
    series, mask = hard(rng, time=60, nodes=25), rng.random((3, 60)) > 0.15
    series[~mask] = np.nan
    options = {"kind": kind, "redundancy": redundancy, "average": average}
    options |= {"chosen": {"pairs": [[4, 5], [9, 2]]}, "nodes": {"by_node": True}}.get(how, {})
    expected = decomposed(series, mask=mask, backend="numpy", **options)
    found = decomposed(cupy.asarray(series), mask=cupy.asarray(mask), **options)
    assert_same(found, expected, 1e-9)


def test_moments_under_a_mask(cupy, rng):
    series, mask = rng.standard_normal((2, 90, 4)), rng.random((2, 90)) > 0.1
    series[~mask] = np.nan
    moments = synkern.LaggedMoments()
    for start in (0, 45):
        part = slice(start, start + 45)
        moments.update(cupy.asarray(series[:, part]), mask=cupy.asarray(mask[:, part]))
    expected = synkern.phiid(series, mask=mask, backend="numpy")
    found = synkern.phiid(moments)
    for atom in expected:
        np.testing.assert_allclose(found[atom].get(), expected[atom], rtol=0, atol=1e-12)

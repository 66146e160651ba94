"""Means by node of more nodes than are made ready at once."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

import synkern
from support.bounded import bounded
from support.optional import torch
from synkern import _checks
from synkern.decomposition.asked import Options
from synkern.decomposition.blocks import _blocks
from synkern.decomposition.call import decompose_nodes
from synkern.kernels import ESTIMATORS, Limits

pytestmark = pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning")

ROUNDING = 1e-12  # sums of 300 pairs, in other orders


@pytest.fixture
def series(rng):
    series = rng.standard_normal((3, 40, 300))
    series[1, :, 2] = 4.0
    series[:, :, 290] = 1.0
    series[2, :, 3] = 2 - 3 * series[2, :, 201]
    series[0, 1:, 5] = series[0, :-1, 204]
    return series


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("average", ["trials", "moments", "concatenate", None])
@pytest.mark.parametrize(("kind", "redundancy"), [("gaussian", "MMI"), ("discrete", "MMI")])
def test_blocks_change_nothing(series, kind, redundancy, average, library):
    options = {"kind": kind, "redundancy": redundancy, "average": average}
    options |= {"backend": library, "names": ("rtr", "sts", "xtr")}
    given = series if library == "numpy" else torch.from_numpy(series)
    whole = bounded(given, Limits(), by_node=True, **options)
    parts = bounded(given, Limits(prepared=3 * 40 * 140), by_node=True, **options)
    assert (parts.degenerate, parts.rescued) == (whole.degenerate, whole.rescued)
    np.testing.assert_array_equal(parts.constant, whole.constant)
    np.testing.assert_array_equal(parts.pairs, whole.pairs)
    for atom in whole:
        np.testing.assert_allclose(parts[atom], whole[atom], rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(parts.balance, whole.balance, rtol=0, atol=1e-9)


def test_a_mask_and_moments(series):
    mask = np.ones((3, 40), bool)
    mask[1, 7] = mask[2, 35:] = False
    small = Limits(prepared=3 * 40 * 140)
    for given, options in ((series, {"mask": mask}), (series, {"mask": mask[:1].repeat(3, 0)})):
        whole = bounded(given, Limits(), by_node=True, **options)
        parts = bounded(given, small, by_node=True, **options)
        np.testing.assert_allclose(parts["sts"], whole["sts"], rtol=0, atol=ROUNDING)
    moments = synkern.LaggedMoments().update(series[..., :80])
    whole, parts = (bounded(moments, limits, by_node=True) for limits in (Limits(), small))
    np.testing.assert_array_equal(parts["sts"], whole["sts"])


@pytest.mark.parametrize("nodes", [2, 64, 128, 129, 193, 257, 300, 1000])
@pytest.mark.parametrize("most", [0, 130, 300, 1000])
def test_blocks_hold_every_node_once(nodes, most):
    blocks = list(_blocks(nodes, most))
    assert [node for block in blocks for node in range(block.start, block.stop)] == list(
        range(nodes)
    )
    sizes = [block.stop - block.start for block in blocks]
    assert min(sizes) >= 2
    assert len(blocks) == 1 or max(sizes) <= max(most // 2, 64) + 1


@pytest.mark.parametrize("average", ["trials", "moments"])
def test_progress_adds_up_to_all_pairs(series, average):
    told = []
    options = Options(average=average, progress=told.append, limits=Limits(prepared=3 * 40 * 140))
    decompose_nodes(series, 1, ESTIMATORS["gaussian", "MMI"], options)
    assert sum(told) == (3 if average == "trials" else 1) * 300 * 299 // 2
    assert len(told) == 15
    told.clear()
    synkern.phiid_nodes(series[..., :5], progress=told.append)
    assert told == [30]
    with pytest.raises(TypeError, match=r"phiid\(\) has no option 'progress'"):
        synkern.phiid(series, progress=told.append)


def test_nodes_that_are_constant_up_to_rounding(series, monkeypatch):
    """Of a large series they are found block by block."""
    series[2, :, 17] = 3.0
    series[2, ::2, 17] += 2**-51
    expected = synkern.phiid_nodes(series)
    monkeypatch.setattr(_checks, "LARGE", 1)
    limits = Limits(prepared=3 * 40 * 140)
    options = Options(limits=limits)
    found = decompose_nodes(series, 1, ESTIMATORS["gaussian", "MMI"], options)
    assert found.constant[2, 17]
    np.testing.assert_array_equal(found.constant, expected.constant)
    np.testing.assert_allclose(found["sts"], expected["sts"], rtol=0, atol=ROUNDING)
    whole = decompose_nodes(
        series, 1, ESTIMATORS["gaussian", "MMI"], replace(options, limits=Limits())
    )
    np.testing.assert_array_equal(whole["sts"], expected["sts"])


def test_not_finite_is_found_in_a_large_series(monkeypatch, series):
    monkeypatch.setattr(_checks, "LARGE", 1)
    synkern.phiid_nodes(series)
    series[2, 30, 7] = np.inf
    with pytest.raises(ValueError, match="1 values .* at trial 2, time 30, node 7: inf"):
        synkern.phiid_nodes(series)


@pytest.mark.filterwarnings("ignore:.*transposed:UserWarning")
@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_series_in_a_file_is_never_held_as_a_whole(tmp_path, rng, library):
    """8 MB in float32; 16 in float64 and 65 as pairs of samples, were it made ready as a whole."""
    np.save(tmp_path / "series.npy", rng.standard_normal((4, 60, 8192), dtype=np.float32))
    mapped = np.load(tmp_path / "series.npy", mmap_mode="c")
    given = mapped if library == "numpy" else torch.from_numpy(mapped)
    limits = Limits(prepared=4 * 60 * 1024)
    options = Options(limits=limits, backend="cpu")
    tracemalloc.start()
    found = decompose_nodes(given, 1, ESTIMATORS["gaussian", "MMI"], options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["sts"].shape == (8192,)
    # 0.25 million values at 45 bytes, features with them; and what is said of 8,192 nodes.
    assert peak < 18e6

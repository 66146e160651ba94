"""How often a call makes the host wait for a device, where nothing is marked and all nodes vary."""

import numpy as np
import pytest

from support.optional import needs_torch, torch
from synkern import phiid, phiid_nodes

pytestmark = needs_torch


def waits(function, series, **options):
    """Lines that wait, but for a glance that tensors on a device do without."""
    from support.synchronisations import Waits  # noqa: PLC0415 (needs torch)

    with Waits() as counted:
        function(series, backend="torch", **options)
    return [line for _, line in counted.lines if not line.startswith("warn_of_zeros")]


def walks(rng, shape=(3, 100, 40)):
    return torch.from_numpy(rng.standard_normal(shape))


@pytest.mark.parametrize("average", ["trials", None, "moments"])
@pytest.mark.parametrize("redundancy", ["MMI", "CCS"])
@pytest.mark.parametrize("atoms", ["sts", "all"])
def test_a_call_waits_twice(rng, average, redundancy, atoms):
    """Whether the series is ordinary, and whether anything is marked or constant."""
    found = waits(phiid, walks(rng), average=average, redundancy=redundancy, atoms=atoms)
    assert [line.split(":")[0] for line in found] == ["ordinary", "_marked"]


def test_in_float32_a_tile_waits_once_more(rng):
    found = waits(phiid, walks(rng), dtype="float32")
    assert [line.split(":")[0] for line in found] == ["ordinary", "closed_form", "_marked"]


def test_sums_by_node(rng):
    found = waits(phiid_nodes, walks(rng))
    assert [line.split(":")[0] for line in found] == ["ordinary", "_resolved", "to_numpy"]


def test_of_chosen_pairs(rng):
    found = waits(phiid, walks(rng), pairs=[[0, 1], [2, 5], [7, 3]])
    assert len(found) <= 5


def test_discrete(rng):
    found = waits(phiid, walks(rng), kind="discrete")
    assert len(found) <= 5


def test_tiles_are_read_together(rng, monkeypatch):
    """Many of them, in as few reads as their masks have room."""
    from support.synchronisations import Waits  # noqa: PLC0415
    from synkern.kernels import Limits, request_for  # noqa: PLC0415
    from synkern.kernels.engine import all_pairs  # noqa: PLC0415
    from synkern.kernels.engine.libraries import torch_library  # noqa: PLC0415
    from synkern.kernels.formulas.estimators import ESTIMATORS  # noqa: PLC0415

    lib = torch_library()
    estimator = next(e for e in ESTIMATORS.values() if e.key == ("gaussian", "MMI"))
    request = request_for(
        ("sts",), per_trial=False, dtype="float64", estimator=estimator, limits=Limits(tile=256)
    )
    series = walks(rng, (2, 60, 64))
    features = estimator.features(lib, series, 1, None)
    counts, sums = [], []
    for room in (1 << 24, 1024, 0):
        monkeypatch.setattr(all_pairs, "MASKS", room)
        with Waits() as counted:
            sums.append(all_pairs.totals(lib, features, request).sums["sts"])
        counts.append(len(counted.lines))
    assert counts[0] == 1
    assert counts[0] < counts[1] < counts[2]
    assert torch.equal(sums[0], sums[1])
    assert torch.equal(sums[0], sums[2])


def test_what_waits_is_counted(rng):
    """One that nothing escapes: numbers read, masks as indices, copies."""
    from support.synchronisations import Waits  # noqa: PLC0415

    values = walks(rng)
    with Waits() as counted:
        bool((values > 0).any())
        values[values > 0]
        torch.where(values > 0)
        values.cpu()
        values[0, 0].tolist()
        values[:0].cpu()
    assert [name for name, _ in counted.lines] == [
        "_local_scalar_dense", "index", "nonzero", "cpu", "tolist",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:.* are degenerate:UserWarning")
@pytest.mark.parametrize("average", ["trials", None])
@pytest.mark.parametrize("where", ["constant", "copies", "both", "neither"])
def test_what_is_marked_is_found_all_the_same(rng, average, where):
    """Beside NumPy, which waits for nothing; copies are known to rounding over noise."""
    series = rng.standard_normal((3, 100, 40))
    if where in ("constant", "both"):
        series[1, :, 7] = 0.1
    if where in ("copies", "both"):
        series[..., 30] = series[..., 2] + 1e-7 * series[..., 30]
        series[..., 31] = -series[..., 5]
    one = phiid(torch.from_numpy(series), backend="torch", average=average)
    two = phiid(series, backend="numpy", average=average)
    np.testing.assert_array_equal(one.constant, two.constant)
    assert one.constant.any() == (where in ("constant", "both"))
    np.testing.assert_array_equal(one.flagged, two.flagged)
    assert (one.rescued > 0) == (where in ("copies", "both"))
    np.testing.assert_allclose(np.asarray(one["sts"]), two["sts"], rtol=0, atol=1e-8)

"""`phiid_nodes` on the Triton backend, interpreted, against the engine."""

import numpy as np
import pytest
import torch

import synkern
from synkern import ATOMS
from synkern.kernels.contract import Limits, Rectangle
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.engine.libraries import torch_library
from synkern.kernels.engine.node_means import decompose_nodes as eager
from synkern.kernels.formulas.estimators import GaussianMMI
from synkern.kernels.formulas.unit_vectors import unit_vectors
from synkern.kernels.triton_backend import node_means as reduced
from synkern.kernels.triton_backend.node_means import decompose_nodes

pytestmark = [
    # Of triton 3.6's interpreter, about itself.
    pytest.mark.filterwarnings("ignore:Conversion of an array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
]

NAMES = [("rtr", "sts"), ("xtr", "sts"), ATOMS]


def both_engines(series, names, *, per_trial, dtype="float64", **options):
    options = {"per_trial": per_trial, "dtype": dtype, "by_node": True, **options}
    request = request_for(names, estimator=GaussianMMI(), **options)
    vectors = unit_vectors(torch, torch.from_numpy(series), 1)
    return decompose_nodes(vectors, request), eager(torch_library(), vectors, request)


def assert_same(found, expected, tolerance):
    """Sums over up to as many pairs as there are nodes, each within the tolerance."""
    tolerance *= expected.pairs.shape[-1]
    assert list(found.sums) == list(expected.sums)
    for name, value in expected.sums.items():
        torch.testing.assert_close(found.sums[name], value, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.shares, expected.shares, rtol=0, atol=100 * tolerance)
    for count in ("pairs", "shared", "constant"):
        assert torch.equal(getattr(found, count), getattr(expected, count))
    assert (found.outcomes, found.rescued) == (expected.outcomes, expected.rescued)


@pytest.fixture
def mixture(rng):
    """Three trials of 35 nodes, degenerate in all ways; one node has no pair in any trial."""
    series = rng.standard_normal((3, 40, 35))
    series[1, :, 2] = 4.0
    series[:, :, 20] = 1.0
    series[2, :, 3] = 2 - 3 * series[2, :, 1]
    series[0, 1:, 33] = series[0, :-1, 4]
    series[1, :, 34] = series[1, :, 0] + 1e-6 * rng.standard_normal(40)
    return series


@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("names", NAMES, ids=len)
def test_degenerate_in_all_ways(addresses, mixture, names, per_trial):
    found, expected = both_engines(mixture, names, per_trial=per_trial)
    assert_same(found, expected, 1e-12)
    assert found.rescued == 1
    assert sum(found.outcomes.values()) == 2
    assert addresses  # every access was checked


# Nodes and trials on both sides of a tile, of two tiles and of a group of trials.
@pytest.mark.parametrize(
    ("nodes", "trials", "time"),
    [(2, 1, 12), (3, 17, 18), (16, 8, 33), (37, 9, 20), (65, 1, 21)],
)
@pytest.mark.parametrize("per_trial", [False, True])
def test_odd_sizes(addresses, rng, nodes, trials, time, per_trial):
    series = rng.standard_normal((trials, time, nodes))
    found, expected = both_engines(series, ("rtr", "sts"), per_trial=per_trial)
    assert_same(found, expected, 1e-12)
    assert addresses


PARTS = Rectangle(slice(17, 35), slice(0, 17))
"""More than one tile of 16 each way; rows after columns."""


@pytest.mark.parametrize("per_trial", [False, True])
@pytest.mark.parametrize("rectangle", [None, PARTS], ids=["all pairs", "rectangle"])
def test_bands_and_chunks_and_lists_in_parts_are_the_same(
    mixture, rectangle, per_trial, monkeypatch
):
    options = {"per_trial": per_trial, "rectangle": rectangle}
    whole = both_engines(mixture, ATOMS, **options)[0]
    bands = []
    launched = reduced._band

    def counted(*arguments):
        bands.append(arguments)
        return launched(*arguments)

    monkeypatch.setattr(reduced, "_band", counted)
    limits = Limits(workspace=1, capacity=1, rescued=1)
    parts = both_engines(mixture, ATOMS, limits=limits, **options)[0]
    # One row of tiles of 16, one trial, at a time.
    assert len(bands) == (2 if rectangle else 3) * (3 if per_trial else 1)
    assert_same(parts, whole, 1e-14)


@pytest.mark.parametrize(
    "rectangle",
    [
        PARTS,
        Rectangle(slice(0, 1), slice(2, 35)),
        Rectangle(slice(33, 35), slice(0, 9)),
        Rectangle(slice(4, 21), slice(33, 34)),
    ],
    ids=str,
)
@pytest.mark.parametrize("per_trial", [False, True])
def test_pairs_of_a_rectangle(addresses, mixture, rectangle, per_trial):
    found, expected = both_engines(
        mixture, ("xtr", "rtr", "sts"), per_trial=per_trial, rectangle=rectangle
    )
    assert_same(found, expected, 1e-12)
    assert addresses


@pytest.mark.parametrize("names", NAMES[::2], ids=len)
@pytest.mark.parametrize("per_trial", [False, True])
def test_float32_promotes_what_would_miss_its_tolerance(rng, names, per_trial):
    series = rng.standard_normal((5, 80, 18))
    series[..., 1::5] = series[..., ::5] + 0.02 * series[..., 1::5]
    single = both_engines(series, names, per_trial=per_trial, dtype="float32")[0]
    exact = both_engines(series, names, per_trial=per_trial)[0]
    for name in exact.sums:
        torch.testing.assert_close(single.sums[name], exact.sums[name], rtol=0, atol=1e-5 * 17)
    assert torch.equal(single.pairs, exact.pairs)
    assert single.rescued == exact.rescued


@pytest.mark.parametrize("average", ["trials", "moments", None])
@pytest.mark.parametrize("recording", ["trained", "random"])
def test_recorded_heads(heads, recording, average):
    found, expected = (
        synkern.phiid_nodes(heads[recording], average=average, backend=backend)
        for backend in ("triton", "torch")
    )
    assert found.backend == "triton"
    assert found.rescued == expected.rescued
    # Pairs on either side of the limit of trust differ by rounding over their least variance.
    tolerance = 1e-12 if recording == "trained" else 1e-9
    for atom in expected:
        np.testing.assert_allclose(found[atom], expected[atom], rtol=0, atol=tolerance)
    np.testing.assert_array_equal(found.pairs, expected.pairs)


@pytest.mark.parametrize("rectangle", [None, Rectangle(slice(0, 30_000), slice(30_000, 50_000))])
def test_workspace_is_bounded_by_the_number_of_nodes(monkeypatch, rectangle):
    """50,000 nodes: what a band allocates, without running it."""
    sizes = []
    zeros = torch.Tensor.new_zeros

    def recorded(self, *shape):
        sizes.append(8 * int(np.prod(shape)))
        return zeros(self, 1)

    monkeypatch.setattr(torch.Tensor, "new_zeros", recorded)

    class Kernel:
        def __getitem__(self, grid):
            raise StopIteration

    monkeypatch.setattr(reduced, "mmi_nodes_kernel", Kernel())
    nodes = 50_000
    few = torch.zeros((1, nodes, 2), dtype=torch.float64)
    vectors = unit_vectors(torch, few.mT, 1)._replace(past=few, future=few)
    options = {"per_trial": False, "dtype": "float64", "by_node": True, "rectangle": rectangle}
    request = request_for(("rtr", "sts"), estimator=GaussianMMI(), **options)
    sums = torch.zeros(5, 1, nodes, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(reduced.bands(sums, vectors, request))
    assert len(sizes) == 2
    assert sum(sizes) <= request.limits.workspace < 8 * nodes * nodes / 30

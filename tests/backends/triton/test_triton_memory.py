"""How much memory a call holds at once, by the bytes that torch allocates; kernels do nothing."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synkern.kernels.contract import Limits
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.formulas.estimators import ESTIMATORS
from synkern.kernels.formulas.unit_vectors import UnitVectors
from synkern.kernels.formulas.unit_vectors import unit_vectors as standardise
from synkern.kernels.triton_backend import backend, ccs, launch, node_means, unit_vectors


class Allocated(TorchDispatchMode):
    """Bytes of the memories that operations return, from when they do until they are gone."""

    def __init__(self):
        super().__init__()
        self.sizes, self.now, self.peak = {}, 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.see(tensor.untyped_storage())
        return out

    def see(self, memory):
        place = memory._cdata
        if place not in self.sizes:
            self.sizes[place] = memory.nbytes()
            self.now += memory.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(memory, self.forget, place)

    def forget(self, place):
        self.now -= self.sizes.pop(place)


class Nothing:
    """A kernel that does nothing."""

    def __getitem__(self, grid):
        return lambda **_: None


@pytest.fixture
def idle(monkeypatch):
    monkeypatch.setattr(unit_vectors, "unit_vectors_kernel", Nothing())
    monkeypatch.setattr(node_means, "mmi_nodes_kernel", Nothing())
    monkeypatch.setattr(ccs, "ccs_kernel", Nothing())
    monkeypatch.setattr(launch, "OWN_NUMBERS", 1 << 14)
    # What the kernels do not write would else be taken for constant nodes and flags.
    monkeypatch.setattr(unit_vectors.torch, "empty", torch.zeros)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_node_means_hold_two_series_beside_the_given_one(idle, dtype):
    series = torch.zeros(20, 100, 400, dtype=dtype)
    whole = series.numel() * 8
    limits = Limits(workspace=1 << 16, capacity=16)
    estimator = ESTIMATORS["gaussian", "MMI"]
    request = request_for(
        ("rtr", "sts"),
        per_trial=False,
        dtype="float64",
        estimator=estimator,
        by_node=True,
        limits=limits,
    )
    with Allocated() as allocated:
        backend.run(series, request)
    # The one copy in float64, too, where the given one is not.
    assert 2 * 0.99 <= allocated.peak / whole <= 2.2 + (dtype != torch.float64)


def test_ccs_reads_what_was_written_once(idle):
    series = torch.zeros(20, 100, 200, dtype=torch.float64)
    marks = torch.zeros(4, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    with Allocated() as allocated:
        vectors = unit_vectors.unit_vectors(series, 1, None)
        ccs.fill(*vectors, *marks, names=("rtr", "sts"), per_trial=False, dtype="float64")
    outputs = 2 * 200 * 200 * 8 * 20
    assert allocated.peak - outputs <= 2.1 * series.nbytes


def test_views_of_one_memory_are_not_copied(rng):
    series = torch.from_numpy(rng.standard_normal((3, 21, 5)))
    found = unit_vectors.unit_vectors(series, 2, None)
    both = launch.interleaved(found.past, found.future)
    assert both.data_ptr() == found.past.data_ptr()
    expected = standardise(torch, series, 2)
    for vectors in (
        expected,
        UnitVectors(found.future, found.past, found.constant),  # exchanged: not as they lie
        UnitVectors(*(v[:, 1:4] for v in found)),
        UnitVectors(*(v[1:] for v in found)),
        UnitVectors(found.past, found.past, found.constant),
    ):
        both = launch.interleaved(vectors.past, vectors.future)
        assert torch.equal(both, torch.stack((vectors.past.mT, vectors.future.mT), -1))
        own = launch.own_correlations(vectors.past, vectors.future)
        assert torch.equal(own, (vectors.past * vectors.future).sum(-1))


def test_own_correlations_in_parts_are_the_same_bits(rng, monkeypatch):
    past, future = (torch.from_numpy(rng.standard_normal((7, 5, 33))) for _ in range(2))
    whole = launch.own_correlations(past, future)
    monkeypatch.setattr(launch, "OWN_NUMBERS", 2 * 5 * 33)
    assert torch.equal(launch.own_correlations(past, future), whole)

"""What a backend's record refuses is refused, with the remedy; all else it computes."""

import itertools

import numpy as np
import pytest

import synkern
from support.backends import REGISTRY
from support.optional import torch
from synkern.kernels import ESTIMATORS, Wanted

pytestmark = [
    pytest.mark.brief,
    pytest.mark.filterwarnings("ignore:.*below 30:UserWarning"),
]


@pytest.mark.parametrize("by_node", [False, True], ids=["matrices", "by node"])
@pytest.mark.parametrize(("kind", "redundancy"), ESTIMATORS)
def test_a_series(rng, backend, kind, redundancy, by_node):
    record = next(b for b in REGISTRY if b.name == backend)
    options = {"kind": kind, "redundancy": redundancy, "backend": backend}
    series = rng.standard_normal((2, 12, 3))
    decompose = synkern.phiid_nodes if by_node else synkern.phiid
    if lack := record.lacks(Wanted((kind, redundancy), by_node=by_node)):
        with pytest.raises(ValueError, match=f"'{backend}' does not {lack}; choose backend='auto'"):
            decompose(series, **options)
    else:
        found, wanted = (decompose(series, **options | {"backend": b}) for b in (backend, "numpy"))
        assert found.backend == backend
        np.testing.assert_allclose(found["sts"], wanted["sts"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("by_node", [False, True], ids=["matrices", "by node"])
def test_moments(rng, backend, by_node):
    record = next(b for b in REGISTRY if b.name == backend)
    series = rng.standard_normal((2, 12, 3))
    given = torch.from_numpy(series) if record.arrays == "torch" else series
    moments = synkern.LaggedMoments().update(given)
    decompose = synkern.phiid_nodes if by_node else synkern.phiid
    if lack := record.lacks(Wanted(moments=True, by_node=by_node)):
        with pytest.raises(ValueError, match=f"'{backend}' does not {lack}; choose backend='auto'"):
            decompose(moments, backend=backend)
    else:
        found = decompose(moments, backend=backend)
        wanted = decompose(series, backend="numpy")
        np.testing.assert_allclose(found["sts"], wanted["sts"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("record", REGISTRY, ids=lambda record: record.name)
def test_what_none_may_refuse(record):
    """All pairs of every estimator, from a series; of Gaussian MMI, from moments too."""
    for key, moments in itertools.product(ESTIMATORS, (False, True)):
        if not moments or key == ("gaussian", "MMI"):
            assert record.lacks(Wanted(key, moments=moments)) is None

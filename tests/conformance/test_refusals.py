"""What a backend's record refuses is refused, with the remedy; all else it computes."""

import itertools

import numpy as np
import pytest
import torch

import synkern
from support.backends import REGISTRY
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
    if by_node:
        options["reduce"] = "nodes"
    if lack := record.lacks(Wanted((kind, redundancy), by_node=by_node)):
        with pytest.raises(ValueError, match=f"'{backend}' does not {lack}; choose backend='auto'"):
            synkern.phiid(series, **options)
    else:
        found, wanted = (
            synkern.phiid(series, **options | {"backend": b}) for b in (backend, "numpy")
        )
        assert found.backend == backend
        np.testing.assert_allclose(found["sts"], wanted["sts"], rtol=0, atol=1e-11)


@pytest.mark.parametrize("by_node", [False, True], ids=["matrices", "by node"])
def test_moments(rng, backend, by_node):
    record = next(b for b in REGISTRY if b.name == backend)
    series = rng.standard_normal((2, 12, 3))
    given = torch.from_numpy(series) if record.arrays == "torch" else series
    moments = synkern.LaggedMoments().update(given)
    options = {"reduce": "nodes"} if by_node else {}
    if lack := record.lacks(Wanted(moments=True, by_node=by_node)):
        with pytest.raises(ValueError, match=f"'{backend}' does not {lack}; choose backend='auto'"):
            synkern.phiid(moments, backend=backend, **options)
    else:
        found = synkern.phiid(moments, backend=backend, **options)
        wanted = synkern.phiid(series, backend="numpy", **options)
        np.testing.assert_allclose(found["sts"], wanted["sts"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("record", REGISTRY, ids=lambda record: record.name)
def test_what_none_may_refuse(record):
    """All pairs of every estimator, from a series; of Gaussian MMI, from moments too."""
    for key, moments in itertools.product(ESTIMATORS, (False, True)):
        if not moments or key == ("gaussian", "MMI"):
            assert record.lacks(Wanted(key, moments=moments)) is None

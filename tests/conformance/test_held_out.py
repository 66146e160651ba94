"""phyid's own numbers on series that nothing was tuned on: see `bench.tables.held_out`."""

import numpy as np
import pytest

import synkern
from support.backends import POINTWISE
from support.golden import HELD_OUT
from support.optional import torch
from synkern import ATOMS, calc_PhiID
from synkern.decomposition.reference import local_pair, phiid_pair

# One of them holds counts.
pytestmark = pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning")

held_out = pytest.mark.parametrize("case", HELD_OUT, ids=str)


def options(case):
    return {"tau": case.tau, "kind": case.kind, "redundancy": case.redundancy}


@held_out
def test_one_pair(case):
    """The reference and the drop-in."""
    averages = phiid_pair(*case.series.T, *options(case).values())
    np.testing.assert_allclose(list(averages.values()), case.average, rtol=0, atol=1e-8)
    for compute in (local_pair, lambda *of: calc_PhiID(*of)[0]):
        pointwise = compute(*case.series.T, *options(case).values())
        found = np.stack([pointwise[name] for name in ATOMS])
        np.testing.assert_allclose(found, case.local, rtol=0, atol=1e-8)


@held_out
@pytest.mark.parametrize("backend", POINTWISE, indirect=True)
def test_every_sample(case, backend):
    given = torch.from_numpy(case.series) if backend == "torch" else case.series
    found = synkern.phiid_local(given, [[0, 1]], backend=backend, **options(case))[0]
    np.testing.assert_allclose(np.asarray(found), case.local, rtol=0, atol=1e-8)


@held_out
def test_all_pairs(case, backend):
    mean = dict(zip(ATOMS, case.average, strict=True))
    every = synkern.phiid(case.series, atoms="all", backend=backend, **options(case))
    assert {name: float(every[name][0, 1]) for name in ATOMS} == pytest.approx(mean, abs=1e-8)
    few = synkern.phiid(case.series, backend=backend, **options(case))
    assert float(few["rtr"][0, 1]) == pytest.approx(mean["rtr"], abs=1e-8)
    assert float(few["sts"][0, 1]) == pytest.approx(mean["sts"], abs=1e-8)

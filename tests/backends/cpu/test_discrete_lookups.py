"""Compiled discrete MMI, whose entropies are looked up by one count or by two at once."""

import numpy as np
import pytest

import synkern
from synkern.kernels.contract import Rectangle
from synkern.kernels.cpu_backend.compiled import KERNELS, matrices
from synkern.kernels.engine.all_pairs import request_for
from synkern.kernels.formulas.estimators import ESTIMATORS
from synkern.kernels.lattice import ATOMS

pytestmark = [
    pytest.mark.filterwarnings("ignore:series has .* time points:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
]

MMI = ESTIMATORS["discrete", "MMI"]


@pytest.mark.parametrize("samples", [5, 64, 65, 99, 254, 255, 256, 257, 1200])
@pytest.mark.parametrize("nodes", [2, 21, 139])
def test_any_number_of_samples(rng, samples, nodes):
    """The table of two counts ends at 255 samples, and few pairs do without."""
    series = rng.standard_normal((2, samples + 1, nodes)) + rng.standard_normal((2, samples + 1, 1))
    series[0, :, nodes // 2] = 1.0
    found, expected = (
        synkern.phiid(series, kind="discrete", atoms="all", average=None, backend=backend)
        for backend in ("cpu", "numpy")
    )
    for name in ATOMS:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("samples", [64, 255])
def test_both_tables_give_the_same_bits(rng, samples):
    """All pairs of many nodes look up two counts, two nodes on their own one at a time."""
    series = rng.standard_normal((1, samples + 1, 200))
    request = request_for(ATOMS, estimator=MMI, per_trial=False, dtype="float64")
    many, _ = matrices(KERNELS[MMI.key].features(series, request), request)
    some = request_for(
        ATOMS,
        estimator=MMI,
        per_trial=False,
        dtype="float64",
        rectangle=Rectangle(slice(0, 3), slice(3, 20)),
    )
    few, _ = matrices(KERNELS[MMI.key].features(series[..., :20], some), some)
    for name in ATOMS:
        np.testing.assert_array_equal(few[name], many[name][:3, 3:20])

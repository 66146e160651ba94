"""Suites of the other backends on the kernels of `cupy`: golden, held out, conditioning and others.

The kernels run on the CPU and on arrays of NumPy; of two nodes too, which the backend would else
leave to whole-array operations.
"""

from dataclasses import replace

import numpy as np
import pytest
from conformance import (
    test_conditioning,
    test_degenerate,
    test_duplicates,
    test_held_out,
    test_phiid,
)

import synkern
from support import cuda_shim
from synkern.decomposition import backends
from synkern.kernels.cupy_backend import backend as cupy_backend
from synkern.kernels.cupy_backend.launch import Device
from synkern.kernels.cupy_backend.library import DeviceLibrary

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*degenerate:UserWarning"),
    pytest.mark.filterwarnings("ignore:.* nodes take more than two levels:UserWarning"),
]

SUITES = (test_conditioning, test_degenerate, test_duplicates, test_held_out, test_phiid)
LEFT_OUT = {
    "test_singular_in_several_directions",  # a thousand tiles of one pair; below it is one trial
    "test_every_pair_of_every_trial_equals_the_reference",  # in tiles of NumPy and torch
}
globals().update(
    {
        name: test
        for suite in SUITES
        for name, test in vars(suite).items()
        if name.startswith("test_") and "backend" in test.__code__.co_varnames
        if name not in LEFT_OUT
    }
)
series = test_degenerate.series


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return cuda_shim.build(tmp_path_factory.mktemp("kernels") / "kernels.so")


@pytest.fixture
def backend(library, monkeypatch):
    """`cupy`, with NumPy for CuPy; fails where no kernel is started."""
    launcher = cuda_shim.Launcher(library)
    launcher.multiprocessors = 4
    started = []
    launch = launcher.launch
    monkeypatch.setattr(launcher, "launch", lambda *of: started.append(of[0]) or launch(*of))
    device = Device(DeviceLibrary(np), launcher)

    def run(given, request):
        with np.errstate(all="ignore"):
            return cupy_backend.compute(device, given, request)

    monkeypatch.setattr(cupy_backend, "FEWEST_NODES", 2)
    there = backends.Status(("cpu",))
    changed = (
        replace(record, arrays="numpy", run=run, status=lambda: there)
        if record.name == "cupy"
        else record
        for record in backends.BACKENDS
    )
    monkeypatch.setattr(backends, "BACKENDS", tuple(changed))
    yield "cupy"
    assert started


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("eps", [1e-10, 1e-9, 3e-9, 1e-8, 1e-6, 1e-4, 1e-2])
@pytest.mark.parametrize("sine", [True, False])
def test_singular_in_several_directions_in_one_trial(rng, backend, sine, eps, dtype):
    """As in test_conditioning: products of two vanishing variances must not slip through."""
    time, nodes = np.linspace(-1, 1, 100)[:, None], 40
    curve = np.sin(np.pi * time + rng.uniform(0, 6, (1, nodes))) if sine else time
    series = curve + eps * rng.standard_normal((100, nodes))
    for names in (("rtr", "sts"), "all"):
        options = {"atoms": names, "backend": backend, "dtype": dtype}
        result = synkern.phiid(series, **options)
        swapped = synkern.phiid(series[:, ::-1].copy(), **options)
        bound = (1e-6 if dtype == "float64" else 1e-5) + 1e-15 / eps
        off = ~np.eye(nodes, dtype=bool)
        for atom in ("rtr", "sts"):
            one, other = result[atom][off], swapped[atom][::-1, ::-1].T[off]
            known = np.isfinite(one)
            assert known.sum() + 2 * result.degenerate["deterministic"] == off.sum()
            both = known & np.isfinite(other)
            np.testing.assert_allclose(one[both], other[both], rtol=1e-6, atol=bound)

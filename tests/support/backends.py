"""How each backend of the registry is run by the tests, whatever machine they run on.

A backend that the registry has and this file does not name runs as it is. One that needs a GPU has
a stand-in here: its own kernels, run by the CPU. What can be run in neither way is named in
`ELSEWHERE`, and skipped with that reason; what should run and does not fails.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import cuda_shim
from synkern.decomposition import backends as registry

ELSEWHERE: dict[str, str] = {}
"""By name of a backend, why the tests cannot run it on a machine of CI, and where it is run."""


@functools.cache
def cuda_kernels() -> Path:
    """All CUDA kernels in one library for the CPU, built once in a process."""
    folder = tempfile.TemporaryDirectory()
    _kept.append(folder)
    return cuda_shim.build(Path(folder.name) / "kernels.so")


_kept: list[Any] = []


@contextmanager
def _cupy() -> Iterator[None]:
    """The CUDA kernels on a CPU, with NumPy for CuPy: it takes arrays of NumPy, and gives them.

    Pairs of two nodes alone, which the backend leaves to whole arrays, go to the kernels too. All
    pairs and means by node without a kernel started are an error.
    """
    from synkern.kernels.cupy_backend import backend  # noqa: PLC0415
    from synkern.kernels.cupy_backend.launch import Device  # noqa: PLC0415
    from synkern.kernels.cupy_backend.library import DeviceLibrary  # noqa: PLC0415
    from synkern.kernels.engine.all_pairs import request_for  # noqa: PLC0415

    started: list[str] = []

    class Launcher(cuda_shim.Launcher):
        multiprocessors = 4

        def launch(self, name: str, *rest: Any) -> None:
            started.append(name)
            super().launch(name, *rest)

    device = Device(DeviceLibrary(np), Launcher(cuda_kernels()))

    def run(given, *, names, per_trial, dtype, estimator, tau, pooled, pairs=None, reduce=None):
        request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
        before = len(started)
        with np.errstate(all="ignore"):
            found = backend.compute(device, given, tau, pooled, names, request, pairs, reduce)
        assert pairs is not None or len(started) > before, "no kernel was started"
        return found

    there = registry.Status(("cpu",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "FEWEST_NODES", 2)
        changed = (
            replace(b, arrays="numpy", run=run, status=lambda: there) if b.name == "cupy" else b
            for b in registry.BACKENDS
        )
        patch.setattr(registry, "BACKENDS", tuple(changed))
        yield


STAND_INS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "triton": nullcontext,  # TRITON_INTERPRET=1, see conftest.py
    "cupy": _cupy,
}
"""Of backends for GPUs, run thread by thread: a tile takes milliseconds, a tile of CCS longer."""

BACKENDS = tuple(backend.name for backend in registry.BACKENDS)
"""All of them."""

DIFFERENTIABLE = tuple(backend.name for backend in registry.BACKENDS if backend.differentiable)

POINTWISE = tuple(backend.name for backend in registry.BACKENDS if backend.pointwise)
"""Those with atoms at every sample, of their own or of another."""

INTERPRETED = ("triton",)
"""Those of which `make test` runs what is marked `brief`, and `make proofs` the rest."""

AT_FULL_SPEED = tuple(name for name in BACKENDS if name not in {*STAND_INS, *ELSEWHERE})
"""Those that run as they are."""


@contextmanager
def running(name: str) -> Iterator[str]:
    """In this context `phiid(..., backend=name)` runs the backend's own code on arrays of NumPy."""
    if name in ELSEWHERE:
        pytest.skip(f"backend {name}: {ELSEWHERE[name]}")
    with STAND_INS.get(name, nullcontext)():
        status = next(b.status() for b in registry.BACKENDS if b.name == name)
        assert "cpu" in status.devices, f"backend {name} cannot run here: {status.why}"
        yield name

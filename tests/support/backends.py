"""How each backend of the registry is run by the tests, whatever machine they run on.

A backend that the registry has and this file does not name runs as it is. One that needs a GPU has
a stand-in here: its own kernels, run by the CPU. What can be run in neither way is named in
`ELSEWHERE`, and skipped with that reason; what should run and does not fails.
"""

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support import cuda_shim
from synkern.decomposition import backends as chooser
from synkern.kernels import BACKENDS as REGISTRY
from synkern.kernels import Status

ELSEWHERE: dict[str, str] = {}
"""Reasons, by backend, why the tests cannot run it on a machine of CI, and what does instead."""

_FOLDERS: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def cuda_kernels() -> Path:
    """All CUDA kernels in one library for the CPU, built once in a process."""
    _FOLDERS.append(tempfile.TemporaryDirectory())
    return cuda_shim.build(Path(_FOLDERS[-1].name) / "kernels.so")


class _Launcher(cuda_shim.Launcher):
    multiprocessors = 4
    capability = (9, 0)
    launches = 0

    def launch(self, *arguments: Any) -> None:
        self.launches += 1
        super().launch(*arguments)


@contextmanager
def _cupy() -> Iterator[None]:
    """The CUDA kernels on a CPU, with NumPy for CuPy: it takes arrays of NumPy, and gives them.

    Pairs of two nodes, which the backend leaves to whole arrays, go to the kernels too. All pairs
    and node means for which no kernel is launched are an error.
    """
    from synkern.kernels.cupy_backend import backend  # noqa: PLC0415
    from synkern.kernels.cupy_backend.launch import Device  # noqa: PLC0415
    from synkern.kernels.engine.libraries import CuPyLibrary  # noqa: PLC0415

    launcher = _Launcher(cuda_kernels())
    device = Device(CuPyLibrary(np), launcher, fewest_nodes=2)

    def run(source: Any, request: Any) -> Any:
        before = launcher.launches
        with np.errstate(all="ignore"):
            found = backend.compute(device, source, request)
        assert request.pairs is not None or launcher.launches > before, "no kernel was launched"
        return found

    here = {"arrays": "numpy", "run": run, "status": lambda: Status(("cpu",))}
    changed = tuple(replace(b, **here) if b.name == "cupy" else b for b in REGISTRY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chooser, "BACKENDS", changed)
        yield


STAND_INS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "triton": nullcontext,  # TRITON_INTERPRET=1, see conftest.py
    "cupy": _cupy,
}
"""Stand-ins of backends for GPUs."""

INTERPRETED = ("triton",)
"""Backends that take milliseconds for an operation on a tile: `make test` runs what is marked
`brief`, and `make proofs` the rest."""

BACKENDS = tuple(backend.name for backend in REGISTRY)

AT_FULL_SPEED = tuple(
    backend.name
    for backend in REGISTRY
    if backend.name not in {*STAND_INS, *ELSEWHERE}
    if backend.arrays != "torch" or importlib.util.find_spec("torch")
)
"""Backends that run as they are; only `make test-numpy` has no torch, see conftest.py."""

DIFFERENTIABLE = tuple(backend.name for backend in REGISTRY if backend.differentiable)

POINTWISE = tuple(backend.name for backend in REGISTRY if backend.pointwise)
"""Backends with atoms at every sample."""

MEMBERS = tuple(backend.name for backend in REGISTRY if backend.members)
"""Backends that take nodes of several columns."""


@contextmanager
def running(name: str) -> Iterator[str]:
    """Let `phiid(..., backend=name)` run the backend's own code on arrays of NumPy."""
    if name in ELSEWHERE:
        pytest.skip(f"backend {name}: {ELSEWHERE[name]}")
    with STAND_INS.get(name, nullcontext)():
        status = next(b.status() for b in chooser.BACKENDS if b.name == name)
        assert "cpu" in status.devices, f"backend {name} cannot run here: {status.why}"
        yield name

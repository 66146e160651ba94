"""Backend `cupy` without a GPU: its kernels run on the CPU, its arrays are those of a stand-in."""

import sys
import types

import pytest
import torch

from support import cuda_shim, cupy_stand_in
from support.cupy_cases import STREAM
from synkern import _arrays
from synkern.decomposition import backends
from synkern.kernels import Status
from synkern.kernels.cupy_backend import backend
from synkern.kernels.cupy_backend.source import ONE_SERIES, UNIT_VECTORS


class Shim:
    """`Launcher` of the kernels compiled for the CPU."""

    multiprocessors = 4
    capability = (9, 0)

    def __init__(self, library):
        self.library = library
        self.order = "random"
        self.names = []

    @property
    def of_pairs(self):
        """Names of the kernels that were launched, but for those that standardise series."""
        features = (*UNIT_VECTORS.values(), *ONE_SERIES.values())
        return [name for name in self.names if name not in features]

    def launch(self, name, grid, block, arguments):
        self.names.append(name)
        launched = cuda_shim.Launcher(self.library, self.order, len(self.names))
        launched.launch(name, grid, block, [cupy_stand_in.unwrap(a) for a in arguments])


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return cuda_shim.build(tmp_path_factory.mktemp("kernels") / "kernels.so")


@pytest.fixture
def shim(library, monkeypatch):
    shim = Shim(library)
    monkeypatch.setattr(backend, "device_launcher", lambda device: shim)
    return shim


@pytest.fixture
def cupy(shim, monkeypatch):
    """The module, as if there were a GPU."""
    made = cupy_stand_in.module()
    monkeypatch.setitem(sys.modules, "cupy", made)
    monkeypatch.setattr("synkern.kernels.cupy_backend.probe.status", lambda: Status(("cuda",)))
    return made


@pytest.fixture
def launcher(library):
    return cuda_shim.Launcher(library)


@pytest.fixture
def gpu_tensors(monkeypatch):
    """Tensors of torch pass for ones on a GPU, of whose streams `STREAM` is the current one."""

    def on_gpu(array):
        kind, device = _arrays.native(array)
        return kind, "cuda" if isinstance(array, torch.Tensor) else device

    monkeypatch.setattr(backends, "native", on_gpu)
    monkeypatch.setattr(_arrays, "_in_host_memory", lambda array: False)
    current = types.SimpleNamespace(cuda_stream=STREAM)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current)
    del cupy_stand_in.used_streams[:]

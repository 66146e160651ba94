"""What `synkern backends` says of `cupy`, in every state that a machine can be in."""

import contextlib
import ctypes
import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import synkern
from synkern.cli import main
from synkern.kernels import BACKENDS, ESTIMATORS, PERSISTENCE, Wanted
from synkern.kernels.cupy_backend import probe

ROOT = Path(__file__).parents[3]


class Driver:
    """Of `count` devices, or one that fails."""

    def __init__(self, count=0, fails=0):
        self.count, self.fails = count, fails

    def cuInit(self, _):  # noqa: N802
        return self.fails

    def cuDeviceGetCount(self, count):  # noqa: N802
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self.count
        return 0


class DynamicLibNotFoundError(RuntimeError):
    pass


@pytest.fixture
def machine(monkeypatch):
    """A machine with these installed: a version of cupy, a driver, NVRTC."""

    def install(cupy="14.2.0", distribution="cupy-cuda13x", driver=None, nvrtc=True):
        find, version = importlib.util.find_spec, importlib.metadata.version
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, *rest: cupy if name == "cupy" else find(name, *rest),
        )

        def version_of(name):
            if name == distribution:
                return cupy
            if name.startswith("cupy"):
                raise importlib.metadata.PackageNotFoundError
            return version(name)

        monkeypatch.setattr(importlib.metadata, "version", version_of)

        def load(name):
            if driver is None:
                raise OSError(f"{name}: cannot open shared object file")
            return driver

        monkeypatch.setattr(ctypes, "CDLL", load)

        def load_library(name):
            assert name == "nvrtc"
            if not nvrtc:
                raise DynamicLibNotFoundError

        pathfinder = types.SimpleNamespace(
            load_nvidia_dynamic_lib=load_library, DynamicLibNotFoundError=DynamicLibNotFoundError
        )
        monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
        monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)
        probe._compiler_obstacle.cache_clear()

    yield install
    probe._compiler_obstacle.cache_clear()


def said(capsys):
    """The row of `cupy` in the table, and the notes about it."""
    assert main(["backends"]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("cupy "))
    return row, "".join(line for line in lines if line.startswith("cupy: "))


@pytest.mark.parametrize(
    ("state", "why", "remedy"),
    [
        ({"cupy": None}, "cupy is not installed", "pip install 'synkern[cupy-cuda13]'"),
        ({"cupy": "13.6.0"}, "cupy 13.6.0 is too old", "at least 14.0: pip install"),
        ({}, "no NVIDIA driver: ", "install the NVIDIA driver"),
        (
            {"driver": Driver(fails=100)},
            "an NVIDIA driver, but no device that it may use",
            "CUDA_VISIBLE_DEVICES may hide them",
        ),
        (
            {"driver": Driver(count=0)},
            "an NVIDIA driver, but no device that it may use",
            "CUDA_VISIBLE_DEVICES may hide them",
        ),
        (
            {"driver": Driver(fails=803)},
            "the NVIDIA driver does not start: CUDA error 803",
            "nvidia-smi tells more",
        ),
        (
            {"driver": Driver(count=1), "nvrtc": False},
            "NVRTC, the compiler of CUDA kernels, is not installed",
            "pip install 'cupy-cuda13x[ctk]'",
        ),
    ],
    ids=["none", "old", "no driver", "no device", "hidden", "mismatch", "no NVRTC"],
)
def test_what_is_missing_is_named_with_what_helps(machine, capsys, rng, state, why, remedy):
    machine(**state)
    row, notes = said(capsys)
    assert "not here" in row
    assert notes.startswith(f"cupy: {why}")
    assert f"what would help: {remedy}" in notes or remedy in notes
    with pytest.raises(ValueError, match="'cupy' cannot compute a series on device 'cpu'") as error:
        synkern.phiid(rng.standard_normal((50, 3)), backend="cupy")
    assert why in str(error.value)
    assert "cupy" not in sys.modules


@pytest.mark.parametrize("distribution", ["cupy-cuda12x", "cupy", "cupy-of-somebody"])
def test_nothing_is_missing(machine, capsys, distribution):
    machine(driver=Driver(count=2), distribution=distribution)
    row, notes = said(capsys)
    assert row.split()[:2] == ["cupy", "cuda"]
    assert not notes


def test_host_memory_is_refused_where_cupy_runs(machine, rng):
    machine(driver=Driver(count=1))
    with pytest.raises(ValueError, match="on device 'cpu' here .cupy: runs on cuda only"):
        synkern.phiid(rng.standard_normal((50, 3)), backend="cupy")


def test_no_toolkit_of_its_own(machine, capsys):
    """Other builds of CuPy come without the finder of libraries."""
    machine(driver=Driver(count=1))
    sys.modules["cuda.pathfinder"] = None
    assert said(capsys)[1] == ""


def test_what_no_kernel_computes_is_refused():
    (record,) = (backend for backend in BACKENDS if backend.name == "cupy")
    for key in (*ESTIMATORS, PERSISTENCE.key):
        for by_node in (False, True):
            assert record.lacks(Wanted(key, by_node=by_node)) is None
    assert record.lacks(Wanted(("gaussian", "MMI"), moments=True)) is None
    assert record.lacks(Wanted(PERSISTENCE.key, moments=True)) is None
    lack = record.lacks(Wanted(("discrete", "CCS"), moments=True))
    assert lack == "compute discrete CCS of moments"


def test_the_probe_imports_neither_cupy_nor_the_kernels():
    code = (
        "import sys, synkern\n"
        "from synkern.cli import main\n"
        "main(['backends'])\n"
        "print({'cupy', 'triton', 'synkern.kernels.cupy_backend.backend'} & set(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with contextlib.chdir(ROOT):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
    assert done.stdout.splitlines()[-1] == "set()"

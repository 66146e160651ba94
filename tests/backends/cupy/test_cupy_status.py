"""What `synkern backends` says of `cupy`, in every state that a machine can be in."""

import contextlib
import ctypes
import dataclasses
import importlib
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

import synkern
from synkern.cli import main
from synkern.decomposition import backends
from synkern.kernels import BACKENDS, ESTIMATORS, PERSISTENCE, Status, Wanted
from synkern.kernels.cupy_backend import probe
from synkern.kernels.engine import driver

ROOT = Path(__file__).parents[3]


class Driver:
    """Of GPUs with these compute capabilities, or one that fails."""

    def __init__(self, *capabilities, fails=0):
        self.capabilities, self.fails = capabilities, fails
        self.asked = 0

    def cuInit(self, _):  # noqa: N802
        self.asked += 1
        return self.fails

    def cuDeviceGetCount(self, count):  # noqa: N802
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = len(self.capabilities)
        return 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        ctypes.cast(device, ctypes.POINTER(ctypes.c_int))[0] = 1000 + number  # No number itself.
        return 0

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        found = self.capabilities[device.value - 1000][{75: 0, 76: 1}[attribute]]
        ctypes.cast(value, ctypes.POINTER(ctypes.c_int))[0] = found
        return 0


HOPPER, TURING, VOLTA = (9, 0), (7, 5), (7, 0)
CACHED = (probe._check_package, probe._check_compiler, driver.capabilities)


class DynamicLibNotFoundError(RuntimeError):
    pass


def forget():
    for check in CACHED:
        check.cache_clear()


@pytest.fixture
def machine(monkeypatch):
    """A machine with these installed: a version of cupy, a driver, NVRTC."""

    def install(cupy="14.2.0", distribution="cupy-cuda13x", driver=None, nvrtc=True):
        forget()
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

    yield install
    forget()


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
        ({"cupy": "14.0.1"}, "cupy 14.0.1 is too old", "at least 14.1: pip install"),
        ({}, "no NVIDIA driver: ", "install the NVIDIA driver"),
        (
            {"driver": Driver(fails=100)},
            "an NVIDIA driver, but no device that it may use",
            "CUDA_VISIBLE_DEVICES may hide them",
        ),
        (
            {"driver": Driver()},
            "an NVIDIA driver, but no device that it may use",
            "CUDA_VISIBLE_DEVICES may hide them",
        ),
        (
            {"driver": Driver(fails=803)},
            "the NVIDIA driver does not start: CUDA error 803",
            "nvidia-smi tells more",
        ),
        (
            {"driver": Driver(HOPPER), "nvrtc": False},
            "NVRTC, the compiler of CUDA kernels, is not installed",
            "pip install 'cupy-cuda13x[ctk]'",
        ),
        (
            {"driver": Driver(TURING, VOLTA)},
            "its kernels need compute capability 8.0, but GPU 0 has 7.5 and GPU 1 has 7.0",
            "a GPU of compute capability 8.0 or later (Ampere); backend='torch' computes on any",
        ),
    ],
    ids=["none", "old", "no driver", "no device", "hidden", "mismatch", "no NVRTC", "old GPUs"],
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
    machine(driver=Driver(HOPPER, (8, 0)), distribution=distribution)
    row, notes = said(capsys)
    assert row.split()[:2] == ["cupy", "cuda"]
    assert not notes


def test_host_memory_is_refused_where_cupy_runs(machine, rng):
    machine(driver=Driver(HOPPER))
    with pytest.raises(ValueError, match="on device 'cpu' here .cupy: runs on cuda only"):
        synkern.phiid(rng.standard_normal((50, 3)), backend="cupy")


def test_an_old_gpu_beside_a_new_one_is_refused_by_its_number(machine, capsys, monkeypatch):
    """Each array is on one of them; "auto" takes it to torch where our kernels do not run."""
    machine(driver=Driver(HOPPER, TURING, (12, 0)))
    row, notes = said(capsys)
    assert row.split()[:2] == ["cupy", "cuda"]
    assert notes.startswith("cupy: its kernels need compute capability 8.0, but GPU 1 has 7.5;")
    monkeypatch.setattr(backends, "native", lambda _: ("torch", "cuda"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("TRITON_INTERPRET")
    wanted = Wanted(("gaussian", "CCS"), by_node=True)
    for number, chosen in ((0, "cupy"), (1, "torch"), (2, "cupy")):
        monkeypatch.setattr(backends, "gpu_number", lambda _, number=number: number)
        assert backends.select("auto", None, wanted).name == chosen
        assert backends.select("auto", None, Wanted()).name == {0: "triton", 1: "torch"}[number % 2]
    monkeypatch.setattr(backends, "gpu_number", lambda _: 1)
    for name in ("cupy", "triton"):
        with pytest.raises(ValueError, match=f"{name}: its kernels .* GPU 1 has 7.5; .*'torch'"):
            backends.select(name, None, Wanted())


def test_what_is_there_is_looked_for_once_and_what_is_not_each_time(machine, monkeypatch):
    """A choice of "auto" must not read the metadata of packages; and what is missing may come."""
    driver = Driver(HOPPER)
    machine(driver=driver)
    assert probe.status().available
    asked = driver.asked
    with monkeypatch.context() as patch:
        for module, name in ((importlib.util, "find_spec"), (importlib.metadata, "version")):
            patch.setattr(module, name, lambda *_: pytest.fail("looked for again"))
        for _ in range(3):
            assert probe.status().devices == ("cuda",)
    assert driver.asked == asked == 1

    machine(driver=driver, nvrtc=False)
    assert "NVRTC" in probe.status().why
    monkeypatch.setattr(
        sys.modules["cuda.pathfinder"], "load_nvidia_dynamic_lib", lambda name: None
    )
    assert probe.status().available

    lost = Driver(fails=803)
    machine(driver=lost)
    assert not probe.status().available
    lost.fails, lost.capabilities = 0, (HOPPER,)
    assert probe.status().available


def test_a_choice_for_a_gpu_asks_no_backend_of_host_memory(monkeypatch):
    """Their status may look for compilers and caches."""
    asked = []

    def watched(backend):
        def status():
            asked.append(backend.name)
            return Status(())

        return dataclasses.replace(backend, status=status)

    monkeypatch.setattr(backends, "BACKENDS", tuple(map(watched, BACKENDS)))
    monkeypatch.setattr(backends, "native", lambda _: ("torch", "cuda"))
    with pytest.raises(ValueError, match="cannot compute a series on device 'cuda'"):
        backends.select("auto", None, Wanted())
    assert asked[:3] == ["triton", "cupy", "torch"]  # then all, for the message


def test_no_toolkit_of_its_own(machine, capsys):
    """Other builds of CuPy come without the finder of libraries."""
    machine(driver=Driver(HOPPER))
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

"""Whether CuPy can compute here, found out in milliseconds and without importing it.

`import cupy` takes a third of a second, and is silent where there is no driver.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import sys

OLDEST = (14, 0)
"""The oldest version of CuPy that has `cupy.cuda.Stream.from_external`."""

_DISTRIBUTIONS = ("cupy-cuda13x", "cupy-cuda12x", "cupy")  # The last is built from source.
_INSTALL = (
    "pip install 'synkern[cupy-cuda13]' (or [cupy-cuda12]); nvidia-smi shows which CUDA the driver "
    "has"
)
_NO_DEVICE = 100  # CUDA_ERROR_NO_DEVICE


def obstacle() -> tuple[str, str] | None:
    """What keeps CuPy from computing, and what would help; None if nothing does."""
    if importlib.util.find_spec("cupy") is None:
        return "cupy is not installed", _INSTALL
    version = _version()
    if version is not None and tuple(map(int, version.split(".")[:2])) < OLDEST:
        return f"cupy {version} is too old", f"at least {OLDEST[0]}.{OLDEST[1]}: {_INSTALL}"
    return _driver_obstacle() or _compiler_obstacle()


def _version() -> str | None:
    for name in _DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None  # Others package it under names of their own.


def _driver_obstacle() -> tuple[str, str] | None:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return f"no NVIDIA driver: {name} is not to be found", "install the NVIDIA driver"
    failed = int(driver.cuInit(0))
    count = ctypes.c_int(0)
    if not failed:
        failed = int(driver.cuDeviceGetCount(ctypes.byref(count)))
    if failed == _NO_DEVICE or (not failed and count.value == 0):
        return (
            "an NVIDIA driver, but no device that it may use",
            "nvidia-smi lists devices; CUDA_VISIBLE_DEVICES may hide them",
        )
    if failed:
        return f"the NVIDIA driver does not start: CUDA error {failed}", "nvidia-smi tells more"
    return None


@functools.cache
def _compiler_obstacle() -> tuple[str, str] | None:
    """Loads what CuPy would load at its first kernel."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError:
        return None  # It comes with CuPy's wheels; other builds have a toolkit of their own.
    try:
        pathfinder.load_nvidia_dynamic_lib("nvrtc")
    except pathfinder.DynamicLibNotFoundError:
        return (
            "NVRTC, the compiler of CUDA kernels, is not installed",
            "pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]'), or a CUDA toolkit",
        )
    return None

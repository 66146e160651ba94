"""Whether CuPy can compute here, found out in milliseconds and without importing it.

`import cupy` takes a third of a second, and is silent where there is no driver.

A choice of "auto" for an array on a GPU asks, so what cannot change while a process lives is found
out once: that CuPy is installed and recent enough, that there is a driver with these devices, that
there is a compiler. What is missing is looked for again each time, as it may be installed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import importlib.util

from ..backend import Status
from ..engine.driver import Obstacle, gpus

OLDEST = (14, 1)
"""The oldest version of CuPy that keeps compiled kernels for later processes: 14.0 looks for the
file and compiles again, as our kernels are templates, named by expressions."""

_DISTRIBUTIONS = ("cupy-cuda13x", "cupy-cuda12x", "cupy")  # The last is built from source.
_INSTALL = (
    "pip install 'synkern[cupy-cuda13]' (or [cupy-cuda12]); nvidia-smi shows which CUDA the driver "
    "has"
)


def status() -> Status:
    """Whether CuPy, a GPU that the kernels compile for, and a compiler for it are there."""
    try:
        _check_package()
        found = gpus()
        _check_compiler()
    except Obstacle as obstacle:
        return Status((), *obstacle.args)
    return found


@functools.cache
def _check_package() -> None:
    if importlib.util.find_spec("cupy") is None:
        raise Obstacle("cupy is not installed", _INSTALL)
    version = _version()
    if version is not None and tuple(map(int, version.split(".")[:2])) < OLDEST:
        raise Obstacle(
            f"cupy {version} is too old", f"at least {OLDEST[0]}.{OLDEST[1]}: {_INSTALL}"
        )


def _version() -> str | None:
    for name in _DISTRIBUTIONS:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None  # Others package it under names of their own.


@functools.cache
def _check_compiler() -> None:
    """Loads what CuPy would load at its first kernel."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")
    except ImportError:
        return  # It comes with CuPy's wheels; other builds have a toolkit of their own.
    try:
        pathfinder.load_nvidia_dynamic_lib("nvrtc")
    except pathfinder.DynamicLibNotFoundError:
        raise Obstacle(
            "NVRTC, the compiler of CUDA kernels, is not installed",
            "pip install 'cupy-cuda13x[ctk]' (or 'cupy-cuda12x[ctk]'), or a CUDA toolkit",
        ) from None

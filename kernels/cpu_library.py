"""The compiled functions of `native/host.cpp`, as Python sees them."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .cpu_build import BuildError, library

_INT = ctypes.c_int64
_POINTER = ctypes.c_void_p


class Task(ctypes.Structure):
    """What is decomposed; mirrors `Task` in host.cpp."""

    _fields_ = (
        ("trials", _INT),
        ("nodes", _INT),
        ("samples", _INT),
        ("estimator", _INT),
        ("values", _POINTER),
        ("past", _POINTER),
        ("future", _POINTER),
        ("lagged", _POINTER),
        ("own", _POINTER),
        ("constant", _POINTER),
        ("table", _POINTER),
        ("limit", ctypes.c_double),
        ("alone", _INT),
        ("names", _INT),
        ("quantities", _INT),
        ("weights", _POINTER),
        ("mirror", _POINTER),
        ("per_trial", _INT),
        ("threads", _INT),
    )


_SIGNATURES: dict[str, tuple[Any, Sequence[Any]]] = {
    "error": (ctypes.c_char_p, ()),
    "standardise": (ctypes.c_int, (_POINTER, *[_INT] * 4, *[_POINTER] * 3, _INT)),
    "pack": (ctypes.c_int, (*[_POINTER] * 2, *[_INT] * 3, *[_POINTER] * 2, _INT)),
    "all_pairs_f64": (_POINTER, (_POINTER, _POINTER)),
    "all_pairs_f32": (_POINTER, (_POINTER, _POINTER)),
    "node_sums": (_POINTER, (_POINTER, *[_INT] * 4, *[_POINTER] * 4)),
    "marks": (_INT, (_POINTER, _POINTER)),
    "aside": (_INT, (_POINTER, _POINTER, _POINTER)),
    "free": (None, (_POINTER,)),
}


@functools.cache
def load() -> Any:
    """The library, built and loaded first.

    Raises:
        BuildError: it cannot be built or loaded.
    """
    path = library()
    try:
        functions = ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(
            f"{path} was built but cannot be loaded: {error}; remove it to have it built again"
        ) from error
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(functions, f"synkern_{name}")
        function.restype, function.argtypes = result, arguments
    return functions


def call(name: str, *arguments: Any) -> Any:
    """Call a function that returns nonzero, or null, where it fails.

    Raises:
        MemoryError: out of memory; nothing else fails there.
    """
    functions = load()
    result = getattr(functions, f"synkern_{name}")(*arguments)
    failed = not result if _SIGNATURES[name][0] is _POINTER else result
    if failed:
        raise MemoryError(f"the compiled kernel failed: {functions.synkern_error().decode()}")
    return result


def pointer(array: npt.NDArray[Any]) -> int:
    """Address of the first element of a contiguous array."""
    assert array.flags.c_contiguous
    return array.ctypes.data


class Found(NamedTuple):
    """What the kernel leaves to Python.

    Attributes:
        marks: (marks, 3) int64 trial, row, column of what the closed form cannot take.
        aside: (pairs, 3) int64 number of trials in which both nodes vary, row, column: pairs with
            marks, where nodes are summed and trials averaged.
        partial: (pairs, names) float64 sums of their atoms over the trials without a mark.
    """

    marks: npt.NDArray[np.int64]
    aside: npt.NDArray[np.int64]
    partial: npt.NDArray[np.float64]


def find(name: str, task: Task, *arguments: Any) -> Found:
    """Call a function that works on a task.

    Raises:
        MemoryError: out of memory; nothing else fails there.
    """
    functions = load()
    found = call(name, ctypes.byref(task), *arguments)
    try:
        marks = np.empty((functions.synkern_marks(found, None), 3), np.int64)
        functions.synkern_marks(found, pointer(marks))
        aside = np.empty((functions.synkern_aside(found, None, None), 3), np.int64)
        partial = np.empty((len(aside), task.names))
        functions.synkern_aside(found, pointer(aside), pointer(partial))
    finally:
        functions.synkern_free(found)
    return Found(marks, aside, partial)


def threads() -> int:
    """As many as this process may have cores."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

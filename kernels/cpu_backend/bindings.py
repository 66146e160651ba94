"""The compiled functions of `kernels/native/host/host.cpp`, as Python sees them."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from ..contract import Rectangle
from . import build
from .cache import ELSEWHERE, BuildError
from .threads import threads

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
        ("series", _POINTER),
        ("taps", _POINTER),
        ("ends", _POINTER),
        ("past", _POINTER),
        ("future", _POINTER),
        ("lagged", _POINTER),
        ("own", _POINTER),
        ("magnified", _POINTER),
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
        ("blocks", _INT),
        ("tau", _INT),
        ("finished", _INT),
        ("block", _INT),
        ("refused", _INT),
    )


class Area(ctypes.Structure):
    """Rows and columns of the matrix of all pairs; mirrors `Area` in native/host/engine.h."""

    _fields_ = (
        ("row", _INT),
        ("row_end", _INT),
        ("column", _INT),
        ("column_end", _INT),
        ("triangle", _INT),
    )

    @classmethod
    def of(cls, rectangle: Rectangle | None, nodes: int) -> Area:
        """A rectangle, or all pairs of that many nodes."""
        if rectangle is None:
            return cls(0, nodes, 0, nodes, True)
        rows, columns = rectangle
        return cls(rows.start, rows.stop, columns.start, columns.stop, False)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.row_end - self.row, self.column_end - self.column


_SIGNATURES: dict[str, tuple[Any, Sequence[Any]]] = {
    "error": (ctypes.c_char_p, ()),
    "heed": (None, [_POINTER] * 5),
    "standardise": (ctypes.c_int, (_POINTER, *[_INT] * 4, *[_POINTER] * 4, _INT)),
    "pair_up": (ctypes.c_int, (_POINTER, *[_INT] * 4, *[_POINTER] * 6, _INT)),
    "pack": (ctypes.c_int, (*[_POINTER] * 2, *[_INT] * 3, *[_POINTER] * 2, _INT)),
    "matrices_f64": (_POINTER, [_POINTER] * 3),
    "matrices_f32": (_POINTER, [_POINTER] * 3),
    "node_sums": (_POINTER, (*[_POINTER] * 2, *[_INT] * 2, _POINTER)),
    "pointwise": (ctypes.c_int, (_POINTER,)),
    "pair": (ctypes.c_int, (_POINTER,)),
    "marks": (_INT, (_POINTER, _POINTER)),
    "aside": (_INT, (_POINTER, _POINTER, _POINTER)),
    "free": (None, (_POINTER,)),
}


_LOADING = threading.Lock()
"""Held by the thread that has the library built; the others wait for it."""

if hasattr(os, "register_at_fork"):
    # A child has no thread that would ever release it.
    os.register_at_fork(after_in_child=lambda: globals().update(_LOADING=threading.Lock()))


@functools.cache
def load() -> Any:
    """The library, built and loaded first.

    Raises:
        BuildError: it cannot be built or loaded.
    """
    with _LOADING:
        return _load(build.library())


def obstacle() -> BuildError | None:
    """What keeps the library from being had, as far as known without building it."""
    if load.cache_info().currsize:
        return None
    if (found := build.obstacle()) is not None:
        return found
    try:
        if (path := build.cached()) is not None:
            _load(path)
    except BuildError as error:
        return error
    return None


def _load(path: Path) -> Any:
    try:
        functions: Any = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(functions, f"synkern_{name}")
            function.restype, function.argtypes = result, arguments
        functions.synkern_raise_held = ctypes.PYFUNCTYPE(None)(("synkern_raise", functions))
        # One that is over at once keeps Python's lock: to get it back from another thread may take
        # a thousand times as long.
        functions.synkern_pair_held = ctypes.PYFUNCTYPE(ctypes.c_int, _POINTER)(
            ("synkern_pair", functions)
        )
    except (OSError, AttributeError) as error:
        raise BuildError(
            f"the compiled library cannot be loaded: {error}", _remedy(path)
        ) from error
    functions.synkern_heed(*(ctypes.cast(function, _POINTER) for function in _PYTHON))
    return functions


_PYTHON = (
    ctypes.pythonapi.PyGILState_Ensure,
    ctypes.pythonapi.PyGILState_Release,
    ctypes.pythonapi.PyErr_CheckSignals,
    ctypes.pythonapi.PyErr_Fetch,
    ctypes.pythonapi.PyErr_Restore,
)
"""What host.cpp's `Python` holds."""


def _remedy(path: Path) -> str:
    """Say what helps with a library that is whole, and cannot be loaded."""
    try:
        if os.statvfs(path).f_flag & os.ST_NOEXEC:
            return f"programs cannot be run from {path.parent} (noexec): {ELSEWHERE}, elsewhere"
    except (AttributeError, OSError):  # not Linux; or it is gone
        pass
    return f"choose a compiler for this machine with CXX, and remove {path} to have it built again"


def call(name: str, *arguments: Any) -> Any:
    """Call a function that returns nonzero, or null, where it fails.

    A signal is handled while it runs, in the main thread. What its handler raises, as that of
    Ctrl-C does, ends the call within a fraction of a second, when all its threads have ended.

    Raises:
        MemoryError: out of memory; nothing else fails there.
    """
    functions = load()
    result = getattr(functions, f"synkern_{name}")(*arguments)
    failed = not result if _SIGNATURES[name][0] is _POINTER else result
    if failed:
        fail(functions)
    return result


def fail(functions: Any) -> NoReturn:
    """Raise what a handler of a signal raised in the last call of this thread, or MemoryError."""
    functions.synkern_raise_held()
    raise MemoryError(f"the compiled kernel failed: {functions.synkern_error().decode()}")


def pointer(array: npt.NDArray[Any]) -> int:
    """Address of the first element of a contiguous array."""
    assert array.flags.c_contiguous
    return array.ctypes.data


class Found(NamedTuple):
    """What the kernel leaves to Python.

    Attributes:
        marks: (marks, 3) int64 trial, row, column of what the closed form cannot take.
        aside: (pairs, 3) int64 number of trials in which both nodes vary, row, column: pairs with
            marks, where trials are averaged. Each pair once.
        partial: (pairs, names) float64 sums of their atoms over the trials without a mark.
    """

    marks: npt.NDArray[np.int64]
    aside: npt.NDArray[np.int64]
    partial: npt.NDArray[np.float64]


def find(name: str, task: Task, area: Area, *arguments: Any) -> Found:
    """Call a function that works on an area of a task.

    Raises:
        MemoryError: out of memory; nothing else fails there.
    """
    functions = load()
    found = call(name, ctypes.byref(task), ctypes.byref(area), *arguments)
    try:
        marks = np.empty((functions.synkern_marks(found, None), 3), np.int64)
        functions.synkern_marks(found, pointer(marks))
        aside = np.empty((functions.synkern_aside(found, None, None), 3), np.int64)
        partial = np.empty((len(aside), task.names))
        functions.synkern_aside(found, pointer(aside), pointer(partial))
    finally:
        functions.synkern_free(found)
    return Found(marks, aside, partial)


WORTH_A_THREAD = 100_000
"""Nanoseconds of work from which a further thread gains more than it costs to start."""


def threads_for(work: float) -> int:
    """How many threads to take for an estimate of work, in nanoseconds by one thread."""
    wanted = 1 + int(work / WORTH_A_THREAD)
    return min(wanted, threads()) if wanted > 1 else 1

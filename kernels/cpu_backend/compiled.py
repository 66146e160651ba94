"""What the compiled library computes: a table of estimators, and a call for each kind of result.

Threads take tiles of pairs, vectors of the machine's width their columns. Moments are formed in the
cache, a few rows at a time, and never stored. Arithmetic is in float64, whatever the dtype of the
output: single precision could be trusted with few of the pairs of persistent nodes (see
`contract.smallest_trusted`), and the others would be computed twice.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import lattice
from ..backend import Wanted
from ..contract import Estimator, Key, Request, smallest_trusted
from ..formulas.moments import Moments
from ..lattice import TWO
from . import bindings as native
from .layouts import (
    PAIR,
    PAIRED,
    PANEL,
    Packed,
    Paired,
    Words,
    correlated,
    strip_height,
    unit_vectors,
    words,
)

_LINE = 64
"""Bytes of a line of the cache."""

_HUGE = 1 << 21
"""Bytes of a huge page, on most machines with Linux. See `_on_lines`."""

_ADVISED = 1 << 22
"""Bytes of an array from which NumPy asks Linux for huge pages."""


@dataclass(frozen=True)
class Kernel:
    """How an estimator is compiled.

    Attributes:
        number: of the estimators in native/host/host.cpp.
        features: layout of a (trials, time, nodes) array, or of `Moments`, for a request.
        fixed: nanoseconds that a pair takes in a trial, about, but for its samples.
        per_sample: nanoseconds that each of these adds.
        gathered_cost: time of a pair that is gathered alone over that of one in a tile, as
            `Estimator.gathered_cost`; tiles gain most from compilation.
        moments: suffice, without a series.
        two: rtr and sts alone have a path of their own.
        reference: to persistence.
    """

    number: int
    features: Callable[[Any, Request], Packed | Paired | Words | Moments]
    fixed: float
    per_sample: float
    gathered_cost: float
    moments: bool = False
    two: bool = False
    reference: bool = False

    def gathered_factor(self, estimator: Estimator) -> float:
        """Factor by which `gathered_cost` is larger than in whole-array operations."""
        return self.gathered_cost / estimator.gathered_cost


_MMI = Kernel(0, correlated, PAIR, 0.1, 110, moments=True, two=True)

KERNELS: dict[Key, Kernel] = {
    ("gaussian", "MMI"): _MMI,
    # Not from pairs of samples: no data resolve what rounding that is magnified leaves open there.
    ("persistence", "MMI"): replace(_MMI, reference=True, features=unit_vectors),
    ("gaussian", "CCS"): Kernel(1, unit_vectors, 50, 3, 28),
    ("discrete", "MMI"): Kernel(2, words, 50, 0.3, 40),
    ("discrete", "CCS"): Kernel(3, words, 50, 0.3, 40),
}
"""Kernels by the key of their estimator."""


def refuses(wanted: Wanted) -> str | None:
    """What there is no kernel for, to follow "does not"; None if there is one."""
    kernel = KERNELS.get(wanted.estimator)
    if kernel is not None and (kernel.moments or not wanted.moments):
        return None
    source = "moments" if wanted.moments else "a series"
    return f"compute {' '.join(wanted.estimator)} of {source}"


def matrices(
    features: Any, request: Request, threads: int | None = None
) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]:
    """Sums over trials of all pairs, or of a rectangle, by the closed form.

    Args:
        features: from `Kernel.features`.
        request: what is computed.
        threads: to take; None: as many as the work is worth and a call may have.

    Returns:
        By atom name (rows, columns), or (trials, rows, columns), as in `Totals`; and (marks, 3)
        int64 trial, row, column of what the closed form cannot be trusted with.

    Raises:
        MagnifiedError: pairs of samples do not suit the series.
    """
    sums, found = _matrices(features, request, request.names, threads)
    return sums, found.marks


def means(
    features: Any, request: Request, threads: int | None = None
) -> tuple[dict[str, npt.NDArray[Any]], native.Found]:
    """Atoms of all pairs, or of a rectangle, as in `Pairs`, but for what the stable path finds.

    Args:
        features: from `Kernel.features`.
        request: what is computed.
        threads: to take; None: as many as the work is worth and a call may have.

    Returns:
        The atoms asked for, NaN for pairs with marks; and what is left to the stable path.

    Raises:
        MagnifiedError: pairs of samples do not suit the series.
    """
    return _matrices(features, request, request.wanted, threads, finished=True)


def _matrices(
    features: Any,
    request: Request,
    written: Sequence[str],
    threads: int | None,
    *,
    finished: bool = False,
) -> tuple[dict[str, npt.NDArray[Any]], native.Found]:
    trials, nodes = features.constant.shape
    area = native.Area.of(request.rectangle, nodes)
    shape = (trials, *area.shape) if request.per_trial else area.shape
    matrices = {name: _on_lines(shape, request.dtype) for name in written}
    addresses = (
        native.pointer(matrices[name]) if name in matrices else None for name in request.names
    )
    out = (ctypes.c_void_p * len(request.names))(*addresses)
    function = {"float64": "matrices_f64", "float32": "matrices_f32"}[request.dtype]
    with _task(features, request, threads, finished=finished) as task:
        return matrices, _find(function, task, area, out)


class MagnifiedError(Exception):
    """Rounding is magnified in too many nodes of pairs of samples; unit vectors are to be taken."""


def _find(function: str, task: native.Task, area: native.Area, *arguments: Any) -> native.Found:
    found = native.find(function, task, area, *arguments)
    if task.refused:
        raise MagnifiedError
    return found


def _on_lines(shape: tuple[int, ...], dtype: str) -> npt.NDArray[Any]:
    """Memory that begins a line of the cache, or a huge page: the kernel writes whole lines of it.

    A large matrix has huge pages where it covers whole ones, if NumPy asks for them. Begun
    anywhere, one of 10 MB covers four, and its two ends are some 500 small pages, each of which
    costs a fault of the system. Of one trial with 16 atoms these took a fifth of the time at 1,152
    nodes, a quarter to a third at 725 to 1,024, and two fifths or more at 513 to 724, where NumPy
    would not ask. What lies around a matrix is hardly ever written, and then takes no memory.
    """
    size, itemsize = math.prod(shape), np.dtype(dtype).itemsize
    large = size * itemsize >= _HUGE
    step = (_HUGE if large else _LINE) // itemsize
    memory = np.empty(max(size + step - 1, _ADVISED // itemsize if large else 0), dtype)
    begin = -(memory.ctypes.data // itemsize) % step
    return memory[begin : begin + size].reshape(shape)


def node_sums(
    features: Any,
    request: Request,
    sums: npt.NDArray[np.float64],
    threads: int | None = None,
) -> Iterator[native.Found]:
    """Add the pairs of all nodes, or of a rectangle, to sums by node, some rows at a time.

    Args:
        features: from `Kernel.features`.
        request: what is computed; its limits bound what is marked at a time.
        sums: (names + 3, trials or 1, nodes), see `engine.marks.quantities`; changed in place.
        threads: to take; None: as many as the work is worth and a call may have.

    Yields:
        What each strip of rows leaves to the stable path, and is not in the sums.

    Raises:
        MagnifiedError: pairs of samples do not suit the series; nothing was added.
    """
    whole = native.Area.of(request.rectangle, features.constant.shape[1])
    places = [request.names.index(n) if n in request.names else -1 for n in ("rtr", "sts")]
    height = strip_height(request, whole.shape[1])
    with _task(features, request, threads) as task:
        for strip in _strips(whole, height):
            yield _find("node_sums", task, strip, *places, native.pointer(sums))


def _strips(area: native.Area, height: int) -> Iterator[native.Area]:
    """Some rows at a time; all but the first begin a tile of the whole area."""
    start = area.row
    while start < area.row_end:
        end = min(start // PANEL * PANEL + height, area.row_end)
        column = start if area.triangle else area.column
        yield native.Area(start, end, column, area.column_end, area.triangle)
        start = end


@contextmanager
def _task(
    features: Any, request: Request, threads: int | None, *, finished: bool = False
) -> Iterator[native.Task]:
    """The kernel's view of a request; the arrays it points to live as long as the block."""
    kernel = KERNELS[request.estimator.key]
    trials, nodes = features.constant.shape
    tolerance = request.estimator.tolerance(features)["float64"]
    two = kernel.two and set(request.names) <= set(TWO)
    weights = lattice.weights(request.names, two)
    if threads is None:
        rows, columns = native.Area.of(request.rectangle, nodes).shape
        pairs = rows * columns / (2 if request.rectangle is None else 1)
        each = kernel.fixed + kernel.per_sample * features.samples
        threads = native.threads_for(trials * pairs * each)
    arrays = _arrays(features) | {"weights": weights, "mirror": lattice.mirrors(request.names)}
    yield native.Task(
        trials=trials,
        nodes=nodes,
        samples=features.samples,
        estimator=kernel.number,
        limit=smallest_trusted(features.samples, "float64", tolerance),
        alone=kernel.reference,
        names=len(request.names),
        quantities=weights.shape[1],
        per_trial=request.per_trial,
        threads=threads,
        blocks=features.taps.shape[3] if isinstance(features, Paired) else 0,
        tau=features.tau if isinstance(features, Paired) else 0,
        finished=finished,
        block=len(features.taps) if isinstance(features, Paired) else 0,
        **{name: native.pointer(array) for name, array in arrays.items()},
    )


def _arrays(features: Packed | Paired | Words | Moments) -> dict[str, npt.NDArray[Any]]:
    """What a task points to, by the name of its field."""
    if isinstance(features, Moments):
        past, future, lagged = (np.ascontiguousarray(m, np.float64) for m in features[:3])
        own = np.ascontiguousarray(np.diagonal(lagged, 0, -2, -1))
        arrays = {"past": past, "future": future, "lagged": lagged, "own": own}
    elif isinstance(features, Paired):
        arrays = {name: getattr(features, name) for name in PAIRED}
        if features.in_blocks:
            arrays["series"] = np.ascontiguousarray(features.series, np.float64)
    else:
        arrays = {name: getattr(features, name) for name in features._fields}
    return arrays | {"constant": np.ascontiguousarray(features.constant)}

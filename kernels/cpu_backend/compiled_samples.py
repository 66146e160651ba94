"""Atoms at every sample by the compiled kernel: of one pair, and of chosen pairs of many trials.

What the kernel leaves, pairs near singular and samples whose mean hangs on its rounding, is
computed by the formulas of the other backends.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Key, Outcome
from ..engine.at_samples import in_parts, of_pairs
from ..formulas.pointwise import Variables, gaussian, symbols, unit_vectors
from ..lattice import ATOMS
from . import bindings as native
from . import build
from .cache import BuildError

_LEFT = -1
"""Outcome of a pair that the kernel leaves to the formulas; as in native/host/pointwise.h."""

_ROWS = 47
"""Entropies, informations, redundancies and atoms."""

_PAIR, _SAMPLE, _POINT = 1_000, 3, {"gaussian": 20, "discrete": 10}
"""Nanoseconds that a pair takes, and that each sample and each point adds; about."""

_SHORT = 1 << 12
"""Samples up to which a pair takes less time than another thread would keep Python's lock."""


class Strided(ctypes.Structure):
    """Values by group, side, node and sample; mirrors `Strided` in native/host/pointwise.h."""

    _fields_ = (("first", ctypes.c_void_p), ("steps", ctypes.c_int64 * 4))

    @classmethod
    def of(cls, array: npt.NDArray[np.float64]) -> Strided:
        """The view of an array."""
        return cls(array.ctypes.data, (ctypes.c_int64 * 4)(*array.strides))


class Points(ctypes.Structure):
    """What is computed; mirrors `Points` in native/host/pointwise.h."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("groups", "nodes", "samples", "points", "pairs")),
        *((name, ctypes.c_int64) for name in ("discrete", "ccs", "all")),
        ("fitted", Strided),
        ("evaluated", Strided),
        *((name, ctypes.c_void_p) for name in ("states", "states_at", "pair", "out", "outcome")),
        ("threads", ctypes.c_int64),
        ("undecided", ctypes.c_int64),
    )


class Pair(ctypes.Structure):
    """Two series; mirrors `Pair` in native/host/pointwise.h."""

    _fields_ = (
        ("src", ctypes.c_void_p),
        ("trg", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("src_step", "trg_step", "time", "tau")),
        ("discrete", ctypes.c_int64),
        ("ccs", ctypes.c_int64),
        ("spacing", ctypes.c_double),
        ("out", ctypes.c_void_p),
    )


def is_loaded() -> bool:
    """Whether the library is loaded."""
    return bool(native.load.cache_info().currsize)


def is_there() -> bool:
    """Whether the library is loaded, or was built before and can be loaded; it is not built."""
    try:
        if not is_loaded() and build.cached() is not None:
            native.load()
    except BuildError:
        return False
    return is_loaded()


def of_pair(
    src: npt.NDArray[np.float64],
    trg: npt.NDArray[np.float64],
    tau: int,
    key: Key,
    spacing: float | None,
) -> npt.NDArray[np.float64] | None:
    """All local quantities of a pair of series, if there is nothing to be said of them.

    Args:
        src: (time,), in any steps.
        trg: likewise.
        tau: lag in samples, less than time.
        key: kind and redundancy.
        spacing: relative spacing of the values, by which it is judged whether the series are finite
            and vary, and, if discrete, have many levels or two; None: they were looked at.

    Returns:
        (47, time - tau): entropies, informations, redundancies and atoms in the orders of
        `formulas.pointwise`; None if the series need a closer look, or the formulas.
    """
    time = len(src)
    rows = np.empty((_ROWS, time - tau))
    pair = Pair(
        src.ctypes.data,
        trg.ctypes.data,
        *src.strides,
        *trg.strides,
        time,
        tau,
        key[0] == "discrete",
        key[1] == "CCS",
        -1.0 if spacing is None else spacing,
        rows.ctypes.data,
    )
    functions = native.load()
    function = functions.synkern_pair if time > _SHORT else functions.synkern_pair_held
    said = function(ctypes.byref(pair))
    if said == 1:
        native.fail(functions)
    return rows if said == 0 else None


def at_samples(
    _: Any,
    variables: Variables,
    pairs: npt.NDArray[np.int64],
    key: Key,
    threads: int | None = None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """`engine.at_samples.at_samples`, by the kernel.

    Args:
        variables: of NumPy, in any steps.
        pairs: (pairs, 2) nodes.
        key: kind and redundancy.
        threads: to take; None: as many as the work is worth and a call may have.
    """
    fitted, evaluated = variables
    groups, _, nodes, samples = fitted.shape
    points = evaluated.shape[-1]
    atoms = np.empty((groups * len(pairs), len(ATOMS), points))
    outcome = np.empty(groups * len(pairs), np.int64)
    pairs = np.ascontiguousarray(pairs, np.int64)
    if threads is None:
        each = _PAIR + _SAMPLE * samples + _POINT[key[0]] * points
        threads = native.threads_for(len(atoms) * each)
    task = Points(
        groups=groups,
        nodes=nodes,
        samples=samples,
        points=points,
        pairs=len(pairs),
        discrete=key[0] == "discrete",
        ccs=key[1] == "CCS",
        fitted=Strided.of(fitted),
        evaluated=Strided() if evaluated is fitted else Strided.of(evaluated),
        pair=native.pointer(pairs),
        out=native.pointer(atoms),
        outcome=native.pointer(outcome),
        threads=threads,
    )
    native.call("pointwise", ctypes.byref(task))
    if task.undecided:
        states = [np.ascontiguousarray(part, np.uint8) for part in symbols(np, variables)]
        task.states, task.states_at = map(native.pointer, states)
        native.call("pointwise", ctypes.byref(task))
    if key[0] == "discrete":
        atoms[outcome == Outcome.CONSTANT] = math.nan
    else:
        _by_formulas(variables, pairs, key[1], atoms, outcome)
    return atoms.reshape(groups, len(pairs), len(ATOMS), points), outcome


def _by_formulas(
    variables: Variables,
    pairs: npt.NDArray[np.int64],
    redundancy: str,
    atoms: npt.NDArray[np.float64],
    outcome: npt.NDArray[np.int64],
) -> None:
    """Write atoms and outcomes of the pairs that the kernel left."""
    left = np.flatnonzero(outcome == _LEFT)
    for part in in_parts(len(left), variables.fitted.shape[-1], variables.evaluated.shape[-1]):
        at = left[part]
        group, pair = np.divmod(at, len(pairs))
        chosen = of_pairs(variables, group, *pairs[pair].T)
        found = gaussian(np, *unit_vectors(np, chosen), redundancy)
        atoms[at] = found.atoms
        outcome[at] = 0 if found.outcome is None else found.outcome

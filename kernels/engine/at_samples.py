"""Atoms of chosen pairs at every sample, for any array library: some pairs at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..contract import Array, Key, Outcome
from ..formulas import pointwise
from ..formulas.pointwise import Variables
from ..lattice import ATOMS

_HELD = 1 << 18
"""Numbers held at a time beside input and output, about 2 MB: they stay in the cache."""

_PER_SAMPLE, _PER_POINT = 16, 128  # numbers that a pair takes for each while it is computed


def at_samples(
    xp: Any, variables: Variables, pairs: npt.NDArray[np.int64], key: Key
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Decompose pairs of each group of samples, at every point.

    Args:
        xp: numpy, torch or cupy, the library of the arrays.
        variables: from `formulas.pointwise.variables` or `fitted_to`.
        pairs: (pairs, 2) nodes.
        key: kind and redundancy, of pointwise formulas.

    Returns:
        float64 (groups, pairs, 16, points), in nats or bits; and (groups pairs,) what became of
        each pair, an `Outcome` or 0.
    """
    constant = pointwise.constant_nodes(xp, variables)
    prepare, evaluate = _KINDS[key[0]]
    prepared = prepare(xp, variables)
    groups, points = prepared.fitted.shape[0], prepared.evaluated.shape[-1]
    atoms = _empty(xp, variables.fitted, (groups * len(pairs), len(ATOMS), points))
    outcome = np.zeros(groups * len(pairs), np.int64)
    positions = np.concatenate(
        [np.repeat(np.arange(groups), len(pairs))[:, None], np.tile(pairs, (groups, 1))], -1
    )
    for part in in_parts(len(positions), prepared.fitted.shape[-1], points):
        group, i, j = positions[part].T
        atoms[part], found = evaluate(xp, prepared, group, i, j, key[1])
        if found is not None:
            outcome[part] = _on_host(found)
        lost = constant[group, i] | constant[group, j]
        atoms[part][lost] = math.nan
        outcome[part][_on_host(lost)] = Outcome.CONSTANT
    return atoms.reshape(groups, len(pairs), len(ATOMS), points), outcome


def in_parts(pairs: int, samples: int, points: int) -> Iterator[slice]:
    """Slices of pairs, few enough that what is formed of them stays in the cache."""
    size = max(1, _HELD // (_PER_SAMPLE * samples + _PER_POINT * points))
    for start in range(0, pairs, size):
        yield slice(start, start + size)


def of_pairs(v: Variables, group: Any, i: Any, j: Any) -> Variables:
    """x, y, a, b of pairs, of a group each: (pairs, 4, samples) and (pairs, 4, points)."""
    index = group[:, None], np.array([0, 0, 1, 1]), np.stack([i, j, i, j], -1)
    fitted = v.fitted[index]
    return Variables(fitted, fitted if v.evaluated is v.fitted else v.evaluated[index])


def _gaussian(
    xp: Any, vectors: Variables, group: Any, i: Any, j: Any, redundancy: str
) -> tuple[Array, Array | None]:
    """Atoms (pairs, 16, points) and outcomes of some pairs, of a group each."""
    found = pointwise.gaussian(xp, *of_pairs(vectors, group, i, j), redundancy)
    return found.atoms, found.outcome


def _discrete(
    xp: Any, symbols: Variables, group: Any, i: Any, j: Any, redundancy: str
) -> tuple[Array, Array | None]:
    fitted, evaluated = (part[group, i] + 2 * part[group, j] for part in symbols)
    table = pointwise.discrete(xp, fitted, redundancy).atoms
    found = table[np.arange(len(table))[:, None], :, evaluated]  # [pairs, points, 16]
    return xp.swapaxes(found, 1, 2), None


_KINDS: dict[str, tuple[Callable[..., Variables], Callable[..., Any]]] = {
    "gaussian": (pointwise.unit_vectors, _gaussian),
    "discrete": (pointwise.symbols, _discrete),
}


def _empty(xp: Any, like: Array, shape: tuple[int, ...]) -> Array:
    if hasattr(like, "new_empty"):  # torch's, which has devices
        return like.new_empty(shape, dtype=xp.float64)
    return xp.empty(shape)


def _on_host(array: Array) -> npt.NDArray[Any]:
    if hasattr(array, "get"):  # CuPy's
        return np.asarray(array.get())
    return np.asarray(array.cpu() if hasattr(array, "cpu") else array)

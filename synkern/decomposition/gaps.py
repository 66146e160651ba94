"""The steps of `synkern.decomposition.preprocess` where only some samples are valid.

Trials that have as many valid samples (or changes between valid neighbours) are gathered, worked on
as if there were no gaps, and put back, with NaN between them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import in_float64, incoming, is_tensor, library, like, native
from synkern.decomposition.masks import Valid, only_valid, valid_samples
from synkern.kernels import Array

_ROUNDING = 16
"""Units in the last place of a node's largest value below which variation is none."""

Indices = npt.NDArray[np.int64]


class Gapped(NamedTuple):
    """A series and where it is valid.

    Attributes:
        xp: numpy or torch.
        array: (trials, time, nodes), checked where it is valid.
        valid: (trials, time).
        restore: turns (trials, time, nodes) into the caller's kind and number of axes.
    """

    xp: Any
    array: Array
    valid: Valid
    restore: Callable[[Array], Any]


def taken_in(series: Any, mask: Any, *, at_least: int) -> Gapped | None:
    """A series under a mask; None where every sample is valid.

    Raises:
        ValueError: bad shape, NaN at a valid sample, too few of these in a trial.
        TypeError: not real numbers; a mask that does not hold truth values.
    """
    kind = native(series)[0]
    xp: Any = library(kind)
    array, restore = incoming(only_valid(series, mask), kind, argument="series", offset_free=True)
    valid = valid_samples(mask, array)
    if valid is None:
        return None
    counts = valid.sum(1)
    if counts.min() < at_least:
        raise ValueError(
            f"mask leaves {counts.min()} time points in trial {counts.argmin()}, where at least "
            f"{at_least} are needed: leave this trial out"
        )
    whole = array if array.ndim == 3 else array[None]
    wrong = ~xp.isfinite(whole) & like(valid, whole)[..., None]
    if bool(wrong.any()):
        trial, time, node = (int(index[0]) for index in xp.where(wrong))
        raise ValueError(
            f"series has {int(wrong.sum())} valid values that are NaN or infinite, the first at "
            f"trial {trial}, time {time}, node {node}: {float(whole[trial, time, node])}; "
            f"{check.LEAVE_OUT}"
        )
    return Gapped(xp, whole, valid, restore if array.ndim == 3 else lambda out: restore(out[0]))


def of_values(given: Gapped, step: Callable[[Array], Array]) -> Any:
    """A step of series for which times do not count."""
    return _put_back(given, given.valid, lambda trial, time: step(_at(given, trial, time)))


def detrended(given: Gapped, order: int) -> Any:
    """Residuals of the least-squares line or parabola through the valid samples."""

    def step(trial: Indices, time: Indices) -> Array:
        values = _at(given, trial, time)
        residual = in_float64(values)
        curves = [like(curve, values) for curve in _curves(time)[:order]]
        for _ in range(2):  # Once more for the rounding of the first pass.
            residual = residual - residual.mean(-2)[:, None]
            for curve in curves:
                weight = (curve[:, None] @ residual) / (curve * curve).sum(-1)[:, None, None]
                residual = residual - curve[..., None] * weight
        return given.xp.where(_flat(given.xp, residual, values), 0.0, residual)

    return _put_back(given, given.valid, step)


def changes(given: Gapped) -> Any:
    """Changes between valid neighbours; constant where the node is a line up to rounding.

    Raises:
        ValueError: a trial without such neighbours.
    """
    both = given.valid[:, 1:] & given.valid[:, :-1]
    if not both.any(1).all():
        trial = int((~both.any(1)).argmax())
        raise ValueError(f"mask leaves no two neighbouring samples in trial {trial}")

    def step(trial: Indices, time: Indices) -> Array:
        before, after = (_at(given, trial, time + k) for k in (0, 1))
        change = in_float64(after) - in_float64(before)
        flat = _flat(given.xp, change, before, after)
        return given.xp.where(flat, change.mean(-2)[:, None], change)

    return _put_back(given, both, step)


def _put_back(given: Gapped, places: Valid, step: Callable[[Indices, Indices], Array]) -> Any:
    """Put back what a step makes of (trial, time), (trials, samples) each, at these places."""
    shape = (*places.shape, given.array.shape[2])
    out: Array
    if is_tensor(given.array):
        out = given.array.new_full(shape, math.nan, dtype=given.xp.float64)
    else:
        out = np.full(shape, math.nan)
    counts = places.sum(1)
    for count in np.unique(counts):
        trials = np.flatnonzero(counts == count)
        row, time = (found.reshape(len(trials), -1) for found in np.nonzero(places[trials]))
        trial = trials[row]
        out[like(trial, given.array), like(time, given.array)] = step(trial, time)
    return given.restore(out)


def _at(given: Gapped, trial: Indices, time: Indices) -> Array:
    return given.array[like(trial, given.array), like(time, given.array)]


def _curves(time: Indices) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """A line and a parabola over times (trials, samples), orthogonal and with mean zero."""
    line = time - time.mean(1, keepdims=True)
    line = line / np.abs(line).max(1, keepdims=True)
    parabola = line * line
    for _ in range(2):  # The times need not be symmetric; twice as for the values.
        parabola = parabola - parabola.mean(1, keepdims=True)
        weight = (line * parabola).sum(1) / (line * line).sum(1)
        parabola = parabola - line * weight[:, None]
    return line, parabola


def _flat(xp: Any, varying: Array, *values: Array) -> Array:
    """(trials, 1, nodes): whether something varies by no more than the rounding of some values."""
    dtype = values[0].dtype
    tensors = is_tensor(varying)
    real = dtype.is_floating_point if tensors else dtype.kind == "f"
    spacing = max(float((xp.finfo(dtype) if real else np.finfo(np.float64)).eps), 2.0**-52)
    varying, *given = (v.detach() if tensors else v for v in (varying, *values))
    peak = functools.reduce(xp.maximum, (xp.amax(xp.abs(in_float64(v)), -2) for v in given))
    extent = xp.amax(varying, -2) - xp.amin(varying, -2)
    return (extent <= _ROUNDING * spacing * peak)[:, None]

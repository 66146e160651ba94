"""Constant nodes: those that vary by no more than the rounding of their values.

A constant that has been filtered, regressed or averaged is rarely constant to the last bit, and its
rounding errors have correlations, and atoms, like any series. A stored value that went through k
roundings is off by at most k/2 units in the last place, so that of a constant values differ by at
most k of them:

    high - low <= ROUNDINGS * spacing * max(|low|, |high|).

Measured on constants, as a multiple of spacing * value: 1 after a Fourier transform and back, 4
for a weighted mean of 300, 6 after a line was subtracted and the mean added again. Whole numbers
below 1 / spacing hold no rounding, as counts on a large offset do; and what integers hold is exact.

Where the condition decides, both sides are exact in floating point (the difference of two numbers
so near each other, and a product with a power of two), so that every library decides alike. It is
decided here alone, before any backend: a node that is constant up to rounding becomes one that is
constant, which backends tell by its least and largest value being equal.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..contract import Array
from .detached import detached

ROUNDINGS = 8
"""Units in the last place by which values of a constant may differ."""

FAINT = 2.0**-63, 2.0**-40
"""Variation of a node over that of the others that may be rounding alone, from 1e-19 to 1e-12: the
rounding of a constant that is 1e-3 to 1e4 times as large as their variation, and was subtracted."""


FEW = 32
"""Numbers up to which Python's own take less time than arrays, whose every call takes 1 us."""


def in_float64(values: Array) -> Array:
    """The same in float64, where it is; itself where it is that already."""
    # Not asarray: torch's moves to the default device.
    return values.double() if hasattr(values, "double") else values.astype("float64", copy=False)


def within_rounding(xp: Any, low: Array, high: Array, spacing: float) -> Array:
    """Bool where values from low to high can be those of a constant.

    Args:
        xp: numpy, torch or cupy.
        low: least value, float64.
        high: largest value.
        spacing: relative spacing of the numbers in which the values came (2**-52 for float64), a
            power of two; 0 where they are exact.
    """
    return high - low <= ROUNDINGS * spacing * xp.maximum(xp.abs(low), xp.abs(high))


def unrounded(xp: Any, values: Array, axis: int, spacing: float) -> Array:
    """Bool along the other axes: whole numbers, so small that they hold no rounding."""
    whole = (xp.floor(values) == values) & (xp.abs(values) * spacing < 1)
    return whole.all(axis)


@np.errstate(over="ignore")
def constant(xp: Any, values: Array, spacing: float) -> Array:
    """Bool along the other axes: values (..., samples), float64, that are those of a constant."""
    low, high = xp.amin(values, -1), xp.amax(values, -1)
    found = within_rounding(xp, low, high, spacing)
    if spacing and bool(found.any()):
        found = found & ((low == high) | ~unrounded(xp, values, -1, spacing))
    return found


def plain(xp: Any, series: Array, tau: int, spacing: float) -> bool:
    """Whether a few samples that are past and future show that no node is constant or faint.

    That is so for most series, and spares them the closer look of `settled` and `faint`.
    """
    if not spacing:
        return True
    if isinstance(series, np.ndarray):
        some = _few_samples(series, tau)
        if some is not None and some.size <= FEW:
            return _all_vary(some.tolist(), spacing)
    found = plainly_varies(xp, series, tau, spacing)
    return found is not None and bool(found)


def plainly_varies(xp: Any, series: Array, tau: int, spacing: float) -> Array | None:
    """What `plain` says, where the series is; None where there are too few samples to tell by.

    Of a series that is not finite, or whose values are exact, nothing is said for certain.
    """
    values = detached(series)
    some = _few_samples(values, tau)
    if some is None:
        return None
    # Halves, as the whole may overflow.
    spread = xp.amax(some, 1) * 0.5 - xp.amin(some, 1) * 0.5
    bound = xp.abs(some[:, 0]) * (ROUNDINGS * spacing)
    return (spread > xp.maximum(bound, FAINT[1] * xp.amax(spread))).all()


def _few_samples(series: Array, tau: int) -> Array | None:
    """Some that are past and future, (trials, some, nodes); None where there are none."""
    span = series.shape[1] - 1 - 2 * tau
    return series[:, tau : -tau : span // 3] if span >= 3 else None


def _all_vary(some: Sequence[Sequence[Sequence[float]]], spacing: float) -> bool:
    """What `plain` asks of samples (trials, some, nodes), in numbers of Python."""
    nodes = [node for trial in some for node in zip(*trial, strict=True)]
    spreads = [max(node) * 0.5 - min(node) * 0.5 for node in nodes]
    bounds = [abs(node[0]) * (ROUNDINGS * spacing) for node in nodes]
    least = FAINT[1] * max(spreads)
    return all(map(operator.gt, spreads, (max(bound, least) for bound in bounds)))


@np.errstate(over="ignore")
def settled(xp: Any, series: Array, tau: int, pooled: str | None, spacing: float) -> Array:
    """The series, in which nodes that are constant up to rounding are zero throughout a trial.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes), finite.
        tau: lag in samples.
        pooled: as in `unit_vectors`; a node that is constant in some trials only is left
            as it is where trials are pooled.
        spacing: of the values, see `within_rounding`.

    Returns:
        The series itself where no value has to change.
    """
    if not spacing:  # Nothing is rounded; and truth values cannot be subtracted.
        return series
    values = detached(series)
    maybe = _perhaps(xp, values, tau, spacing)
    if pooled is not None:
        maybe = maybe.all(0)[None]
    if not bool(maybe.any()):
        return series
    trial, node = xp.where(maybe)
    if pooled is None:
        columns = values[trial, :, node][:, None]  # [found, 1, time]
    else:
        columns = xp.moveaxis(values[:, :, node], -1, 0)  # [found, trials, time]
    found = _constant_columns(xp, columns, tau, pooled, spacing)
    if not bool(found.any()):
        return series
    mask = xp.zeros_like(maybe)
    mask[trial[found], node[found]] = True
    return xp.where(mask[:, None], xp.zeros_like(series[:1, :1, :1]), series)


def _perhaps(xp: Any, series: Array, tau: int, spacing: float) -> Array:
    """(trials, nodes) bool: three samples of the past or of the future tell of no variation.

    All samples are a pass over the series, which most nodes need not pay for. The peak is that of
    one sample, hence twice the bound.
    """
    samples = series.shape[1] - tau
    sides = []
    for start in (0, tau):
        first, second, last = (series[:, start + k] for k in (0, samples // 2, samples - 1))
        bound = 2 * ROUNDINGS * spacing * xp.abs(first)
        sides.append((xp.abs(second - first) <= bound) & (xp.abs(last - first) <= bound))
    return sides[0] | sides[1]


def _constant_columns(
    xp: Any, columns: Array, tau: int, pooled: str | None, spacing: float
) -> Array:
    """(found,) bool: which of these, (found, trials, time), are constant but not equal numbers.

    With pooled moments also equal numbers: centring them may leave other ones.
    """
    columns = in_float64(columns)
    sides = []
    for segment in (columns[..., :-tau], columns[..., tau:]):
        shape = (len(segment), 1, -1) if pooled == "concatenate" else segment.shape
        values = segment.reshape(shape)
        still = constant(xp, values, spacing)
        if pooled != "moments":
            still = still & (xp.amin(values, -1) != xp.amax(values, -1))
        sides.append(still.all(-1))
    return sides[0] | sides[1]


@np.errstate(over="ignore")
def faint(xp: Any, series: Array, spacing: float) -> tuple[Array, Array] | None:
    """Nodes that vary so much less than the others that they may hold rounding errors alone.

    What is left of a constant once an offset has been taken from it, by a filter for instance,
    cannot be told from data by its own values. In the unit of the other nodes it stands out; but so
    may data in another unit. The measure is the middle one of the nodes of a trial, so that a few
    nodes in a large unit do not make the many others faint.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes), finite.
        spacing: of the values, see `within_rounding`.

    Returns:
        (found,) nodes and how much they vary over how much the middle node of their trial varies;
        None where there are none.
    """
    series = detached(series)
    time = series.shape[1]
    steps = sorted({k * (time - 1) // 5 for k in range(6)})
    some = in_float64(xp.stack([series[:, step] for step in steps]))
    typical = _middle(xp, xp.amax(some, 0) - xp.amin(some, 0))
    maybe = xp.amax(some, 0) - xp.amin(some, 0) < FAINT[1] * typical[:, None]
    if not bool(maybe.any()):
        return None
    trial, node = xp.where(maybe)
    columns = in_float64(series[trial, :, node])
    low, high = xp.amin(columns, -1), xp.amax(columns, -1)
    ratio = (high - low) / typical[trial]
    found = (ratio > FAINT[0]) & (ratio < FAINT[1]) & ~within_rounding(xp, low, high, spacing)
    return (node[found], ratio[found]) if bool(found.any()) else None


def _middle(xp: Any, spread: Array) -> Array:
    """(trials,) upper median over the nodes that vary, of (trials, nodes); 0 where none does."""
    ordered = xp.sort(spread, -1)
    ordered = ordered[0] if isinstance(ordered, tuple) else ordered
    varying = (spread > 0).sum(-1)
    trial = xp.cumsum(xp.ones_like(varying), 0) - 1
    return ordered[trial, spread.shape[1] - (varying + 1) // 2 - (varying == 0) * 1]

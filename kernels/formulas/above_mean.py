"""Samples above the mean of their row, found by exact arithmetic on the values given.

Levels such as .1 .2 .3, z-scored states and Likert items often have a mean that is itself a level.
Whether such a sample lies above it must not hang on the order in which a library adds up: a sample
is above the mean if n x > sum of the row, exactly, and one that equals the mean is not above it.

A rounded mean decides wherever it can. Sums of n numbers are off by at most n u n max |x|, in any
order (u = 2^-53), so that the mean is known to some n u max |x| and few samples, if any, are as
near to it as that. These are settled digit by digit: to a base of 2^width, values are

    x = sum over k of d_k 2^(top - k width),     |d_k| <= 2^width whole numbers,

d_k are found without rounding, their sums s_k over the row are exact in float64 and so are

    b_k = 2^width b_(k-1) + n d_k - s_k,

whose last has the sign of n x - sum. As the digits to come are worth at most
2 n (2^width / (2^width - 1)) < 3 n units of b_k, it may be kept within 3 n, and nothing exceeds
5 n 2^width <= 2^53. There are as many digits as the values have, at most some 2,100 bits: values
near the limits of float64, and below its normal range, need no case of their own.

The functions are written for any array library with NumPy's names (`xp` is numpy, torch or cupy),
and the samples stay on their device.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..contract import Array
from .parts import on_cpu

PART_ELEMENTS = 1 << 18
"""Samples of undecided rows that a CPU takes at a time unless told otherwise: 2 MB."""


GLANCE = 1 << 12
"""Values up to which calls of NumPy take longer than what they do."""


def above_mean(
    xp: Any, fitted: Array, values: Array | None = None, elements: int = PART_ELEMENTS
) -> Array:
    """Whether values exceed the mean of a row, exactly.

    Args:
        xp: numpy, torch or cupy.
        fitted: (..., n) float64, finite: rows that means are taken of.
        values: (..., m) likewise, compared with the mean of the row in the same place; None: the
            samples fitted.
        elements: samples of undecided rows that a CPU takes at a time; elsewhere 64 times as many.

    Returns:
        (..., m) bool, False where a value equals the mean.
    """
    if values is None:
        values = fitted
    if values is fitted and isinstance(fitted, np.ndarray) and fitted.size <= GLANCE:
        found = _at_a_glance(fitted)
        if found is not None:
            return found
    above, decided = _by_rounded_mean(xp, fitted, values)
    if not bool(decided.all()):
        _settle(xp, fitted, values, above, ~decided, elements)
    return above


def _at_a_glance(fitted: Array) -> Array | None:
    """What `above_mean` says, in few calls; None where a value is too near the mean of its row.

    That is as near as the rounding of the row that reaches furthest.
    """
    n = fitted.shape[-1]
    peak = float(np.abs(fitted).max())
    if not peak < 2.0**1000:
        return None
    from_mean = fitted - (fitted.sum(-1) / n)[..., None]
    # The error of `_by_rounded_mean`, and once more for the difference.
    if not np.abs(from_mean).min() > peak * ((2 * n + 4) * 2.0**-52) + 2.0**-1072:
        return None
    return from_mean > 0


@np.errstate(over="ignore", invalid="ignore")
def _by_rounded_mean(xp: Any, fitted: Array, values: Array) -> tuple[Array, Array]:
    """Which values exceed the mean for certain, and which do or do not for certain."""
    n = fitted.shape[-1]
    mean = fitted.sum(-1) / n
    peak = xp.amax(xp.abs(fitted), -1)
    # Of the sum, its quotient and the limits below less than n + 2 roundings, taken twice; one
    # of a subnormal number; NaN where the sum overflows, beside which nothing is decided.
    error = peak * ((n + 2) * 2.0**-52) + 2.0**-1073 + (mean - mean)
    above = values > (mean + error)[..., None]
    return above, above | (values < (mean - error)[..., None])


def _settle(
    xp: Any, fitted: Array, values: Array, above: Array, undecided: Array, elements: int
) -> None:
    """Decide what is undecided, in place."""
    rows = xp.where(undecided.any(-1))
    n = fitted.shape[-1]
    elements = elements if on_cpu(fitted) else elements << 6
    size = max(1, elements // max(n, values.shape[-1]))
    for start in range(0, len(rows[0]), size):
        part = tuple(index[start : start + size] for index in rows)
        row, place = xp.where(undecided[part])
        settled = above[part]
        settled[row, place] = _exceed(xp, fitted[part], values[part][row, place], row)
        above[part] = settled


def _exceed(xp: Any, fitted: Array, values: Array, row: Array) -> Array:
    """Whether values exceed the mean of the row that each belongs to.

    Args:
        xp: numpy, torch or cupy.
        fitted: (rows, n).
        values: (m,).
        row: (m,) whole numbers.
    """
    n = fitted.shape[-1]
    width = (2**53 // (5 * n)).bit_length() - 1
    peak = max(xp.abs(part).max().item() for part in (fitted, values))
    top = math.frexp(peak)[1]  # all below 2^top
    sums = [digit.sum(-1) for digit in _digits(xp, fitted, top, width)]
    balance: Any = 0.0 * values
    for digit, total in itertools.zip_longest(_digits(xp, values, top, width), sums, fillvalue=0.0):
        balance = xp.clip(balance, -3.0 * n, 3.0 * n) * 2.0**width + n * digit
        if not isinstance(total, float):
            balance = balance - total[row]
    return balance > 0


def _digits(xp: Any, values: Array, top: int, width: int) -> Iterator[Array]:
    """Digits to base 2^width of values below 2^top, the highest first, until all others are 0."""
    power = top
    while bool((values != 0).any()):
        power -= width
        digit = xp.trunc(_times_power(values, -power))
        values = values - _times_power(digit, power)
        yield digit


def _times_power(values: Array, power: int) -> Array:
    """Values times 2^power, which may itself be out of range.

    Not exact only where the result is subnormal: there whole numbers of 2^-1074 are asked for, or
    what becomes of the product is cut to 0.
    """
    for step in (power,) if abs(power) <= 1000 else (power // 2, power - power // 2):
        values = values * 2.0**step
    return values

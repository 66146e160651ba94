"""Numbers as a study writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def digits(*values: float) -> int:
    """Return the decimals that leave three figures of the largest value."""
    largest = max(abs(value) for value in values)
    return min(max(2 - math.floor(math.log10(largest)), 2), 6) if largest else 2


def interval(ends: tuple[float, float], decimals: int = 2, signed: bool = True) -> str:
    """Return an interval of a profile, which has none where it has too few layers."""
    low, high = (number(end, decimals, signed) for end in ends)
    return "too few layers" if math.isnan(ends[0]) else f"[{low}, {high}]"


def number(value: float, decimals: int, signed: bool = False) -> str:
    """Return a number with a minus sign, not a hyphen, and none before a zero."""
    if math.isnan(value):
        return "undefined"
    if not math.isfinite(value):
        return "−∞" if value < 0 else "∞"
    return f"{value:{'+' if signed else ''}z.{decimals}f}".replace("-", "−")


def significant(value: float) -> str:
    """Return three figures of a number, with an exponent where four decimals would show none."""
    if value and abs(value) < 1e-4:
        return f"{value:.2e}".replace("-", "−")
    return number(value, digits(value) if math.isfinite(value) else 2)


def p_value(p: float) -> str:
    """Return a p value to three decimals, or that it is less; "undefined" for none."""
    if math.isnan(p):
        return "undefined"
    return f"{p:.3f}" if p >= 0.0005 else "< 0.001"


def percent(share: float | None) -> str:
    """Return a share with as many digits as it takes not to call some none, or not all all."""
    if share is None:
        return "undefined"
    rest = 100 * min(share, 1 - share)
    decimals = 0 if rest <= 0 or rest >= 10 else 1 - math.floor(math.log10(rest))
    text = f"{100 * share:.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if decimals else text} %"


def size(count: float) -> str:
    """Return a number of bytes in decimal units."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:,.{3 if count < 1000 * factor else 9}g} {unit}"
    return f"{max(count, 0) / 1e3:.0f} kB"


def rounded(value: Any) -> float | None:
    """Return a number as JSON of a study holds it; None where it is not finite.

    To six decimals, or six figures of a number below 1: redundancy may be 1e-7 nats.
    """
    if not math.isfinite(value):
        return None
    small = 0 < abs(value) < 1
    return round(float(value), 5 - math.floor(math.log10(abs(value))) if small else 6)


def plain(value: Any) -> Any:
    """Return what JSON of a study holds of numbers in dicts and lists: each one `rounded`."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return rounded(value) if isinstance(value, float | np.floating) else value

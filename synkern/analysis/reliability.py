"""How well a sample tells what it tells: halves of it, stepped up to the whole."""

from __future__ import annotations

import math


def stepped_up(half: float) -> float:
    """Reliability of a whole, by the correlation r between its halves: 2 r / (1 + r).

    Spearman 1910, Brown 1910. The root of the product of two reliabilities is the largest
    correlation to expect of two noisy measurements of the same (Spearman 1904). 0 where halves do
    not correlate above 0, where the formula would leave [0, 1]; NaN without halves.
    """
    if math.isnan(half):
        return math.nan
    return 2 * half / (1 + half) if half > 0 else 0.0

"""Two groups of a few runs: intervals, permutation test, effect size, correction for several tests.

scipy is imported when first used.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, exp, lgamma, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.graph.libraries import library

Floats = NDArray[np.float64]
Ends = tuple[float, float]

MOST_ARRANGEMENTS = 1_000_000
"""If there are more ways to deal the runs, that many less one are drawn."""

DECIMALS = 12
"""Of shares: sums of the same runs in another order differ by less."""

_CONFIDENCE = 0.95
_BATCH = 10_000


def holm(p: Sequence[float]) -> list[float]:
    """Return p values after Holm's correction for their number, in the order given."""
    order = np.argsort(p, kind="stable")
    adjusted, highest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order.tolist()):
        highest = max(highest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = highest
    return adjusted


def hedges_g(a: Floats, b: Floats) -> float:
    """Return the difference of two means in pooled standard deviations, corrected for few runs.

    Args:
        a, b: (runs,) each, at least 2; not all equal in both.
    """
    free = len(a) + len(b) - 2
    pooled = sqrt(((len(a) - 1) * deviation(a) ** 2 + (len(b) - 1) * deviation(b) ** 2) / free)
    correction = exp(lgamma(free / 2) - lgamma((free - 1) / 2) - 0.5 * log(free / 2))
    return correction * float(difference(a, b)) / pooled


def _stats() -> Any:
    return library("scipy.stats", "the statistics of gains", "train")


def deviation(values: Floats) -> float:
    """Return the standard deviation (n - 1); 0 and no rounding error where all are equal."""
    return float(values.std(ddof=1)) if np.ptp(values) else 0.0


def t_interval(values: Floats) -> Ends:
    """Return the 95 % interval of the mean of values that are not all equal."""
    error = deviation(values) / sqrt(len(values))
    low, high = _stats().t.interval(_CONFIDENCE, len(values) - 1, float(values.mean()), error)
    return float(low), float(high)


def welch(a: Floats, b: Floats) -> dict[str, Any]:
    """Return `interval` (95 %) of the difference of two means, and `welch_p`.

    Not for values that are all equal in both.

    By its formulas: scipy's function warns of runs that are equal in one of them.
    """
    squares = [deviation(each) ** 2 / len(each) for each in (a, b)]
    error = sqrt(sum(squares))
    free = sum(squares) ** 2 / sum(
        square**2 / (len(each) - 1) for square, each in zip(squares, (a, b), strict=True)
    )
    t, apart = _stats().t, float(difference(a, b))
    low, high = t.interval(_CONFIDENCE, free, apart, error)
    p = 2 * float(t.sf(abs(apart) / error, free))
    return {"interval": (float(low), float(high)), "welch_p": p}


def difference(a: Floats, b: Floats, axis: int = -1) -> Floats:
    """Return the difference of means; rounded, so that arrangements that should be equal are."""
    return np.asarray(np.round(a.mean(axis) - b.mean(axis), DECIMALS))


def permuted(a: Floats, b: Floats) -> dict[str, Any]:
    """Return the permutation test of two means.

    Args:
        a, b: (runs,) shares.

    Returns:
        `p`, two-sided, twice the smaller tail; `arrangements` looked at; `exact`, whether these are
        all; `smallest_p` that so many can give.
    """
    ways = comb(len(a) + len(b), len(a))
    exact = ways <= MOST_ARRANGEMENTS
    looked_at = ways if exact else MOST_ARRANGEMENTS - 1
    found = _stats().permutation_test(
        (a, b),
        difference,
        permutation_type="independent",
        vectorized=True,
        n_resamples=np.inf if exact else looked_at,
        batch=_BATCH,
        rng=np.random.default_rng(0),
    )
    return {
        "p": float(found.pvalue),
        "arrangements": looked_at,
        "exact": exact,
        # Of what is drawn, the observed arrangement counts as one more.
        "smallest_p": 2 / (ways if exact else looked_at + 1),
    }

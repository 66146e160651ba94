"""Correlations of series over time and of scores over nodes, as several stages report them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synkern.analysis.scores import tied_rank
from synkern.study.numerals import rounded

Floats = NDArray[np.float64]

FALSE_DISCOVERIES = 0.05
"""Rate at which pairs count as significant, and p value at which they do by themselves."""


def rank_correlation(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Return the rank correlation over the entries finite in both; None where one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    ranks = [tied_rank(values[both]) for values in (a, b)]
    if any(np.ptp(rank) == 0 for rank in ranks):
        return None
    matrix: Any = np.corrcoef(ranks)
    return rounded(matrix[0, 1])


def autocorrelation(series: NDArray[Any], tau: int) -> Floats:
    """(trials, nodes), each node's own correlation at lag tau; NaN where it does not vary."""
    return correlation(series[:, :-tau], series[:, tau:])


def correlation(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Correlation over time of two (trials, time, nodes): (trials, nodes), NaN where undefined."""
    return np.stack([_correlation(*trial) for trial in zip(a, b, strict=True)])


def tested(
    p: Floats, q: Floats, observed: Floats, center: Floats, sd: Floats
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return what a null test says of one atom: matrices by what they are, and shares of the pairs.

    Args:
        p, q: (nodes, nodes), of every pair.
        observed: its mean.
        center, sd: mean and standard deviation of the surrogates.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.where(sd > 0, (observed - center) / sd, np.nan)
    arrays = {"p": p, "q": q, "z": z, "mean": center}
    upper = np.triu_indices(len(p), 1)
    p, q, raised, z = p[upper], q[upper], (observed > center)[upper], z[upper]
    count = int(np.isfinite(p).sum())
    significant = q <= FALSE_DISCOVERIES
    return arrays, {
        "tested": count,
        "share_p": _share(p <= FALSE_DISCOVERIES, count),
        "share_q": _share(significant, count),
        "share_q_above": _share(significant & raised, count),
        "share_q_below": _share(significant & ~raised, count),
        "median_z": rounded(np.median(z[np.isfinite(z)])) if np.isfinite(z).any() else None,
    }


def _share(which: NDArray[np.bool_], of: int) -> float | None:
    return int(which.sum()) / of if of else None


def _correlation(a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Of one trial: as float64, all trials of many nodes at once would fill the memory."""
    a, b = (part - part.mean(0) for part in (a.astype(float), b.astype(float)))
    with np.errstate(invalid="ignore", divide="ignore"):
        r = (a * b).sum(0) / np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.asarray(r, dtype=np.float64)

"""Two conditions on the same problems: how far they differ, and what chance alone would give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

import synkern._checks as check

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# Values of a part of the resamples that are held at once.
_ROOM = 1 << 22


@dataclass(frozen=True)
class McNemar:
    """Problems that only one of two conditions has right, and McNemar's exact test of them.

    Attributes:
        lost: problems that the first alone has right.
        gained: problems that the second alone has right.
    """

    lost: int
    gained: int

    @property
    def p(self) -> float:
        """Two-sided: of `lost + gained` fair coins, that the rarer side comes so seldom.

        Exact, from whole numbers: the binomial distribution is symmetric, so that the tail counts
        twice, and once where both tails are all there is. 1 where no problem differs.
        """
        differ = self.lost + self.gained
        tail, ways = 0, 1
        for k in range(min(self.lost, self.gained) + 1):
            tail += ways
            ways = ways * (differ - k) // (k + 1)
        return min(1.0, 2 * tail / (1 << differ))


def mcnemar(first: Bools, second: Bools) -> McNemar:
    """Compare two conditions problem by problem.

    Args:
        first, second: (problems,) whether each was right.

    Raises:
        ValueError: they are not of the same problems.
    """
    first, second = _right("first", first), _right("second", second)
    _same_problems(first, second)
    return McNemar(int((first & ~second).sum()), int((~first & second).sum()))


@dataclass(frozen=True)
class Difference:
    """Accuracy of one condition less that of another, over the same problems.

    Attributes:
        mean: the difference, in shares of the problems: -0.1 is ten points less.
        low, high: ends of its bootstrap interval.
        confidence: of the interval.
    """

    mean: float
    low: float
    high: float
    confidence: float = 0.95

    def __str__(self) -> str:
        """The difference in points, with its interval."""
        return f"{100 * self.mean:+.1f} points ({100 * self.low:+.1f} to {100 * self.high:+.1f})"


def paired_difference(
    one: Bools | Floats,
    other: Bools | Floats,
    *,
    resamples: int = 4000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """The difference of two accuracies, with an interval for other problems, subsets and noise.

    Each resample draws problems, the same ones for both conditions, and of each condition draws and
    within each draw seeds, all with replacement (percentile bootstrap). Where a condition has one
    draw, or one seed, that is taken as it is. A bootstrap over k draws or seeds is too narrow by
    about sqrt((k - 1) / k): an interval from three seeds says too little of what noise does.

    Args:
        one, other: (draws, seeds, problems) whether each problem was right, or in what share of
            several conditions; (problems,) stands for one draw and one seed. The two may have
            different numbers of draws and of seeds.
        resamples: of the bootstrap.
        confidence: of the interval, between 0 and 1.
        seed: of the bootstrap.

    Raises:
        ValueError: they are not of the same problems, or a number cannot be used.
    """
    one, other = _shares("one", one), _shares("other", other)
    _same_problems(one, other)
    if not isinstance(resamples, int) or resamples < 1:
        raise ValueError(f"resamples must be a whole number, 1 or more; got {resamples!r}")
    check.confidence(confidence)
    rng = np.random.default_rng(seed)
    problems = one.shape[-1]
    found = []
    step = max(1, _ROOM // problems)
    for first in range(0, resamples, step):
        count = min(step, resamples - first)
        drawn = rng.multinomial(problems, np.full(problems, 1 / problems), count).astype(float)
        found.append(_resampled(one, drawn, rng) - _resampled(other, drawn, rng))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(found), (tail, 1 - tail))
    return Difference(float(one.mean() - other.mean()), float(low), float(high), confidence)


def _resampled(right: Floats, problems: Floats, rng: np.random.Generator) -> Floats:
    """Accuracies of resamples, (resamples,), of `right` (draws, seeds, problems).

    Args:
        right: of one condition.
        problems: (resamples, problems), how often each problem is in each resample.
        rng: draws draws and seeds.
    """
    draws, seeds, each = right.shape
    count = len(problems)
    # Whole numbers until the end, where right is: what does not differ, differs by zero.
    sums = np.einsum("rp,dsp->rds", problems, right, optimize=True)
    of_draws = rng.multinomial(draws, np.full(draws, 1 / draws), count)
    # A draw that comes twice brings seeds drawn twice.
    times = rng.multinomial(of_draws * seeds, np.full(seeds, 1 / seeds))
    found: Floats = (sums * times).sum((1, 2)) / (draws * seeds * each)
    return found


def majority(right: Bools) -> Bools:
    """Problems that more than half of the runs have right: (draws, seeds, problems) to one axis."""
    found: Bools = _shares("right", right).mean((0, 1)) > 1 / 2
    return found


def _right(name: str, right: Any) -> Bools:
    array = np.asarray(right)
    if array.dtype != np.bool_:
        raise ValueError(f"{name} must be truth values, right or not; got dtype {array.dtype}")
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be (problems,), at least one; got shape {array.shape}")
    return array


def _shares(name: str, right: Any) -> Floats:
    array = np.asarray(right, dtype=np.float64)
    if array.ndim == 1:
        array = array[None, None]
    if array.ndim != 3 or array.size == 0:
        raise ValueError(
            f"{name} must be (draws, seeds, problems), none of them zero; got shape {array.shape}"
        )
    # Not-a-number fails both.
    if not bool(((array >= 0) & (array <= 1)).all()):
        raise ValueError(f"{name} must be right or not, or shares from 0 to 1; others are in it")
    return array


def _same_problems(one: Bools | Floats, other: Bools | Floats) -> None:
    if one.shape[-1] != other.shape[-1]:
        raise ValueError(
            f"{one.shape[-1]} problems and {other.shape[-1]}: two conditions are compared on the "
            "same problems, in the same order"
        )

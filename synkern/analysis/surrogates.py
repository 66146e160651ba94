"""Surrogates of a recording: series whose nodes are as they were, as far as can be, but unrelated.

Each null draws them in its own way; what it keeps, and where it is invalid, is in its docstring,
and how often it is wrong is measured in `synkern.analysis.nulls`. The random numbers are NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from synkern._arrays import like
from synkern._warnings import warn
from synkern.analysis.options import Null

_ENOUGH_TRIALS = 5
"""The fewest trials that can be paired in enough ways for a two-sided p of 0.05: 2 / 5!."""


class Recorded(NamedTuple):
    """A recording that surrogates are drawn from.

    Attributes:
        xp: numpy or torch.
        series: (trials, time, nodes) float64.
        tau: lag in samples.
        block: length of a block in samples.
        owner: (trials,) whose each trial is, the number of the subject.
    """

    xp: Any
    series: Any
    tau: int
    block: int
    owner: npt.NDArray[np.int64]


class Surrogate(NamedTuple):
    """A series and the lag at which `phiid` finds its past and its future."""

    series: Any
    tau: int


def cross_trial(recorded: Recorded, rng: np.random.Generator) -> Surrogate:
    """Pair node i of one trial with node j of another: permute the trials of each node.

    False positives at 0.05: .05, at rho 0.5 and 0.97 alike.

    Keeps every node's series whole, and what all trials have in common over time (a response to
    their onset, say). So it tests for a relation *beyond* that common course, and exactly: for a
    pair, the permutations form a group. The uniform permutation may leave trials in place;
    without these (derangements) the test would reject too often with few trials.

    Invalid where trials cannot change places: different conditions, subjects or lengths. Where it
    is known whose they are, they change places within a subject alone.
    Powerless below 5 trials, which cannot be paired in enough ways.
    """
    _, time, nodes = recorded.series.shape
    order = np.empty((len(recorded.owner), nodes), np.int64)
    for subject in range(recorded.owner.max() + 1):
        own = np.flatnonzero(recorded.owner == subject)
        order[own] = rng.permuted(np.tile(own[:, None], nodes), axis=0)
    take = order[:, None, :], np.arange(time)[:, None], np.arange(nodes)
    return Surrogate(recorded.series[_index(recorded, take)], recorded.tau)


def row_shift(recorded: Recorded, rng: np.random.Generator) -> Surrogate:
    """Shift the (past, future) samples of each node jointly, by its own random amount, circularly.

    False positives at 0.05, `sts` of one trial: .04 at rho 0.5, .09 at rho 0.97.

    Keeps every node's lag correlation exactly, since a past stays with its future; breaks the
    relation of nodes at all lags, and the common course of trials with it.

    Invalid for nodes with trends or slow drift, whose shifted copies are still correlated: close to
    exact while the series is many correlation times long. Gaussian estimators only: a past and a
    future that are cut apart have no common mean to binarise at.
    """
    series, tau = recorded.series, recorded.tau
    samples = series.shape[1] - tau
    shifts = _shifts(recorded, samples, rng)
    rows = [_rolled(recorded, part, shifts) for part in (series[:, :-tau], series[:, tau:])]
    # Past after future as one series: at a lag of all samples, `phiid` cuts it at the seam.
    return Surrogate(recorded.xp.concatenate(rows, 1), samples)


def circular(recorded: Recorded, rng: np.random.Generator) -> Surrogate:
    """Shift each node circularly in time, by its own random amount.

    False positives at 0.05, `sts` of one trial: .10 at rho 0.5, .42 at rho 0.97.

    Keeps a node's spectrum and values; joins its end to its beginning. That jump lowers the lag
    correlation of persistent nodes, so that the null is too low.

    Invalid where the series is not many correlation times long, or has a trend.
    """
    shifts = _shifts(recorded, recorded.series.shape[1], rng)
    return Surrogate(_rolled(recorded, recorded.series, shifts), recorded.tau)


def block(recorded: Recorded, rng: np.random.Generator) -> Surrogate:
    """Cut each node into blocks of equal length and permute these, node by node.

    False positives at 0.05, `sts` of one trial, blocks of 10: .29 at rho 0.5, .83 at rho 0.97.

    Keeps a node's values, and its persistence within a block; every seam is a jump, which lowers
    its lag correlation by about 1 / block of itself.

    Invalid unless blocks are much longer than the correlation time and yet many.
    """
    trials, time, nodes = recorded.series.shape
    count = -(-time // recorded.block)
    keys = rng.random((trials, count, nodes))
    # Time points sorted by the key of their block, stably: blocks stay whole and in order inside.
    order = np.argsort(keys[:, np.arange(time) // recorded.block], axis=1, kind="stable")
    return Surrogate(_reordered(recorded, recorded.series, order), recorded.tau)


def phase(recorded: Recorded, rng: np.random.Generator) -> Surrogate:
    """Give each node random Fourier phases: a Gaussian series of the same periodogram.

    False positives at 0.05, `sts` of one trial: .10 at rho 0.5, .43 at rho 0.97.

    Keeps the circular autocorrelation, not the values. As it takes the series as periodic, the jump
    from its end to its beginning is spread over time as noise, which lowers the lag correlation
    of persistent nodes.

    Invalid for nodes that are far from Gaussian, that drift, or whose level changes. The method is
    that of Theiler et al., Physica D 58, 77 (1992).
    """
    xp, series = recorded.xp, recorded.series
    trials, time, nodes = series.shape
    mean = series.mean(1)[:, None]
    spectrum = xp.fft.rfft(series - mean, None, 1)
    angles = np.zeros((trials, spectrum.shape[1], nodes))
    free = slice(1, (time + 1) // 2)  # All but the mean and, at even length, the last: real ones.
    angles[:, free] = rng.uniform(0, 2 * np.pi, angles[:, free].shape)
    # The mean comes back last: where a node is constant, rounding vanishes beside it.
    values = xp.fft.irfft(spectrum * like(np.exp(1j * angles), series), time, 1) + mean
    return Surrogate(values, recorded.tau)


NULLS: dict[Null, Callable[[Recorded, np.random.Generator], Surrogate]] = {
    "cross_trial": cross_trial,
    "row_shift": row_shift,
    "circular": circular,
    "block": block,
    "phase": phase,
}
"""Nulls by name; what each keeps, and where it is invalid, is in its docstring."""


def check_numbers(recorded: Recorded, null: str, n: int, seed: int) -> None:
    """Raise ValueError on numbers out of range, or too few trials or time points for a null.

    Warns:
        UserWarning: trials too few to be paired in enough ways.
    """
    trials, time, _ = recorded.series.shape
    for argument, value, low in (("n", n, 19), ("seed", seed, 0), ("block", recorded.block, 1)):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < low:
            raise ValueError(f"{argument} must be a whole number from {low}; got {value!r}")
    if null == "block" and 2 * recorded.block > time:
        raise ValueError(
            f"block must leave at least two blocks; got {recorded.block} for {time} time points"
        )
    if null != "cross_trial":
        return
    if trials < 2:
        raise ValueError(
            "null 'cross_trial' pairs nodes of different trials and needs at least 2; series has "
            f"{trials}: use null='row_shift', or cut a long series into trials"
        )
    sizes = np.bincount(recorded.owner)
    if sizes.min() < 2:
        first = int((sizes[recorded.owner] < 2).argmax())
        raise ValueError(
            "null 'cross_trial' pairs nodes of different trials of a subject, and trial "
            f"{first} is the only one of its subject; leave it out, or pair subjects, if they can "
            "change places, by passing the array of the series without subjects"
        )
    ways = (math.factorial(min(size, _ENOUGH_TRIALS)) for size in sizes.tolist())
    if math.prod(ways) < math.factorial(_ENOUGH_TRIALS):
        warn(
            f"{trials} trials can be paired in too few ways for p <= 0.05 under null "
            f"'cross_trial'; {_ENOUGH_TRIALS} or more (of a subject, where there are subjects) can"
        )


def _shifts(recorded: Recorded, length: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A shift for each trial and node, (trials, 1, nodes), zero among them."""
    trials, _, nodes = recorded.series.shape
    return rng.integers(0, length, (trials, 1, nodes))


def _rolled(recorded: Recorded, part: Any, shifts: npt.NDArray[np.int64]) -> Any:
    length = part.shape[1]
    return _reordered(recorded, part, (np.arange(length)[:, None] + shifts) % length)


def _reordered(recorded: Recorded, part: Any, order: npt.NDArray[np.int64]) -> Any:
    """Each trial and node in an order of its own, (trials, time, nodes)."""
    trials, _, nodes = part.shape
    take = np.arange(trials)[:, None, None], order, np.arange(nodes)
    return part[_index(recorded, take)]


def _index(recorded: Recorded, take: tuple[npt.NDArray[np.int64], ...]) -> tuple[Any, ...]:
    return tuple(like(index, recorded.series) for index in take)

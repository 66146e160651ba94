"""The decomposition that persistence alone would give, and what a result has beyond it.

Two nodes that only persist, without any influence on each other, already have synergy and
redundancy. The reference keeps each node's own lag correlation r and their lag-0 correlation q, and
puts in place of the cross-lag correlations those of two AR(1) nodes with correlated innovations,

    x(t + τ) = r_x x(t) + e_x,    y(t + τ) = r_y y(t) + e_y:

            x       y       a       b
    x       1       q       r_x     r_y q
    y               1       r_x q   r_y
    a                       1       q
    b                               1

The lag-0 correlations of past and future differ only by the ends of the series, and an AR(1) pair
has one: q is the mean of the two. Given the past, x(t + τ) has variance 1 - r_x², y(t + τ) has
1 - r_y², and their covariance is q (1 - r_x r_y), so that the matrix is positive definite exactly
where

    |q| < sqrt((1 - r_x²) (1 - r_y²)) / (1 - r_x r_y),        |r_x|, |r_y| < 1.

Nodes of equal persistence may have any q; nodes of unequal persistence cannot be AR(1) nodes and
correlate more than this. Such pairs have no reference: NaN, and counted. They are few where
the nodes vary around a level (0.04 % of the trials and pairs of a trained model with 270 attention
heads), but half of all where they drift (56 % of the same model with random weights, which repeats
one token; 10 % of it after a linear, 2 % after a quadratic detrend). Read these as missing.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

import synkern._checks as check
from synkern._arrays import incoming, like, native, to_numpy
from synkern.kernels.lattice import swap_nodes
from synkern.kernels.mmi import Correlations, lambdas
from synkern.kernels.mmi import atoms as atoms_of_lambdas
from synkern.kernels.segments import Segments, standardise
from synkern.kernels.stable import Outcome
from synkern.result import PhiIDResult

NO_AR1_PAIR = 4
"""Code in `PhiIDResult.flagged`, beside those of `Outcome`: no two AR(1) nodes have the observed
persistence and lag-0 correlation, or they nearly determine each other."""

_TILE_ELEMENTS = 1 << 16  # (trial, pair) entries at a time; its temporaries stay in the cache
_TOLERANCE = 1e-6  # nats; pairs whose reference rounding could move further have none


class _Tile(NamedTuple):
    """Some trials of a block of rows with all columns from the first of these rows on."""

    trials: slice
    rows: slice
    columns: slice


class _Sums(NamedTuple):
    """Atoms summed over trials, and in how many trials each pair has a reference."""

    atoms: dict[str, Any]
    count: Any


def persistence_reference(
    series: Any,
    *,
    tau: int = 1,
    atoms: str | Sequence[str] = ("rtr", "sts"),
    average: Literal["trials"] | None = "trials",
    dtype: Literal["float64", "float32"] = "float64",
) -> PhiIDResult:
    """What `phiid` (Gaussian, MMI) would give if nodes persisted but did not influence each other.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array. The
            reference has no gradient.
        tau: lag in samples.
        atoms: names of atoms (`synkern.ATOMS`) or "all".
        average: "trials": mean over the trials in which the pair has a reference; None: every
            trial.
        dtype: of the output; the arithmetic is float64.

    Returns:
        `PhiIDResult` as from `phiid`, in nats. NaN where a node is constant, and where no two AR(1)
        nodes have the pair's persistence and lag-0 correlation: `flagged` lists the latter with
        the code `NO_AR1_PAIR`.

    Raises:
        ValueError: bad shape, NaN in the series, tau too long, unknown option.
        TypeError: series does not hold real numbers.

    Warns:
        UserWarning: fewer than 30 samples; pairs without a reference.
    """
    check.choice("average", average, ("trials", None))
    check.choice("dtype", dtype, ("float64", "float32"))
    names = check.atom_names(atoms)
    tau = check.lag(tau)
    kind = native(series)[0]
    xp = sys.modules[kind]
    array, restore = incoming(
        series.detach() if isinstance(series, torch.Tensor) else series, kind, argument="series"
    )
    array = check.series(xp, array, tau)

    with np.errstate(divide="ignore", invalid="ignore"):
        segments = standardise(xp, xp.asarray(array, dtype=xp.float64), tau)
        sums, missing = _summed(xp, segments, names, per_trial=average is None)
        values = {name: sums.atoms[name] / sums.count for name in names}
    result = PhiIDResult(
        arrays={k: restore(xp.asarray(v, dtype=getattr(xp, dtype))) for k, v in values.items()},
        tau=tau,
        kind="gaussian",
        redundancy="MMI",
        average=average,
        unit="nats",
        dtype=dtype,
        backend=kind,
        shape=tuple(array.shape),
        constant=to_numpy(segments.constant),
        flagged=np.column_stack([missing, np.full(len(missing), NO_AR1_PAIR)]),
        rescued=0,
    )
    _warn_of_missing(result, stacklevel=3)
    return result


def excess(result: PhiIDResult, reference: PhiIDResult) -> PhiIDResult:
    """Atoms minus those of a reference: what a result has beyond, say, persistence.

    A difference of two means says something only if both are over the same trials. Averaged
    results do not hold the trials apart, so pairs that lost different trials in the two become
    NaN; results with average=None keep every trial that both have.

    Args:
        result: of `phiid`.
        reference: of `persistence_reference`, from the same series with the same options; holds at
            least the atoms of the result.

    Returns:
        `PhiIDResult` with the atoms of the result, NaN where either has no value; `flagged` lists
        the pairs that either lost.

    Raises:
        KeyError: the reference lacks atoms of the result.
        ValueError: the two differ in shape, lag, estimator, average or unit.

    Warns:
        UserWarning: pairs that lost different trials in the two.
    """
    _check_comparable(result, reference)
    arrays = {name: result[name] - reference[name] for name in result}
    if result.average is not None:
        unlike = _different_trials(result, reference)
        if len(unlike):
            warnings.warn(
                f"{len(unlike)} of {result.pairs} pairs have a value in other trials than their "
                "reference, and no excess of averages; take trial_mean(excess(...)) of both with "
                "average=None",
                UserWarning,
                stacklevel=2,
            )
            blank = np.zeros((result.nodes, result.nodes), result.dtype)
            blank[unlike, unlike[:, ::-1]] = math.nan
            # Added, as not every library's arrays can be written to.
            arrays = {name: value + like(blank, value) for name, value in arrays.items()}
    lost = np.concatenate([_lost(result), _lost(reference)])
    once = np.unique(lost[:, :3], axis=0, return_index=True)[1]
    return replace(result, arrays=arrays, flagged=lost[once])


def trial_mean(result: PhiIDResult) -> PhiIDResult:
    """Average a result, or an excess, that keeps trials apart.

    Args:
        result: with average=None.

    Returns:
        `PhiIDResult` with average="trials": mean over the trials in which the pair has a value,
        NaN where there are none.

    Raises:
        ValueError: the result is averaged already.
    """
    if result.average is not None:
        raise ValueError(
            f"result has average {result.average!r}: its trials are averaged already; compute it "
            "with average=None"
        )
    return replace(
        result,
        arrays={name: _mean_of_known(value) for name, value in result.arrays.items()},
        average="trials",
    )


def _mean_of_known(values: Any) -> Any:
    kind = native(values)[0]
    xp = sys.modules[kind]
    array, restore = incoming(values, kind, argument="result")
    missing = xp.isnan(array)
    with np.errstate(invalid="ignore"):
        return restore(xp.where(missing, 0.0, array).sum(0) / (~missing).sum(0))


def ar1_correlations(xp: Any, segments: Segments, tile: _Tile) -> Correlations:
    """Correlations of a tile, those across the lag and between nodes being those of AR(1) nodes."""
    past, future = segments.past[tile.trials], segments.future[tile.trials]
    own = (past * future).sum(-1)
    r_x, r_y = own[:, tile.rows, None], own[:, None, tile.columns]
    q = 0.5 * sum(v[:, tile.rows] @ xp.swapaxes(v[:, tile.columns], -1, -2) for v in (past, future))
    return Correlations(xy=q, ab=q, xa=r_x, xb=r_y * q, ya=r_x * q, yb=r_y)


def _summed(
    xp: Any, segments: Segments, names: Sequence[str], *, per_trial: bool
) -> tuple[_Sums, npt.NDArray[np.int64]]:
    """Sum the reference over trials (or keep these apart), tile by tile.

    Returns:
        The sums, and (pairs, 3) trial, row, column of the pairs of varying nodes that have none.
    """
    trials, nodes, samples = segments.past.shape
    # The tiles cover i < j; the other half has x and y exchanged in the names.
    closed = dict.fromkeys([*names, *(swap_nodes(name) for name in names)])
    shape = (trials, nodes, nodes) if per_trial else (nodes, nodes)
    sums = _Sums(
        {name: _zeros(xp, shape, segments) for name in closed}, _zeros(xp, shape, segments)
    )
    # As in the closed form's own bound: rounding of the correlations over the smallest variance.
    trusted = (4 + math.sqrt(samples)) * np.finfo(np.float64).eps / _TOLERANCE
    missing = [np.zeros((0, 3), np.int64)]
    for tile in _tiles(trials, nodes):
        v, smallest = lambdas(xp, ar1_correlations(xp, segments, tile))
        pairs = _varying_pairs(xp, segments, tile)
        known = pairs & (smallest >= trusted)
        at = ((tile.trials,) if per_trial else ()) + (tile.rows, tile.columns)
        mirrored = (*at[:-2], tile.columns, tile.rows)
        one = xp.where(known, 1.0, 0.0)
        terms = [(sums.count, sums.count, one)]
        for name, value in zip(closed, atoms_of_lambdas(xp, v, tuple(closed)), strict=True):
            terms.append((sums.atoms[name], sums.atoms[swap_nodes(name)], value))
        for upper, lower, value in terms:
            term = xp.where(known, value, 0.0)
            term = term if per_trial else term.sum(0)
            upper[at] += term
            lower[mirrored] += xp.swapaxes(term, -1, -2)
        origin = np.array([tile.trials.start, tile.rows.start, tile.columns.start])
        missing.append(origin + to_numpy(xp.stack(xp.where(pairs & ~known), -1)))
    return sums, np.concatenate(missing)


def _tiles(trials: int, nodes: int) -> Iterator[_Tile]:
    height = max(1, min(nodes, _TILE_ELEMENTS // nodes))
    depth = max(1, _TILE_ELEMENTS // (height * nodes))
    for i in range(0, nodes, height):
        for k in range(0, trials, depth):
            yield _Tile(slice(k, k + depth), slice(i, i + height), slice(i, nodes))


def _varying_pairs(xp: Any, segments: Segments, tile: _Tile) -> Any:
    """(trials, rows, columns): entries that stand for a pair i < j of nodes that vary."""
    varies = ~segments.constant[tile.trials]
    # Rows and columns start at the same node.
    return xp.triu(varies[:, tile.rows, None] & varies[:, None, tile.columns], 1)


def _zeros(xp: Any, shape: tuple[int, ...], segments: Segments) -> Any:
    device = {} if xp is np else {"device": segments.past.device}
    return xp.zeros(shape, dtype=xp.float64, **device)


def _warn_of_missing(result: PhiIDResult, *, stacklevel: int) -> None:
    constant, no_pair = result.degenerate["constant"], len(result.flagged)
    if constant or no_pair:
        warnings.warn(
            f"{constant + no_pair} of {result.trials * result.pairs} (trial, pair) have no "
            f"persistence reference: {constant} with a constant node, {no_pair} with a correlation "
            "that no two AR(1) nodes of their persistence have; result.constant lists the nodes, "
            "result.flagged the other pairs",
            UserWarning,
            stacklevel=stacklevel,
        )


def _check_comparable(result: PhiIDResult, reference: PhiIDResult) -> None:
    missing = [name for name in result if name not in reference]
    if missing:
        raise KeyError(
            f"reference lacks {' '.join(missing)}; compute it with atoms={result.atoms!r}"
        )
    for option in ("shape", "tau", "kind", "redundancy", "average", "unit"):
        values = getattr(result, option), getattr(reference, option)
        if values[0] != values[1]:
            raise ValueError(
                f"result has {option} {values[0]!r} and reference {values[1]!r}; compute both from "
                "the same series with the same options"
            )
    if not np.array_equal(result.constant, reference.constant):
        raise ValueError(
            "result and reference have other constant nodes; compute both from the same series"
        )


def _lost(result: PhiIDResult) -> npt.NDArray[np.int64]:
    """Flags of pairs without a value; coinciding nodes have one."""
    lost: npt.NDArray[np.int64] = result.flagged[result.flagged[:, 3] != Outcome.DUPLICATE]
    return lost


def _different_trials(result: PhiIDResult, reference: PhiIDResult) -> npt.NDArray[np.int64]:
    """(pairs, 2) row and column of pairs that lost some trial in one of the results only."""
    places = np.concatenate([_lost(result)[:, :3], _lost(reference)[:, :3]])
    place, count = np.unique(places, axis=0, return_counts=True)
    pairs: npt.NDArray[np.int64] = np.unique(place[count == 1][:, 1:], axis=0)
    return pairs

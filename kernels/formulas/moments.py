"""Moments gathered chunk by chunk, for series that never exist as a whole.

The sums of products about the mean of two sets of samples add up, but for a term in the difference
of the two means (Chan, Golub and LeVeque, Am. Stat. 37, 242, 1983):

    n = n1 + n2,    δ = m2 - m1,    m = m1 + δ n2 / n,    S = S1 + S2 + δ δ' n1 n2 / n.

Nothing large is ever subtracted, so the result is as good as that of all samples at once. For a
mean far from zero that holds only if it is kept apart from its last digits, so values are taken
from an origin near them, the first sample of the past and of the future.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..contract import Array, Outcome
from . import steady
from .mmi import Correlations, Lambdas

if TYPE_CHECKING:
    from ..contract import Library, Tile


class Sums(NamedTuple):
    """What is kept of the samples (past, future) seen so far, of every trial.

    Attributes:
        count: (trials,) float64 number of samples.
        origin: (2, trials, nodes) what means are counted from, of past and future.
        mean: (2, trials, nodes) of past and future, less the origin.
        low: (2, trials, nodes) least value of past and future; tells a constant exactly.
        high: (2, trials, nodes) largest value.
        whole: (2, trials, nodes) bool: all values are exact, see `steady.unrounded`.
        past: (trials, nodes, nodes) sums of products about the mean, of past with past.
        future: of future with future.
        lagged: of past (rows) with future (columns).
    """

    count: Array
    origin: Array
    mean: Array
    low: Array
    high: Array
    whole: Array
    past: Array
    future: Array
    lagged: Array


class Moments(NamedTuple):
    """Correlations of all nodes: features of a pair where there are no data.

    Attributes:
        past: (trials, nodes, nodes) lag-0 correlation of the past, the `A` of the formulas.
        future: of the future, `B`.
        lagged: of past (rows) with future (columns), `C`.
        constant: (trials, nodes) bool: the node does not vary in its past or in its future.
        samples: number of samples, in the longest trial.
    """

    past: Array
    future: Array
    lagged: Array
    constant: Array
    samples: int

    @property
    def like(self) -> Array:
        """Tells the library and the device."""
        return self.past

    def of_nodes(self, trials: slice, nodes: Array) -> Moments:
        """Some nodes of some trials."""
        past, future, lagged = (m[trials][:, nodes[:, None], nodes] for m in self[:3])
        return Moments(past, future, lagged, self.constant[trials][:, nodes], self.samples)

    def of_pairs(self, pairs: Array) -> Moments:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        rows, columns = pairs[:, :, None], pairs[:, None]
        past, future, lagged = (m[:, rows, columns].reshape(-1, 2, 2) for m in self[:3])
        constant = self.constant[:, pairs].reshape(-1, 2)
        return Moments(past, future, lagged, constant, self.samples)

    def correlations(self, lib: Library, tile: Tile, dtype: str) -> Correlations:
        """Correlations of a tile, (trials, rows, columns) or broadcast to it."""
        at = tile.trials, tile.rows, tile.columns
        own = lib.cast(lib.xp.diagonal(self.lagged[tile.trials], 0, -2, -1), dtype)
        return Correlations(
            xy=lib.cast(self.past[at], dtype),
            ab=lib.cast(self.future[at], dtype),
            xa=own[:, tile.rows, None],
            xb=lib.cast(self.lagged[at], dtype),
            ya=lib.cast(self.lagged[tile.trials, tile.columns, tile.rows], dtype).swapaxes(-1, -2),
            yb=own[:, None, tile.columns],
        )

    def lambdas(self, lib: Library, positions: Array) -> tuple[Lambdas, Array]:
        """Ones, and `Outcome.UNRESOLVED`: there are no data to tell more of these pairs from."""
        outcome = lib.zeros((len(positions),), "int64", self.like) + int(Outcome.UNRESOLVED)
        one = lib.zeros((len(positions),), "float64", self.like) + 1
        return Lambdas(*(one for _ in Lambdas._fields)), outcome


def sums(
    xp: Any,
    past: Array,
    future: Array,
    spacing: float,
    origin: Array | None = None,
    use: Array | None = None,
) -> Sums:
    """Sums over some samples.

    Args:
        xp: numpy, torch or cupy.
        past: (trials, samples, nodes) float64, finite.
        future: likewise, sample by sample tau later.
        spacing: of the values, see `steady.within_rounding`.
        origin: of samples that these continue; their first ones by default.
        use: (trials, samples) bool: samples that count, the rest may be anything; None: all. A
            trial of which none counts has count 0, and nothing in its sums.
    """
    both = xp.stack([past, future])
    count = xp.ones_like(past[:, 0, 0]) * past.shape[1]
    low = high = both
    if use is not None:
        low, high, both = (
            xp.where(use[..., None], both, other) for other in (math.inf, -math.inf, 0.0)
        )
        count = steady.in_float64(use).sum(1)
    if origin is None:
        origin = both[:, :, 0] if use is None else _first(xp, both, use)

    def centred(values: Array) -> tuple[Array, Array]:
        if use is None:
            mean = values.mean(2)
            return values - mean[:, :, None], mean
        mean = values.sum(2) / xp.where(count > 0, count, 1.0)[:, None]
        return xp.where(use[..., None], values - mean[:, :, None], 0.0), mean

    from_origin = both - origin[:, :, None]
    if use is not None:
        from_origin = xp.where(use[..., None], from_origin, 0.0)
    # Twice: the rounding of the first mean is large beside the signal when the offset is.
    once, first = centred(from_origin)
    (x, a), second = centred(once)
    transposed = xp.swapaxes(x, -1, -2), xp.swapaxes(a, -1, -2)
    return Sums(
        count=count,
        origin=origin,
        mean=first + second,
        low=xp.amin(low, 2),
        high=xp.amax(high, 2),
        whole=steady.unrounded(xp, both, 2, spacing),
        past=transposed[0] @ x,
        future=transposed[1] @ a,
        lagged=transposed[0] @ a,
    )


def _first(xp: Any, both: Array, use: Array) -> Array:
    """(2, trials, nodes): the first sample that counts, of the past and of the future."""
    place = xp.argmax(use * 1, 1)
    return both[:, xp.cumsum(xp.ones_like(place), 0) - 1, place]


def merged(xp: Any, one: Sums, two: Sums) -> Sums:
    """Sums over the samples of both, trial by trial."""
    count = one.count + two.count
    divisor = xp.where(count > 0, count, 1.0)
    weight = one.count * two.count / divisor
    shift = (two.origin - one.origin) + (two.mean - one.mean)
    (past, lagged), (_, future) = _between(shift, weight)
    begun = one.count[:, None] > 0
    return Sums(
        count=count,
        origin=xp.where(begun, one.origin, two.origin),
        mean=xp.where(begun, one.mean + shift * (two.count / divisor)[:, None], two.mean),
        low=xp.minimum(one.low, two.low),
        high=xp.maximum(one.high, two.high),
        whole=one.whole & two.whole,
        past=one.past + two.past + past,
        future=one.future + two.future + future,
        lagged=one.lagged + two.lagged + lagged,
    )


def _between(shift: Array, weight: Array) -> list[list[Array]]:
    """Products (trials, nodes, nodes) of the shifts of past and future with these again."""
    weighted = shift * weight[:, None]
    return [[row[:, :, None] * column[:, None] for column in shift] for row in weighted]


def pooled(xp: Any, each: Sums, how: str | None, spacing: float) -> Sums:
    """Moments of one trial made of several, in the ways of `unit_vectors`."""
    if how == "moments":
        spread = xp.where(_constant(xp, each, spacing), 0.0, each.high - each.low)
        spread = xp.amax(spread, 1)[:, None]
        zero = xp.zeros_like(spread)
        return Sums(
            count=each.count.sum(0)[None],
            origin=zero,
            mean=zero,
            low=zero,
            high=spread,
            whole=zero == 0,
            **{name: getattr(each, name).sum(0)[None] for name in ("past", "future", "lagged")},
        )
    if how == "concatenate":
        return functools.reduce(functools.partial(merged, xp), _trials(each))
    return each


def stacked(xp: Any, parts: Sequence[Sums]) -> Sums:
    """The trials of all parts, one after another."""
    return Sums(
        *(
            xp.concatenate([getattr(part, name) for part in parts], int(name in _PER_SIDE))
            for name in Sums._fields
        )
    )


_PER_SIDE = {"origin", "mean", "low", "high", "whole"}


def _constant(xp: Any, each: Sums, spacing: float) -> Array:
    """(2, trials, nodes) bool: past or future is that of a constant, as in `steady`."""
    found = steady.within_rounding(xp, each.low, each.high, spacing)
    return found & ((each.low == each.high) | ~each.whole)


def faint(xp: Any, each: Sums, spacing: float) -> tuple[Array, Array] | None:
    """Nodes that `steady.faint` would name, as far as moments tell: their samples are gone."""
    low, high = xp.amin(each.low, 0), xp.amax(each.high, 0)
    return steady.faint(xp, xp.stack([low, high], 1), spacing)


def correlations(xp: Any, each: Sums, spacing: float) -> Moments:
    """Correlations from sums; 0 for constant nodes.

    Raises:
        ValueError: sums of squares that overflow or vanish, of a node that varies.
    """
    constant = _constant(xp, each, spacing).any(0)
    scale = []
    for name in ("past", "future"):
        square = xp.diagonal(getattr(each, name), 0, -2, -1)
        lost = ~(xp.isfinite(square) & (square > 0)) & ~constant
        if bool(lost.any()):
            trial, node = (int(index[0]) for index in xp.where(lost))
            raise ValueError(
                f"squares of node {node} in trial {trial} leave the range of float64: its {name} "
                f"sums to {float(square[trial, node])}; rescale the node before updating"
            )
        scale.append(xp.where(constant, 0.0, 1 / xp.sqrt(xp.where(constant, 1.0, square))))
    x, a = scale
    return Moments(
        past=each.past * x[:, :, None] * x[:, None],
        future=each.future * a[:, :, None] * a[:, None],
        lagged=each.lagged * x[:, :, None] * a[:, None],
        constant=constant,
        samples=int(each.count.max()),
    )


def _trials(each: Sums) -> list[Sums]:
    return [
        Sums(
            *(
                values[:, k : k + 1] if name in _PER_SIDE else values[k : k + 1]
                for name, values in zip(Sums._fields, each, strict=True)
            )
        )
        for k in range(len(each.count))
    ]

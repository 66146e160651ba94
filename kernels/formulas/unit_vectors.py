"""Unit vectors of a series, whose inner products all moments are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from ..contract import Array
from .mmi import Correlations, Lambdas
from .rescue import lambdas_from_data

if TYPE_CHECKING:
    from ..contract import Library, Tile


class UnitVectors(NamedTuple):
    """Past and future of every node, each centred and scaled to unit norm on its own.

    Attributes:
        past: (trials, nodes, samples) float64, samples = time - tau; node-major, so that a tile of
            nodes is contiguous and a lagged correlation is one inner product. Zero where constant.
        future: likewise.
        constant: (trials, nodes) bool: the node does not vary in its past or in its future.
    """

    past: Array
    future: Array
    constant: Array

    @property
    def like(self) -> Array:
        """Tells the library and the device."""
        return self.past

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.past.shape[-1])

    def of_nodes(self, trials: slice, nodes: Array) -> Self:
        """Some nodes of some trials."""
        return type(self)(*(v[trials][:, nodes] for v in self))

    def of_pairs(self, pairs: Array) -> Self:
        """Each (trial, pair) as a trial of two nodes; `pairs` is (pairs, 2) nodes."""
        return type(self)(*(v[:, pairs].reshape(-1, 2, *v.shape[2:]) for v in self))

    def rectangle(self, lib: Library, tile: Tile, dtype: str) -> list[Array]:
        """x, a of the rows and y, b of the columns of a tile, (trials, nodes, samples) each."""
        return [
            lib.cast(vectors[tile.trials, nodes], dtype)
            for nodes in (tile.rows, tile.columns)
            for vectors in (self.past, self.future)
        ]

    def correlations(self, lib: Library, tile: Tile, dtype: str) -> Correlations:
        """Correlations of a tile, (trials, rows, columns) or broadcast to it."""
        x, a, y, b = self.rectangle(lib, tile, dtype)
        return correlations(lib.xp, x, a, y, b)

    def lambdas(self, lib: Library, positions: Array) -> tuple[Lambdas, Array]:
        """Lambdas of (pairs, 3) trial, row, column from their data; see `lambdas_from_data`."""
        return lambdas_from_data(lib.xp, *self.gathered(positions))

    def gathered(self, positions: Array) -> list[Array]:
        """x, y, a, b of (pairs, 3) trial, row, column: (pairs, samples) each."""
        trial, *pair = (positions[:, k] for k in range(3))
        return [vectors[trial, node] for vectors in self[:2] for node in pair]


def correlations(xp: Any, x: Array, a: Array, y: Array, b: Array) -> Correlations:
    """Correlations of all rows (unit vectors x, a) with all columns (y, b)."""
    across_y, across_b = xp.swapaxes(y, -1, -2), xp.swapaxes(b, -1, -2)
    return Correlations(
        xy=x @ across_y,
        ab=a @ across_b,
        xa=(x * a).sum(-1)[..., :, None],
        xb=x @ across_b,
        ya=a @ across_y,
        yb=(y * b).sum(-1)[..., None, :],
    )


def unit_vectors(xp: Any, series: Array, tau: int, pooled: str | None = None) -> UnitVectors:
    """Centre and scale past and future separately, as phyid does; at 100 samples it matters.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes) float64, finite.
        tau: lag in samples.
        pooled: None; "moments": trials are centred each on its own and their samples joined, which
            pools their covariances; "concatenate": joined as they are, and centred together. Either
            way lags do not reach across trials, and one trial remains.
    """
    by_node = xp.swapaxes(series, 1, 2)
    past, past_constant = _unit(xp, join(xp, by_node[..., :-tau], pooled))
    future, future_constant = _unit(xp, join(xp, by_node[..., tau:], pooled))
    return UnitVectors(past, future, past_constant | future_constant)


def constant_nodes(xp: Any, series: Array, tau: int, pooled: str | None = None) -> Array:
    """(trials, nodes) bool: what `unit_vectors` finds constant, without the vectors.

    Args:
        xp: numpy, torch or cupy.
        series: (trials, time, nodes), finite; a node that is constant up to rounding holds equal
            numbers (`steady.settled`).
        tau: lag in samples.
        pooled: as in `unit_vectors`.
    """
    segments = series[:, :-tau], series[:, tau:]
    # Nodes that do not end as they began vary, and most are such: no need to look at the rest.
    ends = [segment[:, 0] == segment[:, -1] for segment in segments]
    found = xp.zeros_like(ends[0] if pooled is None else ends[0][:1])
    [maybe] = xp.where((ends[0] | ends[1]).any(0))
    if not len(maybe):
        return found
    for segment in segments:
        few = segment[..., maybe]
        low, high = xp.amin(few, 1), xp.amax(few, 1)
        if pooled == "concatenate":
            low, high = xp.amin(low, 0)[None], xp.amax(high, 0)[None]
        still = low == high
        if pooled == "moments":
            still = still.all(0)[None]
        found[:, maybe] |= still
    return found


def join(xp: Any, segment: Array, pooled: str | None) -> Array:
    """(trials, nodes, samples) of the past or the future as one trial, see `unit_vectors`."""
    if pooled is None:
        return segment
    if pooled == "moments":
        [segment] = about_own_means(xp, [segment])
    trials, nodes, samples = segment.shape
    return xp.swapaxes(segment, 0, 1).reshape(1, nodes, trials * samples)


def about_own_means(xp: Any, segments: Sequence[Array]) -> list[Array]:
    """Trials about their means, (trials, nodes, samples) each, that may differ in samples.

    All in one scale of the node, as trials have to keep their proportions.
    """
    peaks = [xp.amax(xp.amax(xp.abs(segment), -1), 0) for segment in segments]
    peak = functools.reduce(xp.maximum, peaks)[:, None]
    return [_centred(_near_one(xp, segment, peak)) for segment in segments]


def _unit(xp: Any, segment: Array) -> tuple[Array, Array]:
    constant = xp.amax(segment, -1) == xp.amin(segment, -1)
    centred = _centred(_near_one(xp, segment, xp.amax(xp.abs(segment), -1)[..., None]))
    # Without the peak, squares overflow from 1e154 on and vanish below 1e-162.
    peak = xp.amax(xp.abs(centred), -1)
    centred = centred / xp.where(constant, 1.0, peak)[..., None]
    norm = xp.sqrt(xp.where(constant, 1.0, (centred * centred).sum(-1)))
    return xp.where(constant[..., None], 0.0, centred / norm[..., None]), constant


def _near_one(xp: Any, segment: Array, peak: Array) -> Array:
    """Divided by a power of two near the peak: exact, and keeps sums of extreme values in range."""
    power = xp.clip(xp.floor(xp.log2(xp.where(peak > 0, peak, 1.0))), -1000, 1000)
    return segment * xp.exp2(-power)


def _centred(segment: Array) -> Array:
    """Twice: the rounding of the first mean is large beside the signal when the offset is."""
    once = segment - segment.mean(-1)[..., None]
    return once - once.mean(-1)[..., None]

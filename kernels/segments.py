"""From series to the unit vectors that all moments are inner products of."""

from __future__ import annotations

from typing import Any, NamedTuple

from .mmi import Array


class Segments(NamedTuple):
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


def standardise(xp: Any, series: Array, tau: int, pooled: str | None = None) -> Segments:
    """Centre and scale past and future separately, as phyid does; at 100 samples it matters.

    Args:
        xp: numpy or torch.
        series: (trials, time, nodes) float64, finite.
        tau: lag in samples.
        pooled: None; "moments": trials are centred each on its own and their samples joined, which
            pools their covariances; "concatenate": joined as they are, and centred together. Either
            way lags do not reach across trials, and one trial remains.
    """
    by_node = xp.swapaxes(series, 1, 2)
    past, past_constant = _unit(xp, join(xp, by_node[..., :-tau], pooled))
    future, future_constant = _unit(xp, join(xp, by_node[..., tau:], pooled))
    return Segments(past, future, past_constant | future_constant)


def join(xp: Any, segment: Array, pooled: str | None) -> Array:
    """(trials, nodes, samples) of the past or the future as one trial, see `standardise`."""
    if pooled is None:
        return segment
    if pooled == "moments":
        segment = _centred(segment)
    trials, nodes, samples = segment.shape
    return xp.swapaxes(segment, 0, 1).reshape(1, nodes, trials * samples)


def _unit(xp: Any, segment: Array) -> tuple[Array, Array]:
    constant = xp.amax(segment, -1) == xp.amin(segment, -1)
    # A power of two near the peak: exact, and keeps sums of values near the limits in range.
    peak = xp.amax(xp.abs(segment), -1)
    power = xp.clip(xp.floor(xp.log2(xp.where(peak > 0, peak, 1.0))), -1000, 1000)
    segment = segment * xp.exp2(-power)[..., None]
    centred = _centred(segment)
    # Without the peak, squares overflow from 1e154 on and vanish below 1e-162.
    peak = xp.amax(xp.abs(centred), -1)
    centred = centred / xp.where(constant, 1.0, peak)[..., None]
    norm = xp.sqrt(xp.where(constant, 1.0, (centred * centred).sum(-1)))
    return xp.where(constant[..., None], 0.0, centred / norm[..., None]), constant


def _centred(segment: Array) -> Array:
    """Twice: the rounding of the first mean is large beside the signal when the offset is."""
    once = segment - segment.mean(-1)[..., None]
    return once - once.mean(-1)[..., None]

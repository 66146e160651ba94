"""What may be done to series before they are decomposed: named, and off unless asked for.

All of it acts along time, on each trial and node alone, and none of it is neutral: atoms follow how
persistent a node is (two independent AR(1) nodes already share about 2 min(h_x, h_y) of `sts`,
h = -1/2 ln(1 - r²), r the lag-1 autocorrelation), and detrending and differencing take persistence
away. Measured, as the mean over 4,000 AR(1) series with coefficient 0.97 and 100 time points, whose
own lag-1 autocorrelation is on average 0.925 (correlation of past and future, as `phiid` takes it):

| name         | r after | changes persistence                                  |
|--------------|---------|------------------------------------------------------|
| (none)       |  0.925  |                                                      |
| `linear`     |  0.891  | takes away slow drift, real or accidental            |
| `quadratic`  |  0.853  | more of it                                           |
| `difference` | -0.015  | takes all of it: what is left are the innovations    |
| `copula`     |  0.894  | little: keeps the order of values, not their spacing |
| `zscore`     |  0.925  | not at all; `phiid` standardises in any case         |

A node that is constant, or that a step leaves without variation beyond the rounding of its values
(a straight line detrended, say), comes out exactly constant, so that `phiid` reports it instead of
decomposing rounding errors.

The copula transform follows Ince et al., Human Brain Mapping 2017 (doi:10.1002/hbm.23471).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

import synkern._checks as check
from synkern._arrays import incoming
from synkern._names import keeps_names

_ROUNDING = 16
"""Variation below this many units in the last place of a node's largest value counts as none."""


class _Series(NamedTuple):
    """A checked series in float64, and the way back to the caller's kind of array."""

    values: torch.Tensor  # (..., time, nodes)
    rounding: torch.Tensor  # (..., 1, nodes): variation that the precision of the input hides
    restore: Callable[[Any], Any]


@keeps_names
def detrend(series: Any, order: int = 1) -> Any:
    """Subtract the least-squares line or parabola over time from each node of each trial.

    Persistence: drift that a polynomial can follow is persistence, and is removed with it, also
    where it came about by chance. An AR(1) node with coefficient 0.97 over 100 time points has a
    lag-1 autocorrelation of 0.925 before, of 0.891 after order 1 and of 0.853 after order 2.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array;
            gradients flow through torch.
        order: 1 for a line, 2 for a parabola.

    Returns:
        Residuals with mean zero, same shape and kind of array on the same device, float64, in the
        unit of the series. Exactly zero where nothing but rounding is left.

    Raises:
        ValueError: bad shape, NaN, unknown order, or too few time points for it.
        TypeError: series does not hold real numbers.
    """
    check.choice("order", order, (1, 2))
    s = _taken_in(series, at_least=order + 2, purpose=f"detrend(order={order})")
    time = torch.linspace(-1, 1, s.values.shape[-2], dtype=torch.float64, device=s.values.device)
    # Orthogonal by symmetry, to rounding; a factorisation of powers loses digits with length.
    basis = [time, time * time - (time * time).mean()][:order]
    residual = s.values
    for _ in range(2):  # Once more for the rounding of the first pass, large where the trend is.
        residual = residual - residual.mean(-2, keepdim=True)
        for curve in basis:
            weight = (curve @ residual) / (curve @ curve)
            residual = residual - curve[:, None] * weight[..., None, :]
    return s.restore(torch.where(_flat(residual, s.rounding), 0.0, residual))


@keeps_names
def difference(series: Any) -> Any:
    """Replace each value by its change since the time point before; one time point is lost.

    Persistence: gone. An AR(1) node with coefficient 0.97 over 100 time points has a lag-1
    autocorrelation of 0.925 before and of -0.015 after: what is left is close to its innovations,
    so that `sts` and `rtr` no longer speak of persistent information. White noise becomes
    *anti*-persistent, -0.5. Lags count from there on in differences.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array;
            gradients flow through torch.

    Returns:
        (..., time - 1, nodes), same kind of array on the same device, float64, in the unit of the
        series. Exactly constant where the node is a straight line up to rounding.

    Raises:
        ValueError: bad shape, NaN, or fewer than 2 time points.
        TypeError: series does not hold real numbers.
    """
    s = _taken_in(series, at_least=2, purpose="difference")
    step = s.values[..., 1:, :] - s.values[..., :-1, :]
    return s.restore(torch.where(_flat(step, s.rounding), step.mean(-2, keepdim=True), step))


@keeps_names
def copula(series: Any) -> Any:
    """Give each node of each trial a Gaussian distribution over time, by ranks.

    z = Φ⁻¹(rank / (time + 1)); tied values share their mean rank. What remains between nodes is
    their Gaussian copula: informations become a lower bound of the true ones whatever the
    distribution of the values, and outliers lose their weight.

    Persistence: a little lower. An AR(1) node with coefficient 0.97 over 100 time points has a
    lag-1 autocorrelation of 0.925 before and of 0.894 after.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array. Ranks
            have no gradient: the output is detached.

    Returns:
        Same shape and kind of array on the same device, float64, without unit. A constant node
        becomes exactly zero, which is constant still.

    Raises:
        ValueError: bad shape, NaN, or fewer than 2 time points.
        TypeError: series does not hold real numbers.
    """
    s = _taken_in(series, at_least=2, purpose="copula")
    by_node = s.values.detach().mT.contiguous()
    time = by_node.shape[-1]
    ordered = by_node.sort(-1).values
    below = torch.searchsorted(ordered, by_node, side="left")
    up_to = torch.searchsorted(ordered, by_node, side="right")
    # Twice the mean rank of a tie is below + up_to + 1; a node of one value has time + 1, the
    # centre, whose quantile is zero by symmetry but need not be so in floating point.
    off_centre = (below + up_to - time).to(torch.float64) / (2 * (time + 1))
    z = torch.special.ndtri(0.5 - off_centre.abs()).neg() * off_centre.sign()
    return s.restore(z.mT.contiguous())


@keeps_names
def zscore(series: Any) -> Any:
    """Centre each node of each trial over time and divide it by its standard deviation.

    Persistence: untouched, as are all atoms, since `phiid` standardises past and future itself.
    It matters where trials are pooled or nodes are averaged before.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array;
            gradients flow through torch.

    Returns:
        Same shape and kind of array on the same device, float64, without unit: mean zero, mean
        square one. A constant node becomes exactly zero.

    Raises:
        ValueError: bad shape, NaN, or fewer than 2 time points.
        TypeError: series does not hold real numbers.
    """
    s = _taken_in(series, at_least=2, purpose="zscore")
    constant = s.values.amax(-2, keepdim=True) == s.values.amin(-2, keepdim=True)
    centred = s.values - (s.values / s.values.shape[-2]).sum(-2, keepdim=True)
    centred = centred - centred.mean(-2, keepdim=True)
    # Without the peak, squares overflow from 1e154 on and vanish below 1e-162.
    centred = centred / torch.where(constant, 1.0, centred.abs().amax(-2, keepdim=True))
    square = torch.where(constant, 1.0, (centred * centred).mean(-2, keepdim=True))
    return s.restore(torch.where(constant, 0.0, centred / square.sqrt()))


PREPROCESSING: dict[str, Callable[[Any], Any]] = {
    "linear": partial(detrend, order=1),
    "quadratic": partial(detrend, order=2),
    "difference": difference,
    "copula": copula,
    "zscore": zscore,
}
"""Steps by name, each a function of the series alone."""


def _taken_in(series: Any, *, at_least: int, purpose: str) -> _Series:
    """Check a series and take it into torch, where every step works."""
    array, restore = incoming(series, "torch", argument="series")
    shape = tuple(array.shape)
    if array.ndim not in (2, 3):
        raise ValueError(
            f"series must be (trials, time, nodes) or (time, nodes); got shape {shape}"
        )
    if shape[-2] < at_least:
        raise ValueError(
            f"{purpose} needs at least {at_least} time points; series has {shape[-2]} "
            f"(shape {shape}): record longer"
        )
    finite = torch.isfinite(array)
    if not bool(finite.all()):
        first = tuple(torch.nonzero(~finite)[0].tolist())
        axes = ("trial", "time", "node")[-array.ndim :]
        place = ", ".join(f"{axis} {index}" for axis, index in zip(axes, first, strict=True))
        raise ValueError(
            f"series has {int((~finite).sum())} values that are NaN or infinite, the first at "
            f"{place}: {float(array[first])}; remove or fill them"
        )
    values = array.to(torch.float64)
    peak = values.detach().abs().amax(-2, keepdim=True)
    return _Series(values, _ROUNDING * _precision(series, array) * peak, restore)


def _precision(series: Any, array: torch.Tensor) -> float:
    """Relative spacing of the numbers in which the values came, at least that of float64."""
    spacing = torch.finfo(torch.float64).eps
    if isinstance(series, np.ndarray) and series.dtype.kind == "f":
        return max(spacing, float(np.finfo(series.dtype).eps))
    return max(spacing, torch.finfo(array.dtype).eps) if array.is_floating_point() else spacing


def _flat(values: torch.Tensor, rounding: torch.Tensor) -> torch.Tensor:
    """(..., 1, nodes): whether a node varies over time by no more than rounding explains."""
    low, high = torch.aminmax(values.detach(), dim=-2, keepdim=True)
    return high - low <= rounding

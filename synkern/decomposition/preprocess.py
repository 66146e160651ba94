"""Steps that may change series before they are decomposed: named, and off unless asked for.

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
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

import synkern._checks as check
from synkern._arrays import in_float64, incoming, is_tensor, library, native, spacing
from synkern._faces import Later
from synkern._names import keeps_names
from synkern.decomposition import gaps
from synkern.decomposition.options import Step
from synkern.kernels import Array, steady

if TYPE_CHECKING:
    import torch
else:
    torch = Later("torch")


_ROUNDING = 16
"""Variation below this many units in the last place of a node's largest value counts as none."""


class _Series(NamedTuple):
    """A checked series in float64, and the way back to the caller's kind of array."""

    xp: Any  # numpy or torch, the library of the values
    values: Array  # (..., time, nodes)
    spacing: float  # of the input, relative; see `_arrays.spacing`
    rounding: Array  # (..., 1, nodes): variation that the precision of the input hides
    restore: Callable[[Any], Any]


@keeps_names
def detrend(series: Any, order: int = 1, *, mask: Any = None) -> Any:
    """Subtract the least-squares line or parabola over time from each node of each trial.

    Persistence: drift that a polynomial can follow is persistence, and is removed with it, also
    where it came about by chance. An AR(1) node with coefficient 0.97 over 100 time points has a
    lag-1 autocorrelation of 0.925 before, of 0.891 after order 1 and of 0.853 after order 2.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array;
            gradients flow through torch.
        order: 1 for a line, 2 for a parabola.
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, as in
            `phiid`: the others are not looked at, and NaN in the output.

    Returns:
        Residuals with mean zero, same shape and kind of array on the same device, float64, in the
        unit of the series. Exactly zero where nothing but rounding is left.

    Raises:
        ValueError: bad shape, NaN, unknown order, or too few time points for it.
        TypeError: series does not hold real numbers.
    """
    check.choice("order", order, (1, 2))
    if (gapped := _with_gaps(series, mask, at_least=order + 2)) is not None:
        return gaps.detrended(gapped, order)
    s = _taken_in(series, at_least=order + 2, purpose=f"detrend(order={order})")
    xp, residual = s.xp, s.values
    time = _instants(residual)
    # Orthogonal by symmetry, to rounding; a factorisation of powers loses digits with length.
    basis = [time, time * time - (time * time).mean()][:order]
    for _ in range(2):  # Once more for the rounding of the first pass, large where the trend is.
        residual = residual - residual.mean(-2)[..., None, :]
        for curve in basis:
            weight = (curve @ residual) / (curve @ curve)
            residual = residual - curve[:, None] * weight[..., None, :]
    return s.restore(xp.where(_flat(s, residual), 0.0, residual))


@keeps_names
def difference(series: Any, *, mask: Any = None) -> Any:
    """Replace each value by its change since the time point before; one time point is lost.

    Persistence: gone. An AR(1) node with coefficient 0.97 over 100 time points has a lag-1
    autocorrelation of 0.925 before and of -0.015 after: what is left is close to its innovations,
    so that `sts` and `rtr` no longer speak of persistent information. White noise becomes
    *anti*-persistent, -0.5. Lags count from there on in differences.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array;
            gradients flow through torch.
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, as in
            `phiid`: the others are not looked at. Changes are valid where
            mask[..., 1:] & mask[..., :-1], and NaN elsewhere.

    Returns:
        (..., time - 1, nodes), same kind of array on the same device, float64, in the unit of the
        series. Exactly constant where the node is a straight line up to rounding.

    Raises:
        ValueError: bad shape, NaN, or fewer than 2 time points.
        TypeError: series does not hold real numbers.
    """
    if (gapped := _with_gaps(series, mask, at_least=2)) is not None:
        return gaps.changes(gapped)
    s = _taken_in(series, at_least=2, purpose="difference")
    step = s.values[..., 1:, :] - s.values[..., :-1, :]
    return s.restore(s.xp.where(_flat(s, step), step.mean(-2)[..., None, :], step))


@keeps_names
def copula(series: Any, *, mask: Any = None) -> Any:
    """Give each node of each trial a Gaussian distribution over time, by ranks.

    z = Φ⁻¹(rank / (time + 1)); tied values share their mean rank. What remains between nodes is
    their Gaussian copula: informations become a lower bound of the true ones whatever the
    distribution of the values, and outliers lose their weight.

    Persistence: a little lower. An AR(1) node with coefficient 0.97 over 100 time points has a
    lag-1 autocorrelation of 0.925 before and of 0.894 after.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array. Ranks
            have no gradient: the output is detached.
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, as in
            `phiid`: the others are not looked at, and NaN in the output.

    Returns:
        Same shape and kind of array on the same device, float64, without unit. A constant node
        becomes exactly zero, which is constant still.

    Raises:
        ValueError: bad shape, NaN, or fewer than 2 time points.
        TypeError: series does not hold real numbers.
    """
    if (gapped := _with_gaps(series, mask, at_least=2)) is not None:
        return gaps.of_values(gapped, copula)
    s = _taken_in(series, at_least=2, purpose="copula")
    transform = _copula_of_tensor if is_tensor(s.values) else _copula_of_array
    return s.restore(s.xp.where(_constant(s), 0.0, transform(s.values)))


def _copula_of_tensor(values: torch.Tensor) -> torch.Tensor:
    by_node = values.detach().mT.contiguous()
    time = by_node.shape[-1]
    ordered = by_node.sort(-1).values
    below = torch.searchsorted(ordered, by_node, side="left")
    up_to = torch.searchsorted(ordered, by_node, side="right")
    # Twice the mean rank of a tie is below + up_to + 1; a node of one value has time + 1, the
    # centre, whose quantile is zero by symmetry but need not be so in floating point.
    off_centre = (below + up_to - time).to(torch.float64) / (2 * (time + 1))
    z: torch.Tensor = torch.special.ndtri(0.5 - off_centre.abs()).neg() * off_centre.sign()
    return z.mT.contiguous()


def _copula_of_array(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Transform a NumPy array: ranks are counted here, and quantiles are the library's."""
    time = values.shape[-2]
    order = np.argsort(values, axis=-2)
    ordered = np.take_along_axis(values, order, -2)
    place = np.arange(time)[:, None]
    starts = np.ones(values.shape, bool)
    starts[..., 1:, :] = ordered[..., 1:, :] != ordered[..., :-1, :]
    ends = np.ones(values.shape, bool)
    ends[..., :-1, :] = starts[..., 1:, :]
    below = np.maximum.accumulate(np.where(starts, place, 0), -2)
    up_to = 1 + np.minimum.accumulate(np.where(ends, place, time)[..., ::-1, :], -2)[..., ::-1, :]
    off_centre = np.empty(values.shape, np.int64)
    np.put_along_axis(off_centre, order, below + up_to - time, -2)
    quantile = NormalDist().inv_cdf
    steps = np.arange(1, time) / (2 * (time + 1))
    upper = np.array([0.0, *(-quantile(0.5 - step) for step in steps.tolist())])
    return upper[np.abs(off_centre)] * np.sign(off_centre)


@keeps_names
def zscore(series: Any, *, mask: Any = None) -> Any:
    """Centre each node of each trial over time and divide it by its standard deviation.

    Persistence: untouched, as are all atoms, since `phiid` standardises past and future itself.
    It matters where trials are pooled or nodes are averaged before.

    Args:
        series: (trials, time, nodes) or (time, nodes), real and finite, any kind of array;
            gradients flow through torch.
        mask: None, or (time,) or (trials, time) truth values, True where a sample is valid, as in
            `phiid`: the others are not looked at, and NaN in the output.

    Returns:
        Same shape and kind of array on the same device, float64, without unit: mean zero, mean
        square one. A constant node becomes exactly zero.

    Raises:
        ValueError: bad shape, NaN, or fewer than 2 time points.
        TypeError: series does not hold real numbers.
    """
    if (gapped := _with_gaps(series, mask, at_least=2)) is not None:
        return gaps.of_values(gapped, zscore)
    s = _taken_in(series, at_least=2, purpose="zscore")
    xp, values = s.xp, s.values
    flat = _constant(s)
    centred = values - (values / values.shape[-2]).sum(-2)[..., None, :]
    centred = centred - centred.mean(-2)[..., None, :]
    # Without the peak, squares overflow from 1e154 on and vanish below 1e-162.
    centred = centred / xp.where(flat, 1.0, xp.amax(xp.abs(centred), -2)[..., None, :])
    square = xp.where(flat, 1.0, (centred * centred).mean(-2)[..., None, :])
    return s.restore(xp.where(flat, 0.0, centred / xp.sqrt(square)))


PREPROCESSING: dict[Step, Callable[[Any], Any]] = {
    "linear": partial(detrend, order=1),
    "quadratic": partial(detrend, order=2),
    "difference": difference,
    "copula": copula,
    "zscore": zscore,
}
"""Steps by name, each a function of the series alone."""


def _with_gaps(series: Any, mask: Any, *, at_least: int) -> gaps.Gapped | None:
    """A series that is not valid throughout, or None."""
    return None if mask is None else gaps.taken_in(series, mask, at_least=at_least)


def _taken_in(series: Any, *, at_least: int, purpose: str) -> _Series:
    """Check a series and take it into NumPy or torch, where every step works."""
    kind = native(series)[0]
    xp: Any = library(kind)
    array, restore = incoming(series, kind, argument="series", offset_free=True)
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
    with np.errstate(over="ignore"):  # of a wider type, and refused below
        values = in_float64(array)
    finite = xp.isfinite(values)
    if not bool(finite.all()):
        first = tuple(int(index[0]) for index in xp.where(~finite))
        axes = ("trial", "time", "node")[-array.ndim :]
        place = ", ".join(f"{axis} {index}" for axis, index in zip(axes, first, strict=True))
        raise ValueError(
            f"series has {int((~finite).sum())} values that are NaN or infinite, the first at "
            f"{place}: {float(values[first])}; {check.LEAVE_OUT}"
        )
    detached = values.detach() if is_tensor(values) else values
    peak = xp.amax(xp.abs(detached), -2)[..., None, :]
    return _Series(xp, values, spacing(series), _ROUNDING * _precision(array) * peak, restore)


def _precision(array: Array) -> float:
    """Relative spacing of the numbers in which the values came, at least that of float64."""
    spacing = float(np.finfo(np.float64).eps)
    if is_tensor(array):
        return max(spacing, torch.finfo(array.dtype).eps) if array.is_floating_point() else spacing
    return max(spacing, float(np.finfo(array.dtype).eps)) if array.dtype.kind == "f" else spacing


def _constant(s: _Series) -> Array:
    """(..., 1, nodes): whether a node is constant, as `phiid` takes it."""
    values = s.values.detach() if is_tensor(s.values) else s.values
    return steady.constant(s.xp, s.xp.swapaxes(values, -1, -2), s.spacing)[..., None, :]


def _instants(values: Array) -> Array:
    """Time from -1 to 1, where the values are."""
    if is_tensor(values):
        return torch.linspace(-1, 1, values.shape[-2], dtype=torch.float64, device=values.device)
    return np.linspace(-1, 1, values.shape[-2])


def _flat(s: _Series, values: Array) -> Array:
    """(..., 1, nodes): whether a node varies over time by no more than rounding explains."""
    detached = values.detach() if is_tensor(values) else values
    extent = s.xp.amax(detached, -2) - s.xp.amin(detached, -2)
    return extent[..., None, :] <= s.rounding

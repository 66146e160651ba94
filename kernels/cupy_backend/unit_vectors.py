"""Unit vectors by a kernel of ours, where whole arrays would compile some sixty of CuPy's first."""

from __future__ import annotations

from typing import Any

from ..contract import Array, Request
from ..formulas.moments import Moments
from .launch import Device
from .problem import Prepared
from .source import UNIT_VECTORS, UNIT_VECTORS_SHAPE


def features_of(device: Device, source: Any, request: Request) -> Any:
    """`Features` of a (trials, time, nodes) array, or of moments, for an estimator.

    Pooled series and bits are made by whole-array operations.
    """
    bits = request.estimator.key[0] == "discrete"
    if isinstance(source, Moments) or bits or request.pooled is not None:
        return request.estimator.features(device.lib, source, request.tau, request.pooled)
    return unit_vectors(device, source, request.tau)


def unit_vectors(device: Device, series: Array, tau: int) -> Prepared:
    """Standardise a series, as `formulas.unit_vectors` does.

    Args:
        device: what computes.
        series: (trials, time, nodes) real and finite.
        tau: lag in samples.
    """
    lib = device.lib
    dtype = "float32" if series.dtype == "float32" else "float64"
    series = lib.xp.ascontiguousarray(lib.cast(series, dtype))
    trials, time, nodes = series.shape
    past, future = (device.empty((trials, nodes, time - tau)) for _ in range(2))
    own, constant = device.empty((trials, nodes)), device.empty((trials, nodes), "uint8")
    width, threads = UNIT_VECTORS_SHAPE
    device.launcher.launch(
        UNIT_VECTORS[dtype],
        trials * -(-nodes // width),
        threads,
        (series, past, future, own, constant, time, nodes, tau),
    )
    found = Prepared(past, future, constant.view("bool"))
    found.own = own
    return found

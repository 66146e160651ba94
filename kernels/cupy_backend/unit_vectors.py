"""Features of a series by a kernel of ours, where whole arrays would compile sixty of CuPy's."""

from __future__ import annotations

from typing import Any

from ..contract import Array, Request
from ..formulas.moments import Moments
from . import launch
from .launch import Device
from .problem import OneSeries, Prepared, is_two
from .source import LAGS, ONE_SERIES, UNIT_VECTORS, UNIT_VECTORS_SHAPE

LAGS_ON = ((9, 0),)
"""Compute capabilities for which instruction counts say that `mmi_lags` pays. 8.0 has the tensor
cores, but shared memory for half of the blocks, and nothing says what that leaves."""


def features_of(device: Device, source: Any, request: Request) -> Any:
    """`Features` of a (trials, time, nodes) array, or of moments, for an estimator.

    Pooled series and bits are made by whole-array operations.
    """
    bits = request.estimator.key[0] == "discrete"
    if isinstance(source, Moments) or bits or request.pooled is not None:
        return request.estimator.features(device.lib, source, request.tau, request.pooled)
    if _is_one_series(device, source, request):
        return one_series(device, source)
    return unit_vectors(device, source, request.tau)


def _is_one_series(device: Device, source: Any, request: Request) -> bool:
    """Whether `mmi_lags` computes what is asked for: atoms of Gaussian MMI at lag 1.

    At a greater lag past and future differ by more than an end; the persistence reference wants
    its past and future apart. Matrices of many samples are left to the library's products.
    """
    _, time, nodes = source.shape
    fits = (
        request.estimator.key == ("gaussian", "MMI")
        and request.tau == 1
        and time > 2
        and nodes >= device.fewest_nodes
        and tuple(device.launcher.capability) in LAGS_ON
    )
    return fits and (request.by_node or not _through_memory(nodes, time - 1, request))


def _through_memory(nodes: int, samples: int, request: Request) -> bool:
    """Whether matrices are faster by moments in memory than from one series."""
    rectangle = request.rectangle
    return launch.through_memory(
        (nodes, nodes) if rectangle is None else rectangle.shape,
        samples,
        LAGS["Two" if is_two(request) else "All"].tile,
        request.limits.workspace,
        rectangle=rectangle is not None,
        one_series=True,
    )


def one_series(device: Device, series: Array) -> OneSeries:
    """Take the ends off a series and standardise the rest, for lag 1; see native/device/lags.cuh.

    Args:
        device: what computes.
        series: (trials, time, nodes) real and finite, at least 3 points in time.
    """
    series, dtype = _read(device, series)
    trials, time, nodes = series.shape
    row = -(-(time - 2) // 4) * 4 + 2
    interior, ends = device.empty((trials, nodes, row)), device.empty((trials, nodes, 6))
    constant = device.empty((trials, nodes), "uint8")
    width, threads = UNIT_VECTORS_SHAPE
    device.launcher.launch(
        ONE_SERIES[dtype],
        trials * -(-nodes // width),
        threads,
        (series, interior, ends, constant, time, nodes),
    )
    return OneSeries(
        interior, ends, constant.view("bool"), time - 1, lambda: unit_vectors(device, series, 1)
    )


def unit_vectors(device: Device, series: Array, tau: int) -> Prepared:
    """Standardise a series, as `formulas.unit_vectors` does.

    Args:
        device: what computes.
        series: (trials, time, nodes) real and finite.
        tau: lag in samples.
    """
    series, dtype = _read(device, series)
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


def _read(device: Device, series: Array) -> tuple[Array, str]:
    """A series as the kernels read it, and its dtype."""
    lib = device.lib
    dtype = "float32" if series.dtype == "float32" else "float64"
    return lib.xp.ascontiguousarray(lib.cast(series, dtype)), dtype

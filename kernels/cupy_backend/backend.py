"""Backend `cupy`: CUDA kernels for the pairs that the closed form can do, the rescue for others."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..contract import Estimator, Nodes, Pairs, Request, Totals
from ..engine.all_pairs import decompose, request_for, rescue, totals
from ..engine.chosen_pairs import decompose_chosen
from .launch import Device, matrices
from .library import cupy_library
from .node_means import decompose_nodes, unpack
from .nvrtc import device_launcher
from .problem import problem

FEWEST_NODES = 3
"""For the kernels: of two nodes alone, a tile would be empty but for one pair."""


def run(
    series: Any,
    *,
    estimator: Estimator,
    tau: int,
    pooled: str | None,
    names: Sequence[str],
    per_trial: bool,
    dtype: str,
    pairs: Any | None = None,
    reduce: str | None = None,
) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) CuPy array, or of moments; see `Pairs`, `Nodes`.

    On the current device, where the array has to be, and CuPy's current stream.
    """
    lib = cupy_library()
    device = Device(lib, device_launcher(lib.xp.cuda.Device().id))
    request = request_for(names, per_trial=per_trial, dtype=dtype, estimator=estimator)
    return compute(device, series, tau, pooled, names, request, pairs, reduce)


def compute(
    device: Device,
    series: Any,
    tau: int,
    pooled: str | None,
    names: Sequence[str],
    request: Request,
    pairs: Any | None = None,
    reduce: str | None = None,
) -> Pairs | Nodes:
    """The same by any device."""
    features = request.estimator.features(device.lib, series, tau, pooled)
    if reduce == "nodes":
        return decompose_nodes(device, features, request)
    totals_of = functools.partial(_totals, device)
    if pairs is not None:
        return decompose_chosen(device.lib, features, names, request, totals_of, pairs)
    return decompose(device.lib, features, names, request, totals_of)


def _totals(device: Device, features: Any, request: Request) -> Totals:
    """`eager.totals`, by the kernels."""
    nodes = features.constant.shape[1]
    if nodes < FEWEST_NODES:
        return _pairs_alone(device, features, request)
    given = problem(device.lib, features, request)
    found, keys = matrices(device, given, request.per_trial)
    sums = dict(zip(request.names, found, strict=True))
    listed = unpack(device, keys, nodes)
    flagged, rescued = rescue(device.lib, features, request, sums, listed)
    return Totals(sums, flagged, rescued)


def _pairs_alone(device: Device, features: Any, request: Request) -> Totals:
    """Trials of few nodes, chosen pairs among them, by whole-array operations.

    In float64: matrix products in float32 may be set to round to TF32.
    """
    found = totals(device.lib, features, replace(request, dtype="float64"))
    sums = {name: device.lib.cast(value, request.dtype) for name, value in found.sums.items()}
    return found._replace(sums=sums)

"""Backend `cupy`: CUDA kernels for the pairs that the closed form can do, the rescue for others."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

from ..contract import Nodes, Pairs, Request, Totals
from ..engine.all_pairs import totals
from ..engine.decompose import decompose
from ..engine.libraries import cupy_library
from ..engine.marks import rescue, unpack
from .launch import Device, matrices
from .node_means import decompose_nodes
from .nvrtc import device_launcher
from .problem import OneSeries, problem
from .unit_vectors import features_of


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) CuPy array, or of moments; see `Pairs`, `Nodes`.

    On the current device, where the array has to be, and CuPy's current stream.
    """
    lib = cupy_library()
    return compute(Device(lib, device_launcher(lib.xp.cuda.Device().id)), source, request)


def compute(device: Device, source: Any, request: Request) -> Pairs | Nodes:
    """Do the same as `run`, by any device."""
    features = features_of(device, source, request)
    totals_of = functools.partial(_totals, device)
    nodes_of = functools.partial(decompose_nodes, device)
    return decompose(device.lib, features, request, totals_of, nodes_of)


def _totals(device: Device, features: Any, request: Request) -> Totals:
    """`all_pairs.totals`, by the kernels."""
    nodes = features.constant.shape[1]
    if nodes < device.fewest_nodes:
        return _pairs_alone(device, features, request)
    given = problem(device.lib, features, request)
    found, keys = matrices(device, given, request.per_trial, request.limits)
    sums = dict(zip(request.names, found, strict=True))
    listed = unpack(device.lib, keys, nodes)
    flagged, rescued = rescue(device.lib, features, request, sums, listed)
    return Totals(sums, flagged, rescued)


def _pairs_alone(device: Device, features: Any, request: Request) -> Totals:
    """Trials of few nodes, chosen pairs among them, by whole-array operations.

    In float64: matrix products in float32 may be set to round to TF32.
    """
    vectors = features.vectors if isinstance(features, OneSeries) else features
    found = totals(device.lib, vectors, replace(request, dtype="float64"))
    sums = {name: device.lib.cast(value, request.dtype) for name, value in found.sums.items()}
    return found._replace(sums=sums)

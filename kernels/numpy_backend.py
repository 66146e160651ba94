"""Backend `numpy`: the engine on NumPy arrays."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .backend import Backend, Status
from .contract import Nodes, Pairs, Request
from .engine.all_pairs import totals
from .engine.at_samples import at_samples
from .engine.decompose import decompose
from .engine.libraries import NUMPY
from .engine.node_means import decompose_nodes

_totals = functools.partial(totals, NUMPY)
_nodes = functools.partial(decompose_nodes, NUMPY)


def run(source: Any, request: Request) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) NumPy array, or of `Moments`."""
    # Entries out of range (the diagonal, the singular) divide by zero before they are masked.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        features = request.estimator.features(NUMPY, source, request.tau, request.pooled)
        return decompose(NUMPY, features, request, _totals, _nodes)


BACKEND = Backend(
    name="numpy",
    summary="whole-array tiles on NumPy arrays; threads only in matrix products",
    arrays="numpy",
    run=run,
    status=lambda: Status(("cpu",)),
    automatic=("cpu",),
    pointwise=at_samples,
    members=True,
)

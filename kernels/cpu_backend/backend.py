"""Backend `cpu`: the arithmetic of the GPU kernels, compiled for the host.

Pairs out of range are marked by the kernel and take the stable path of the other backends.
"""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np

from ..contract import Nodes, Pairs, Request, Totals
from ..engine.decompose import decompose
from ..engine.libraries import NUMPY
from ..engine.marks import Aside, rescue, rescue_nodes
from ..engine.node_means import empty_sums, nodes_of
from .compiled import KERNELS, matrices, node_sums


def run(source: Any, request: Request, threads: int | None = None) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) NumPy array, or of `Moments`.

    Args:
        source: what is decomposed.
        request: what is computed of it.
        threads: that the kernel takes for the pairs; None: as many as the work is worth and a call
            may have, see `threads.limit_threads`. Results do not depend on their number.
    """
    kernel = KERNELS[request.estimator.key]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return decompose(
            NUMPY,
            kernel.features(source, request),
            request,
            functools.partial(_totals, threads=threads),
            functools.partial(_nodes, threads=threads),
            kernel.gathered_factor(request.estimator),
        )


def _totals(features: Any, request: Request, threads: int | None) -> Totals:
    """`all_pairs.totals`, by the kernel."""
    sums, marks = matrices(features, request, threads)
    flagged, rescued = rescue(NUMPY, features, request, sums, marks)
    return Totals(sums, flagged, rescued)


def _nodes(features: Any, request: Request, threads: int | None) -> Nodes:
    """`node_means.decompose_nodes`, by the kernel."""
    sums = empty_sums(NUMPY, features, request)
    outcomes: Counter[int] = Counter()
    rescued = 0
    for found in node_sums(features, request, sums, threads):
        if not len(found.marks):
            continue
        aside = Aside(found.aside[:, 1:], found.aside[:, 0], found.partial.T)
        lost, resolved = rescue_nodes(NUMPY, features, request, sums, found.marks, aside)
        outcomes.update(lost)
        rescued += resolved
    return nodes_of(NUMPY, features, request, sums, outcomes, rescued)

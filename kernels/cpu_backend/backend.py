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
from ..engine.marks import Aside, rescue, rescue_nodes, resolve_means, resolve_trials
from ..engine.node_means import empty_sums, nodes_of
from . import bindings as native
from .compiled import KERNELS, MagnifiedError, matrices, means, node_sums
from .layouts import unit_vectors


def run(source: Any, request: Request, threads: int | None = None) -> Pairs | Nodes:
    """Decompose pairs of a (trials, time, nodes) NumPy array, or of `Moments`.

    Args:
        source: what is decomposed.
        request: what is computed of it.
        threads: that the kernel takes for the pairs; None: as many as the work is worth and a call
            may have, see `threads.limit_threads`. Results do not depend on their number.
    """
    kernel = KERNELS[request.estimator.key]
    by_kernel = functools.partial(
        decompose,
        NUMPY,
        request=request,
        totals_of=functools.partial(_totals, threads=threads),
        nodes_of=functools.partial(_nodes, threads=threads),
        gathered_factor=kernel.gathered_factor(request.estimator),
        pairs_of=functools.partial(_pairs, threads=threads),
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        try:
            return by_kernel(kernel.features(source, request))
        except MagnifiedError:
            return by_kernel(unit_vectors(source, request))


def _totals(features: Any, request: Request, threads: int | None) -> Totals:
    """`all_pairs.totals`, by the kernel."""
    sums, marks = matrices(features, request, threads)
    flagged, rescued = rescue(NUMPY, features, request, sums, marks)
    return Totals(sums, flagged, rescued)


def _pairs(features: Any, request: Request, threads: int | None) -> Pairs:
    """`finish` of `_totals`, by the kernel: it leaves no pass over the matrices to NumPy."""
    atoms, found = means(features, request, threads)
    if not len(found.marks):
        return Pairs(atoms, features.constant, np.zeros((0, 4), np.int64), 0)
    if request.per_trial:
        return resolve_trials(NUMPY, features, request, atoms, found.marks)
    return resolve_means(NUMPY, features, request, atoms, found.marks, _aside(found))


def _aside(found: native.Found) -> Aside:
    return Aside(found.aside[:, 1:], found.aside[:, 0], found.partial.T)


def _nodes(features: Any, request: Request, threads: int | None) -> Nodes:
    """`node_means.decompose_nodes`, by the kernel."""
    sums = empty_sums(NUMPY, features, request)
    outcomes: Counter[int] = Counter()
    rescued = 0
    for found in node_sums(features, request, sums, threads):
        if not len(found.marks):
            continue
        marks, aside = found.marks, _aside(found)
        lost, resolved = rescue_nodes(NUMPY, features, request, sums, marks, aside)
        outcomes.update(lost)
        rescued += resolved
    return nodes_of(NUMPY, features, request, sums, outcomes, rescued)

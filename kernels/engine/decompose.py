"""A request from features to answer: the way that every backend goes, with kernels of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..contract import Features, Library, Nodes, Pairs, Request, TotalsOf
from .all_pairs import finish
from .chosen_pairs import decompose_chosen


def decompose(
    lib: Library,
    features: Features,
    request: Request,
    totals_of: TotalsOf,
    nodes_of: Callable[[Any, Request], Nodes],
    gathered_factor: float = 1.0,
    pairs_of: Callable[[Any, Request], Pairs] | None = None,
) -> Pairs | Nodes:
    """Atoms of pairs, averaged over trials or per trial, or their sums by node.

    Args:
        lib: of the arrays.
        features: from `request.estimator.features`, or what the backend makes of them.
        request: what to compute.
        totals_of: sums over trials of all pairs of some features, or of a rectangle.
        nodes_of: sums by node of these.
        gathered_factor: by how much a pair that is gathered alone costs more here, against one in a
            tile, than `Estimator.gathered_cost` says.
        pairs_of: atoms of all pairs of some features, or of a rectangle; None: from the totals.
    """
    if request.by_node:
        return nodes_of(features, request)
    if request.pairs is not None:
        return decompose_chosen(lib, features, request, totals_of, gathered_factor)
    if pairs_of is not None:
        return pairs_of(features, request)
    return finish(lib, request, totals_of(features, request), constant=features.constant)

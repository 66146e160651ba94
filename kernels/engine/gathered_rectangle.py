"""Rectangles for backends whose kernels do not take them yet: to be deleted with the last of these.

The nodes of both sides are gathered and all their pairs computed, of which the rectangle is a part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..contract import Features, Library, Nodes, Pairs, Request, Totals, TotalsOf
from .all_pairs import closed, finish
from .decompose import decompose
from .marks import quantities
from .node_means import empty_sums, nodes_of


def decompose_gathered(
    lib: Library,
    features: Features,
    request: Request,
    totals_of: TotalsOf,
    sums_of: Callable[[Any, Request], Nodes],
    gathered_factor: float = 1.0,
) -> Pairs | Nodes:
    """`decompose.decompose`, where neither totals nor sums by node know of rectangles."""
    if request.rectangle is None:
        return decompose(lib, features, request, totals_of, sums_of, gathered_factor)
    xp, (rows, columns) = lib.xp, request.rectangle
    height, width = rows.stop - rows.start, columns.stop - columns.start
    nodes = xp.concatenate(
        [
            lib.arange(height, features.constant) + rows.start,
            lib.arange(width, features.constant) + columns.start,
        ]
    )
    trials = features.constant.shape[0]
    part = features.of_nodes(slice(0, trials), nodes)
    whole = replace(request, names=closed(request.names), rectangle=None, by_node=False)
    found = totals_of(part, whole)
    sums = {name: found.sums[name][..., :height, height:] + 0 for name in request.names}

    def inside(listed: Any) -> Any:
        kept = listed[(listed[:, 1] < height) & (listed[:, 2] >= height)]
        kept[:, 1], kept[:, 2] = nodes[kept[:, 1]], nodes[kept[:, 2]]
        return kept

    mine = Totals(sums, inside(found.flagged), inside(found.rescued))
    if not request.by_node:
        return finish(lib, request, mine, constant=features.constant)
    alone = replace(request, wanted=request.names)
    pairs = finish(lib, alone, mine, constant=features.constant)
    known = ~xp.isnan(pairs.atoms[request.names[0]])
    atoms = {name: xp.where(known, value, 0.0) for name, value in pairs.atoms.items()}
    total = empty_sums(lib, features, request)
    chunks = total.shape[1]
    for own, mirror, value in quantities(lib, request.names, atoms, known):
        apart = value.reshape(chunks, height, width)
        total[own][:, rows] += apart.sum(-1)
        total[mirror][:, columns] += apart.sum(-2)
    outcomes = Counter(pairs.flagged[:, 3].tolist())
    return nodes_of(lib, features, request, total, outcomes, pairs.rescued)

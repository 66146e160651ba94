"""Means by node: bands of tiles through the kernel, the pairs left over by the stable path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ..contract import Array, Nodes, Request
from ..engine.marks import rescue_nodes, unpack
from ..engine.node_means import empty_sums, nodes_of
from .launch import Device, band
from .problem import problem


def decompose_nodes(device: Device, features: Any, request: Request) -> Nodes:
    """Sums over the pairs of each node, of averages over trials or per trial; see `Nodes`.

    Args:
        device: what computes.
        features: from `request.estimator.features`.
        request: what is computed, of all pairs or of a rectangle.
    """
    lib, nodes = device.lib, features.constant.shape[1]
    sums = empty_sums(lib, features, request)
    outcomes: Counter[int] = Counter()
    rescued = 0
    for keys in _bands(device, features, request, sums):
        marked = unpack(lib, keys, nodes)
        found, number = rescue_nodes(lib, features, request, sums, marked)
        outcomes.update(found)
        rescued += number
    return nodes_of(lib, features, request, sums, outcomes, rescued)


def _bands(device: Device, features: Any, request: Request, sums: Array) -> Iterator[Array]:
    """Add to sums, band by band of rows of tiles; of every band the keys of the pairs left out."""
    given = problem(device.lib, features, request)
    limits = request.limits
    trials, workspace = len(given.constant), limits.workspace
    quantities, chunks, _ = sums.shape
    down, across = given.tiles
    least = 2 * 8 * quantities * across * given.shape.tile  # of a row of tiles and a chunk
    at_once = min(chunks, max(1, workspace // least))
    height = min(down, max(1, workspace // (least * at_once)))
    for first in range(0, chunks, at_once):
        chosen = slice(first, first + at_once if request.per_trial else trials)
        part, totals = given.of_trials(chosen), sums[:, first : first + at_once].copy()
        for start in range(0, down, height):
            rows = range(start, min(start + height, down))
            keys = band(device, part, totals, first, rows, limits)
            # The next band will hardly have fewer.
            limits = replace(limits, capacity=max(limits.capacity, len(keys)))
            yield keys
        sums[:, first : first + at_once] += totals

"""Means by node: bands of tiles through the kernel, the pairs left over by the eager engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ..contract import Array, Nodes, Request
from ..engine.marks import rescue_nodes, unpack
from . import launch
from .launch import Device, band
from .problem import problem


def decompose_nodes(device: Device, features: Any, request: Request) -> Nodes:
    """Sums over the pairs of each node, of averages over trials or per trial; see `Nodes`.

    Args:
        device: what computes.
        features: from `request.estimator.features`.
        request: from `request_for`.
    """
    names = request.names
    trials, nodes = features.constant.shape
    sums = device.lib.xp.zeros((len(names) + 3, trials if request.per_trial else 1, nodes))
    outcomes: Counter[int] = Counter()
    rescued = 0
    for keys in _bands(device, features, request, sums):
        marked = unpack(device.lib, keys, nodes)
        found, count = rescue_nodes(device.lib, features, request, sums, marked)
        outcomes.update(found)
        rescued += count
    each = sums if request.per_trial else sums[:, 0]
    return Nodes(
        sums=dict(zip(names, each, strict=False)),
        pairs=each[-3].astype("int64"),
        shares=each[-2],
        shared=each[-1].astype("int64"),
        constant=features.constant,
        outcomes=outcomes,
        rescued=rescued,
    )


def _bands(device: Device, features: Any, request: Request, sums: Array) -> Iterator[Array]:
    """Add to sums, band by band of rows of tiles; of every band the keys of the pairs left out."""
    given = problem(device.lib, features, request)
    trials, nodes = given.constant.shape
    quantities, chunks, _ = sums.shape
    tile = given.shape.tile
    tiles = -(-nodes // tile)
    least = 2 * 8 * quantities * tiles * tile  # of a row of tiles and a chunk
    at_once = min(chunks, max(1, launch.WORKSPACE // least))
    height = min(tiles, max(1, launch.WORKSPACE // (least * at_once)))
    for first in range(0, chunks, at_once):
        chosen = slice(first, first + at_once if request.per_trial else trials)
        part, totals = given.of_trials(chosen), sums[:, first : first + at_once].copy()
        for start in range(0, tiles, height):
            yield band(device, part, totals, first, start, min(height, tiles - start))
        sums[:, first : first + at_once] += totals

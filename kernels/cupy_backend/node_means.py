"""Means by node: bands of tiles through the kernel, the pairs left over by the eager engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..contract import Array, Nodes, Outcome, Request, Tile
from ..engine.all_pairs import RESCUE_ELEMENTS, rescue_parts
from ..engine.node_means import resolved
from ..lattice import swap_nodes
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
        again = _each_trial if request.per_trial else _all_trials
        for found, count in again(device, features, request, sums, unpack(device, keys, nodes)):
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


def unpack(device: Device, keys: Array, nodes: int) -> Array:
    """(pairs, 3) trial, row, column of keys."""
    return device.lib.xp.stack([keys // (nodes * nodes), keys // nodes % nodes, keys % nodes], -1)


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


def _each_trial(
    device: Device, features: Any, request: Request, sums: Array, listed: Array
) -> Iterator[tuple[list[int], int]]:
    """Add listed (trial, pair) by the stable path; what became of them."""
    for part in rescue_parts(features, listed):
        found = request.estimator.listed(device.lib, features, part, request.names)
        known = (found.outcome == 0) | (found.outcome == int(Outcome.DUPLICATE))
        values = dict(zip(request.names, (atom[known] for atom in found.atoms), strict=True))
        _add(device, request.names, sums, part[known], values)
        yield found.outcome[found.outcome != 0].tolist(), int((found.outcome == 0).sum())


def _all_trials(
    device: Device, features: Any, request: Request, sums: Array, listed: Array
) -> Iterator[tuple[list[int], int]]:
    """Add pairs of which some trial is not trusted, over all their trials."""
    lib = device.lib
    trials = features.constant.shape[0]
    double = replace(request, dtype="float64")
    size = max(1, RESCUE_ELEMENTS // (4 * features.samples * trials))
    for start in range(0, len(listed), size):
        part = listed[start : start + size]
        gathered = features.of_pairs(part[:, 1:])
        tile = Tile(slice(0, trials * len(part)), slice(0, 1), slice(1, 2))
        found = resolved(lib, gathered, double, tile)
        count = found.known.reshape(trials, -1).sum(0)
        some = count > 0
        values = {
            name: (value.reshape(trials, -1).sum(0) / lib.xp.where(some, count, 1))[some]
            for name, value in found.atoms.items()
        }
        one_chunk = part[some].copy()
        one_chunk[:, 0] = 0
        _add(device, request.names, sums, one_chunk, values)
        yield list(found.outcomes.elements()), found.rescued


def _add(
    device: Device, names: Sequence[str], sums: Array, listed: Array, values: dict[str, Array]
) -> None:
    """Add atoms of (pairs, 3) chunk, row, column, and what is counted with them, to the sums."""
    chunk, row, column = (listed[:, k] for k in range(3))
    one = device.lib.xp.ones((len(listed),))
    added = [(names.index(n), names.index(swap_nodes(n)), values[n]) for n in names]
    added.append((-3, -3, one))
    if {"rtr", "sts"} <= set(names):
        both = values["sts"] + values["rtr"]
        positive = both > 0
        share = values["sts"] / device.lib.xp.where(positive, both, 1.0)
        added.append((-2, -2, device.lib.xp.where(positive, share, 0.0)))
        added.append((-1, -1, positive * one))
    for own, mirror, value in added:
        device.lib.add_at(sums[own], (chunk, row), value)
        device.lib.add_at(sums[mirror], (chunk, column), value)

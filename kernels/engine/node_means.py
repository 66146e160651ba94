"""Sums over the pairs of each node, without the matrices of all pairs.

Of every tile the atoms are averaged over trials, then summed along its rows and, as the mirror
image that exchanges x and y in the atoms' names, along its columns. Memory is that of the input,
the output and a tile, so that the number of nodes is limited by time alone.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, replace

from ..contract import Array, Features, Library, Nodes, Outcome, Request, Tile
from ..lattice import swap_nodes
from .all_pairs import block, pair_mask, positions, rescue_parts, tiles


@dataclass(frozen=True)
class Resolved:
    """Atoms of a tile, the stable path included.

    Attributes:
        atoms: (trials, rows, columns) by atom name; 0 without a value.
        known: (trials, rows, columns) bool: has a value.
        outcomes: number of pairs by `Outcome`.
        rescued: number of pairs that only the stable path could resolve.
    """

    atoms: dict[str, Array]
    known: Array
    outcomes: Counter[int]
    rescued: int


def decompose_nodes(lib: Library, features: Features, request: Request) -> Nodes:
    """Sums over the pairs of each node, of averages over trials or per trial.

    Args:
        lib: numpy or torch.
        features: from `request.estimator.features`.
        request: from `request_for`.
    """
    trials, nodes = features.constant.shape
    shape = (trials, nodes) if request.per_trial else (nodes,)
    like = features.past
    found = Nodes(
        sums={name: lib.zeros(shape, "float64", like) for name in request.names},
        pairs=lib.zeros(shape, "int64", like),
        shares=lib.zeros(shape, "float64", like),
        shared=lib.zeros(shape, "int64", like),
        constant=features.constant,
        outcomes=Counter(),
        rescued=0,
    )
    rescued = 0
    every = tiles(features, request.estimator)
    for (rows, columns), stack in itertools.groupby(every, lambda t: (t.rows, t.columns)):
        total: dict[str, Array] = {}
        count: Array = 0
        for tile in stack:
            each = resolved(lib, features, request, tile)
            found.outcomes.update(each.outcomes)
            rescued += each.rescued
            if request.per_trial:
                _add(lib, found, (tile.trials,), rows, columns, each.atoms, each.known)
                continue
            for name, value in each.atoms.items():
                total[name] = total.get(name, 0) + lib.cast(value, "float64").sum(0)
            count = count + each.known.sum(0)
        if not request.per_trial:
            known = count > 0
            trials_of = lib.cast(lib.xp.where(known, count, 1), "float64")
            means = {name: value / trials_of for name, value in total.items()}
            _add(lib, found, (), rows, columns, means, known)
    return replace(found, rescued=rescued)


def _add(
    lib: Library,
    found: Nodes,
    trials: tuple[slice, ...],
    rows: slice,
    columns: slice,
    atoms: dict[str, Array],
    known: Array,
) -> None:
    """Add (..., rows, columns) atoms and what they are known of to the sums of nodes."""
    row, column = (*trials, rows), (*trials, columns)
    for name, value in atoms.items():
        exact = lib.cast(value, "float64")
        found.sums[name][row] += exact.sum(-1)
        found.sums[swap_nodes(name)][column] += exact.sum(-2)
    counted = [(found.pairs, known)]
    if {"rtr", "sts"} <= atoms.keys():
        both = lib.cast(atoms["sts"] + atoms["rtr"], "float64")
        positive = known & (both > 0)
        share = lib.cast(atoms["sts"], "float64") / lib.xp.where(positive, both, 1.0)
        share = lib.xp.where(positive, share, 0.0)
        found.shares[row] += share.sum(-1)
        found.shares[column] += share.sum(-2)
        counted.append((found.shared, positive))
    for number, mask in counted:
        number[row] += mask.sum(-1)
        number[column] += mask.sum(-2)


def resolved(lib: Library, features: Features, request: Request, tile: Tile) -> Resolved:
    """A tile by the closed form, and what this cannot resolve by the stable path."""
    values, unresolved = block(lib, features, request, tile)
    known = pair_mask(lib, features, tile) & ~unresolved
    outcomes: Counter[int] = Counter()
    rescued = 0
    if bool(unresolved.any()):
        start = [s.start for s in tile]
        for part in rescue_parts(features, positions(lib, unresolved, tile)):
            found = request.estimator.listed(lib, features, part, request.names)
            has_value = (found.outcome == 0) | (found.outcome == int(Outcome.DUPLICATE))
            k, i, j = (part[has_value][:, c] - start[c] for c in range(3))
            known[k, i, j] = True
            for target, value in zip(values, found.atoms, strict=True):
                target[k, i, j] = lib.cast(value[has_value], request.dtype)
            outcomes.update(found.outcome[found.outcome != 0].tolist())
            rescued += int((found.outcome == 0).sum())
    return Resolved(dict(zip(request.names, values, strict=True)), known, outcomes, rescued)
